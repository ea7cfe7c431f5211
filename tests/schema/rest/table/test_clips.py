"""Clips as clients ask for them over REST, new ones and those from before."""

from uuid import UUID, uuid4

import pytest_asyncio

from db import clips
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus
from resolvers.context import Services
from tests.conftest import People
from tests.schema.rest.table.conftest import Rest
from tests.standing import job_in, with_clip

RECENT = {"path", "filename", "validation", "is_valid", "size", "created"}
"""What the front end reads of each of the newest clips."""


async def cut(database: Database, owner: UUID, name: str = "a") -> str:
    """The id of the clip of a job of somebody's."""
    job_id = await job_in(database, JobStatus.COMPLETED, owner=owner)
    await with_clip(database, job_id, f"default/clips/{name}.mp4")
    async with database.transaction("default") as tx:
        [clip] = await clips.of_jobs(tx, [job_id])
    return str(clip.id)


@pytest_asyncio.fixture
async def mine(database: Database, people: People) -> str:
    return await cut(database, people[Role.USER].id)


async def test_the_newest_clips_are_what_the_front_end_reads(
    mine: str, rest: Rest, database: Database, people: People, services: Services
) -> None:
    theirs = await cut(database, people[Role.OPERATOR].id, "b")
    newest = await cut(database, people[Role.USER].id, "c")
    file = services.files.resolve("default/clips/c.mp4")
    file.parent.mkdir(parents=True)
    file.touch()

    told = (await rest("GET", "/api/clips/recent?limit=10")).json()
    one = (await rest("GET", "/api/clips/recent?limit=1")).json()
    whole = (await rest("GET", "/api/v1/clips/recent", role="supervisor")).json()

    assert [newest, mine] == [clip["id"] for clip in told["clips"]] == [clip["id"] for clip in told["data"]]
    assert (2, 2, 1) == (told["total_available"], told["pagination"]["total"], len(one["clips"]))
    there, gone = told["clips"]
    assert there.keys() >= RECENT
    assert ("A clip.mp4", 9, True, {"duration": 2.0, "is_valid": True}) == tuple(
        there[key] for key in ("filename", "size", "is_valid", "validation")
    )
    assert (False, "http", "Z") == (gone["is_valid"], gone["path"][:4], gone["created"][-1])
    assert [newest, theirs, mine] == [clip["id"] for clip in whole["data"]]
    assert {"success", "data", "pagination", "timestamp", "response_time_ms"} == whole.keys()


async def test_one_clip_stands_at_the_top_for_older_clients_alone(mine: str, rest: Rest) -> None:
    new, old = [(await rest("GET", f"{prefix}/clips/{mine}")).json() for prefix in ("/api/v1", "/api")]

    assert {"success", "data", "timestamp", "response_time_ms"} == new.keys()
    assert (mine, 2.0, 50.0) == (new["data"]["id"], new["data"]["duration"], new["data"]["score"])
    assert {key: old["data"][key] for key in new["data"]} == {key: old[key] for key in new["data"]}
    assert mine == old["clip"]["id"]


async def test_a_clip_that_is_not_the_callers_to_see_is_missing(
    mine: str, rest: Rest, database: Database, people: People
) -> None:
    theirs = await cut(database, people[Role.OPERATOR].id)
    expected = {
        ("user", mine): 200,
        ("user", theirs): 404,
        ("readonly", theirs): 200,
        ("other/admin", mine): 404,
        ("user", str(uuid4())): 404,
        ("user", "7"): 404,
        ("nobody", mine): 401,
    }

    assert expected == {
        (role, key): (await rest("GET", f"/api/v1/clips/{key}", role=role)).status_code for role, key in expected
    }
    assert 401 == (await rest("GET", "/api/clips/recent", role="nobody")).status_code


async def test_a_malformed_limit_is_named(rest: Rest) -> None:
    for limit in ("0", "101", "ten"):
        answer = await rest("GET", "/api/clips/recent", query={"limit": limit})

        assert (400, "limit") == (answer.status_code, answer.json()["error"].split(":")[0])
