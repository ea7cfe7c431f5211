"""Reads: what one tenant or user sees of another's (nothing), nested fields in few statements, nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import artifacts, clips, jobs, uploads
from db.artifacts import NewArtifact
from db.clips import NewClip
from db.database import Database
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.records import logs, system_events
from db.models.work import ArtifactKind, workers
from db.uploads import NewUpload
from db.users import User
from tests.schema.conftest import Ask

People = dict[Role, User]
Seen = dict[str, str]


BY_EVERY_WAY = "query($id: ID!) { thing(id: $id) { id } node(id: $id) { id } things { edges { node { id } } } }"


async def worked(database: Database, owner: User, title: str = "holiday") -> Job:
    """A job of somebody's with a clip and an artifact."""
    async with database.transaction(owner.tenant_id) as tx:
        job = await jobs.add(
            tx,
            NewJob(user_id=owner.id, source_url="http://a.example/b", title=title, chain=["clipper", "video-cutter"]),
        )
        folder = f"{owner.tenant_id}/clips"
        clip = NewClip(
            title="best",
            path=f"{folder}/a.mp4",
            thumbnail_path=f"{folder}/a.jpg",
            start_s=1.5,
            end_s=20,
            duration_s=18.5,
            width=608,
            height=1080,
            size_bytes=5_000_000_000,
            sha256="a" * 64,
            score=80,
            reasons=[{"reason": "speech", "points": 50}, {"reason": "faces", "points": 30}],
        )
        await clips.add(tx, job.id, [clip])
        captions = NewArtifact(
            kind=ArtifactKind.CAPTIONS,
            name="captions.srt",
            path=f"{owner.tenant_id}/artifacts/c.srt",
            media_type="application/x-subrip",
            size_bytes=10,
            sha256="b" * 64,
        )
        await artifacts.add(tx, job.id, [captions])
    return job


async def things(database: Database, owner: User) -> Seen:
    """The ids of one of everything that has an owner, by the name of its root field."""
    job = await worked(database, owner)
    async with database.transaction(owner.tenant_id) as tx:
        [clip] = await clips.of_jobs(tx, [job.id])
        new = NewUpload(id=UUID(int=job.id.int ^ 1), user_id=owner.id, filename="a.mp4", size_bytes=9, chunk_bytes=9)
        upload = await uploads.add(tx, new, quota_bytes=10**9)
    assert upload is not None
    return {"job": str(job.id), "clip": str(clip.id), "upload": str(upload.id)}


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to PostgreSQL within the block, except for how transactions begin."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "set_config" not in statement:
            sent.append(statement)

    engine = database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest_asyncio.fixture
async def others(database: Database, people: People, other_people: People) -> dict[str, Seen]:
    """What a user of the same tenant has, and what one of another tenant has."""
    return {
        "colleague": await things(database, people[Role.OPERATOR]),
        "stranger": await things(database, other_people[Role.USER]),
    }


@pytest.mark.parametrize(
    ("role", "whose", "seen"),
    [
        (Role.USER, "colleague", False),
        (Role.USER, "stranger", False),
        (Role.ADMIN, "colleague", True),
        (Role.ADMIN, "stranger", False),
        (Role.READONLY, "stranger", False),
    ],
)
async def test_what_is_not_the_callers_to_see_looks_missing(
    role: Role, whose: str, seen: bool, ask: Ask, people: People, others: dict[str, Seen]
) -> None:
    for kind, key in others[whose].items():
        answer = await ask(people[role], BY_EVERY_WAY.replace("thing", kind), id=key)

        found = {"id": key} if seen else None
        listed = {"edges": [{"node": {"id": others["colleague"][kind]}}] if role is not Role.USER else []}
        assert {kind: found, "node": found, f"{kind}s": listed} == answer.data


async def test_what_is_the_callers_own_is_found_everywhere(ask: Ask, database: Database, people: People) -> None:
    for kind, key in (await things(database, people[Role.USER])).items():
        answer = await ask(people[Role.USER], BY_EVERY_WAY.replace("thing", kind), id=key)

        assert {kind: {"id": key}, "node": {"id": key}, f"{kind}s": {"edges": [{"node": {"id": key}}]}} == answer.data


@pytest.mark.parametrize("key", ["", "7", "no such agent", "00000000-0000-7000-8000-000000000000", "é" * 300])
async def test_an_id_that_is_nobodys_finds_nothing(key: str, ask: Ask, people: People) -> None:
    document = "query($id: ID!) { job(id: $id) { id } clip(id: $id) { id } agent(id: $id) { id } node(id: $id) { id } }"

    answer = await ask(people[Role.ADMIN], document, id=key)

    assert answer.errors is None
    assert {"job": None, "clip": None, "agent": None, "node": None} == answer.data


async def test_a_node_is_found_whatever_it_is(ask: Ask, database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        line = await tx.scalar(
            sa.insert(logs).values(tenant_id="default", level="info", source="api", message="m").returning(logs.c.id)
        )
        told = await tx.scalar(
            sa.insert(system_events)
            .values(tenant_id="default", kind="k", source="api", message="m")
            .returning(system_events.c.id)
        )
    async with database.system() as tx:
        await tx.execute(sa.insert(workers).values(id="w-1", hostname="h", version="5", state="idle"))
    keys = {
        "LogLine": str(line),
        "SystemEvent": str(told),
        "Worker": "w-1",
        "Agent": "clipper",
        "User": str(people[Role.ADMIN].id),
    }

    for kind, key in keys.items():
        document = "query($id: ID!) { node(id: $id) { id __typename } }"
        answer = await ask(people[Role.ADMIN], document, id=key)
        assert {"node": {"id": key, "__typename": kind}} == answer.data
        hidden = kind in ("LogLine", "SystemEvent", "Worker", "User")
        answer = await ask(people[Role.USER], document, id=key)
        assert hidden is (answer.data == {"node": None}), kind


DEEP = """
query($first: Int!) { jobs(first: $first) { totalCount edges { node {
  id title status options owner { id email } upload { id }
  steps { agentId status agent { name } }
  clips { id score reasons { reason points } url downloadUrl thumbnailUrl job { id } sizeBytes }
  links { kind name url }
} } } }
"""


async def test_a_list_takes_as_many_statements_as_one_row(ask: Ask, database: Database, people: People) -> None:
    """Jobs, their number, steps, clips, links, owners, agents, jobs of clips: eight, however many jobs there are."""
    counted = []
    for wanted in (1, 50):
        for _ in range(wanted if wanted == 1 else 49):
            await worked(database, people[Role.USER])
        with statements(database) as sent:
            answer = await ask(people[Role.OPERATOR], DEEP, first=wanted)
        assert answer.errors is None
        assert answer.data is not None
        assert wanted == len(answer.data["jobs"]["edges"])
        counted.append(len(sent))

    assert [8, 8] == counted


async def test_the_total_is_counted_only_when_it_is_asked_for(ask: Ask, database: Database, people: People) -> None:
    with statements(database) as sent:
        await ask(people[Role.ADMIN], "{ jobs { edges { node { id } } } }")

    assert 1 == len(sent)
    assert "count(" not in sent[0]


async def test_a_job_shows_everything_around_it(ask: Ask, database: Database, people: People) -> None:
    owner = people[Role.USER]
    await worked(database, owner)

    answer = await ask(owner, DEEP, first=1)

    assert answer.data is not None
    job = answer.data["jobs"]["edges"][0]["node"]
    [clip], [link] = job["clips"], job["links"]
    assert {"id": str(owner.id), "email": owner.email} == job["owner"]
    assert ["clipper", "video-cutter"] == [step["agentId"] for step in job["steps"]]
    assert [{"reason": "speech", "points": 50.0}, {"reason": "faces", "points": 30.0}] == clip["reasons"]
    assert 5_000_000_000 == clip["sizeBytes"]
    assert job["id"] == clip["job"]["id"]
    assert "CAPTIONS" == link["kind"]
    links = [clip["url"], clip["downloadUrl"], clip["thumbnailUrl"], link["url"]]
    assert 4 == len(set(links))
    assert all(url.startswith("http://127.0.0.1/files/") for url in links)


async def test_signed_links_open_to_just_their_file(
    ask: Ask, services: Any, database: Database, people: People
) -> None:
    await worked(database, people[Role.USER])
    answer = await ask(people[Role.USER], DEEP, first=1)
    assert answer.data is not None
    clip = answer.data["jobs"]["edges"][0]["node"]["clips"][0]

    opened = {
        name: services.links.opened(clip[name].rpartition("/")[2]) for name in ("url", "downloadUrl", "thumbnailUrl")
    }

    assert ("default/clips/a.mp4", "best.mp4", True) == _told(opened["url"])
    assert ("default/clips/a.mp4", "best.mp4", False) == _told(opened["downloadUrl"])
    assert ("default/clips/a.jpg", "best.jpg", True) == _told(opened["thumbnailUrl"])


def _told(link: Any) -> tuple[str, str, bool]:
    return link.path, link.name, link.inline


async def test_filters_narrow_and_orders_sort(ask: Ask, database: Database, people: People) -> None:
    owner = people[Role.USER]
    for title, priority in (("one", 3), ("Two", 9), ("twofold", 1)):
        async with database.transaction("default") as tx:
            new = NewJob(user_id=owner.id, source_url="http://a", title=title, chain=["clipper"], priority=priority)
            await jobs.add(tx, new)
    document = """query($filter: JobFilter, $orderBy: JobOrder) {
      jobs(filter: $filter, orderBy: $orderBy) { totalCount edges { node { title } } } }"""

    async def titles(**variables: Any) -> list[str]:
        answer = await ask(people[Role.ADMIN], document, **variables)
        assert answer.data is not None, answer.errors
        found = [edge["node"]["title"] for edge in answer.data["jobs"]["edges"]]
        assert len(found) == answer.data["jobs"]["totalCount"]
        return found

    assert ["twofold", "Two", "one"] == await titles()
    assert ["twofold", "one", "Two"] == await titles(orderBy={"field": "PRIORITY", "direction": "ASC"})
    assert ["twofold", "Two"] == await titles(filter={"titleContains": "two"})
    assert [] == await titles(filter={"titleContains": "%"})
    assert [] == await titles(filter={"statuses": ["FAILED"]})
    assert ["twofold", "Two", "one"] == await titles(
        filter={"statuses": ["QUEUED", "FAILED"], "currentStep": "clipper"}
    )
    assert [] == await titles(filter={"ownerId": str(people[Role.ADMIN].id)})
    assert [] == await titles(filter={"createdBefore": "2020-01-01T00:00:00"})
    assert ["twofold", "Two", "one"] == await titles(filter={"createdAfter": "2020-01-01T00:00:00+02:00"})


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ({"ownerId": "7"}, "ownerId: '7' is not an id"),
        ({"titleContains": "x" * 201}, "titleContains: at most 200 characters are searched for"),
        ({"createdAfter": "0001-01-01T00:00:00+14:00"}, "createdAfter: the time is too far away"),
    ],
)
async def test_a_filter_that_cannot_hold_is_refused(
    filter_: dict[str, Any], message: str, ask: Ask, people: People
) -> None:
    answer = await ask(people[Role.ADMIN], "query($f: JobFilter) { jobs(filter: $f) { totalCount } }", f=filter_)

    assert [(message, "VALIDATION_ERROR")] == [(e.message, (e.extensions or {})["code"]) for e in answer.errors or []]


async def test_a_worker_shows_only_jobs_the_caller_may_see(
    ask: Ask, database: Database, people: People, other_people: People
) -> None:
    ours, theirs = await worked(database, people[Role.USER]), await worked(database, other_people[Role.USER])
    async with database.system() as tx:
        row = {"id": "w-1", "hostname": "h", "version": "5", "state": "active", "current_jobs": [ours.id, theirs.id]}
        await tx.execute(sa.insert(workers).values(**row))

    answer = await ask(people[Role.ADMIN], "{ workers { edges { node { id alive currentJobs { id } } } } }")

    shown = {"id": "w-1", "alive": True, "currentJobs": [{"id": str(ours.id)}]}
    assert {"workers": {"edges": [{"node": shown}]}} == answer.data


async def test_the_snapshot_is_shown_whole(ask: Ask, database: Database, people: People) -> None:
    await worked(database, people[Role.USER])

    answer = await ask(
        people[Role.READONLY],
        "{ snapshot(timeRange: WEEK) { status stale { section } analytics { timeRange } "
        "dashboard { jobs { totalJobs recentJobs { videoTitle status } } } configuration { settings } } }",
    )

    assert answer.errors is None
    assert answer.data is not None
    assert "WEEK" == answer.data["snapshot"]["analytics"]["timeRange"]
    jobs_ = answer.data["snapshot"]["dashboard"]["jobs"]
    assert {"totalJobs": 1, "recentJobs": [{"videoTitle": "holiday", "status": "QUEUED"}]} == jobs_


async def test_health_is_told_to_anybody(ask: Ask) -> None:
    answer = await ask(None, "{ health { status checks { name ok } } }")

    checks = [{"name": "postgresql", "ok": True}, {"name": "redis", "ok": True}]
    assert {"health": {"status": "OK", "checks": checks}} == answer.data
