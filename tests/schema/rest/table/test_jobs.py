"""Jobs as clients look at them over REST, new ones and those from before, and who may what."""

import pytest
import sqlalchemy as sa

from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus
from db.models.work import jobs as table
from resolvers.context import Services
from schema.rest.envelope import RESERVED
from tests.conftest import People
from tests.schema.rest.table.conftest import LISTED, NOWHERE, TOLD, URL, Rest, ids
from tests.standing import job_in, standing, with_clip

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED = JobStatus.FAILED
OLD_JOB = {
    "id",
    "user_id",
    "status",
    "progress",
    "video_url",
    "video_title",
    "current_step",
    "error_message",
    "retry_count",
    "worker_id",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
}
"""What the snapshot says of a job, and every list of jobs said before."""
LISTS = {
    "today": {"jobs", "total", "stats"},
    "history": {"jobs", "total", "total_jobs", "success_rate", "avg_processing_time"},
    "status/completed": {"jobs", "total"},
    "user/me": {"jobs", "total"},
}


async def test_a_list_has_the_envelope_and_for_older_clients_their_keys(
    rest: Rest, database: Database, people: People
) -> None:
    await job_in(database, COMPLETED, owner=people[Role.USER].id)
    where = {"page": 1, "per_page": 20, "total": 1, "total_pages": 1, "has_next": False, "has_prev": False}
    for path, keys in LISTS.items():
        told_new, told_old = [(await rest("GET", f"{prefix}/jobs/{path}")).json() for prefix in ("/api/v1", "/api")]

        assert LISTED == told_new.keys()
        assert LISTED | keys == told_old.keys()
        [job] = told_old["jobs"]
        assert job.keys() >= OLD_JOB
        assert (URL, "completed", "Z") == (job["video_url"], job["status"], job["created_at"][-1])
        assert where == told_new["pagination"]


async def test_everybody_lists_what_they_may_see_and_nothing_of_others(
    rest: Rest, database: Database, people: People, other_people: People
) -> None:
    """A word that older clients send instead of a user means the caller; somebody unknown has no jobs."""
    user, operator = people[Role.USER].id, people[Role.OPERATOR].id
    mine = str(await job_in(database, QUEUED, owner=user))
    theirs = str(await job_in(database, QUEUED, owner=operator))
    await job_in(database, QUEUED, owner=other_people[Role.USER].id, tenant="other")
    everything = [theirs, mine]
    expected: dict[tuple[str, str], list[str]] = {
        ("history", "user"): [mine],
        ("history", "readonly"): everything,
        ("history", "operator"): everything,
        ("history?user_id=me", "operator"): [theirs],
        ("history?user_id=user1", "user"): [mine],
        ("history?user_id=anonymous", "admin"): [],
        ("history?user_id=all", "admin"): everything,
        (f"history?user_id={user}", "operator"): [mine],
        (f"history?user_id={operator}", "user"): [],
        ("history?user_id=user7", "admin"): [],
        (f"history?user_id={NOWHERE}", "admin"): [],
        ("history?user_id=Me&status=queued", "user"): [mine],
        ("user/me", "operator"): [theirs],
        ("user/user1", "user"): [mine],
        (f"user/{user}", "operator"): [mine],
        (f"user/{operator}", "user"): [],
        ("user/all", "admin"): [],
        ("user/nonsense", "admin"): [],
        ("today", "user"): [mine],
        ("status/queued", "user"): [mine],
        ("recent/5", "user"): [mine],
        ("recent/1", "admin"): [theirs],
    }

    assert expected == {(path, role): ids(await rest("GET", f"/api/jobs/{path}", role=role)) for path, role in expected}


async def test_a_list_is_narrowed_by_status_in_the_words_of_either_time(
    rest: Rest, database: Database, people: People
) -> None:
    owner = people[Role.USER].id
    made = {status.value: str(await job_in(database, status, owner=owner)) for status in JobStatus}
    queued, processing = made["queued"], made["processing"]
    expected = {
        "pending": [queued],
        "running": [processing],
        "QUEUED": [queued],
        "failed": [made["failed"]],
        "pending,processing": [processing, queued],
        "canceled": [made["cancelled"]],
        "all": list(made.values())[::-1],
    }
    by_path = {word: ids(await rest("GET", f"/api/v1/jobs/status/{word}")) for word in expected if word != "all"}

    assert expected == {
        word: ids(await rest("GET", "/api/v1/jobs/history", query={"status": word})) for word in expected
    }
    assert expected == {**by_path, "all": expected["all"]}


async def test_a_list_is_paged_by_page_or_by_offset(rest: Rest, database: Database, people: People) -> None:
    made = [str(await job_in(database, QUEUED, owner=people[Role.USER].id)) for _ in range(5)][::-1]

    async def listed(**query: str | int) -> list[str]:
        return ids(await rest("GET", "/api/jobs/history", query=query))

    assert [made[:2], made[2:4], made[4:], []] == [await listed(per_page=2, page=page) for page in (1, 2, 3, 4)]
    assert made[1:4] == await listed(limit=3, offset=1)
    recent = await rest("GET", "/api/jobs/recent/3")
    assert (made[:3], 5) == (ids(recent), recent.json()["total"])


REFUSED_READS = {
    "/jobs/history?page=0": "page",
    "/jobs/history?page=x": "page",
    "/jobs/history?per_page=101": "per_page",
    "/jobs/history?limit=-1": "limit",
    "/jobs/history?offset=x": "offset",
    "/jobs/history?page=2&offset=2": "page, offset",
    "/jobs/history?offset=10001": "offset",
    "/jobs/history?status=done": "status",
    "/jobs/status/done": "status",
    "/jobs/status/queued,": "status",
    "/jobs/recent/0": "limit",
    "/jobs/recent/101": "limit",
    "/jobs/recent/-1": "limit",
    "/jobs/recent/x": "limit",
    "/jobs/recent/1.5": "limit",
}


async def test_a_malformed_parameter_is_refused_by_its_name(rest: Rest) -> None:
    told = {path: await rest("GET", f"/api/v1{path}") for path in REFUSED_READS}

    assert {path: (400, "VALIDATION_ERROR", name) for path, name in REFUSED_READS.items()} == {
        path: (answer.status_code, answer.json()["error_code"], answer.json()["error"].split(":")[0])
        for path, answer in told.items()
    }


async def test_todays_jobs_are_counted_by_status_besides(rest: Rest, database: Database, people: People) -> None:
    owner = people[Role.USER].id
    for status in (COMPLETED, COMPLETED, FAILED, QUEUED):
        await job_in(database, status, owner=owner)
    before = await job_in(database, COMPLETED, owner=owner)
    async with database.system() as tx:
        past = sa.text("now() - interval '25 h'")
        await tx.execute(sa.update(table).where(table.c.id == before).values(created_at=past))

    told = (await rest("GET", "/api/jobs/today")).json()

    assert (4, 4, str(before) in ids(await rest("GET", "/api/jobs/today"))) == (told["total"], len(told["data"]), False)
    counted = {key: told["stats"][key] for key in ("total", "queued", "completed", "failed", "processing")}
    assert {"total": 4, "queued": 1, "completed": 2, "failed": 1, "processing": 0} == counted
    assert 66.67 == told["stats"]["success_rate"]
    history = (await rest("GET", "/api/jobs/history?status=queued")).json()
    assert (1, 1, 75.0) == (history["total"], history["total_jobs"], history["success_rate"])
    assert isinstance(history["avg_processing_time"], float)


async def test_the_statistics_are_measured_or_null(rest: Rest, database: Database, people: People) -> None:
    nothing = (await rest("GET", "/api/jobs/summary/stats")).json()
    await job_in(database, COMPLETED, owner=people[Role.USER].id)
    await job_in(database, QUEUED, owner=people[Role.OPERATOR].id)
    mine, whole = [(await rest("GET", "/api/jobs/summary/stats", role=role)).json() for role in ("user", "operator")]

    assert (nothing["data"], TOLD | {"stats"}) == (nothing["stats"], nothing.keys())
    unknown = {key for key, value in nothing["data"].items() if value is None}
    assert unknown == {key for key in nothing["data"] if key == "success_rate" or key.endswith("_time")}
    assert ([1, 1, 0], [2, 1, 1]) == tuple(
        [each["data"][key] for key in ("total", "completed", "queued")] for each in (mine, whole)
    )
    assert (100.0, 0.0, 1) == tuple(
        mine["data"][key] for key in ("success_rate", "p95_processing_time", "measured_jobs")
    )


async def test_a_job_is_told_whole_and_in_short(rest: Rest, database: Database, people: People) -> None:
    job_id = str(await job_in(database, FAILED, owner=people[Role.USER].id, error_message="no video", progress=40))
    new, old = [(await rest("GET", f"{prefix}/jobs/{job_id}")).json() for prefix in ("/api/v1", "/api")]
    short, older = [(await rest("GET", f"{prefix}/jobs/{job_id}/status")).json() for prefix in ("/api/v1", "/api")]

    assert TOLD == new.keys() == short.keys()
    assert old.keys() >= OLD_JOB | TOLD | {"job", "data_source", "job_id"}
    own = new["data"].keys() - RESERVED
    assert {key: new["data"][key] for key in own} == {key: old[key] for key in own}
    assert (job_id, "failed", 40, URL) == tuple(old[key] for key in ("id", "status", "progress", "video_url"))
    assert old["job"].keys() >= OLD_JOB
    assert [("clipper", "failed")] == [(step["agent_id"], step["status"]) for step in new["data"]["steps"]]
    polled = {"status": "failed", "progress": 40, "message": "no video", "current_agent": "clipper"}
    assert polled == {key: older[key] for key in polled} == {key: short["data"][key] for key in polled}
    assert "no video" == older["error_message"]


OLD_CLIP = {
    "url": str,
    "downloadUrl": str,
    "streamUrl": str,
    "download_url": str,
    "file_path": str,
    "title": str,
    "name": str,
    "description": str,
    "duration": float,
    "aiScore": float,
    "isValid": bool,
    "clipType": str,
    "thumbnail": str,
}


async def test_the_clips_of_a_job_have_links_that_clients_know_by_any_name(
    rest: Rest, database: Database, people: People, services: Services
) -> None:
    owner = people[Role.USER].id
    bare, cut = [await job_in(database, COMPLETED, owner=owner, worker_id="w-1") for _ in range(2)]
    await with_clip(database, cut, "default/clips/a.mp4", "default/clips/a.jpg")
    file = services.files.resolve("default/clips/a.mp4")
    file.parent.mkdir(parents=True)
    file.touch()

    none = (await rest("GET", f"/api/jobs/{bare}/clips")).json()
    some = (await rest("GET", f"/api/jobs/{cut}/clips")).json()
    new = (await rest("GET", f"/api/v1/jobs/{cut}/clips")).json()

    assert ([], [], 0, "w-1", 0.0) == tuple(
        none[key] for key in ("data", "clips", "total_clips", "worker_id", "processing_time")
    )
    assert (1, TOLD) == (some["total_clips"], new.keys())
    [clip] = some["clips"]
    assert OLD_CLIP == {key: type(clip[key]) for key in OLD_CLIP}
    assert (True, "portrait", 50.0) == (clip["isValid"], clip["clipType"], clip["aiScore"])
    [data] = new["data"]
    assert [data["url"], data["thumbnail_url"], data["download_url"]] != [None] * 3
    opened = services.links.opened(clip["streamUrl"].rsplit("/", 1)[1])
    assert ("default/clips/a.mp4", "A clip.mp4", True) == (opened.path, opened.name, opened.inline)


@pytest.mark.parametrize("key", ["foreign", "of another tenant", "missing", "malformed"])
async def test_what_is_not_the_callers_to_see_is_missing_and_stays_as_it_was(
    key: str, rest: Rest, database: Database, people: People, other_people: People
) -> None:
    """Reads for a user; changes for whoever may make them."""
    job_id = {
        "foreign": str(await job_in(database, FAILED, owner=people[Role.OPERATOR].id)),
        "of another tenant": str(await job_in(database, FAILED, owner=other_people[Role.USER].id, tenant="other")),
        "missing": NOWHERE,
        "malformed": "7",
    }[key]
    before = await standing(database)

    answers = [await rest("GET", f"/api/jobs/{job_id}{part}") for part in ("", "/clips", "/status", "/retry")]
    answers.append(await rest("POST", f"/api/jobs/{job_id}/cancel"))
    if key != "foreign":
        answers.append(await rest("POST", f"/api/jobs/{job_id}/status", role="operator", json={"status": "failed"}))

    assert {(404, "NOT_FOUND")} == {(answer.status_code, answer.json()["error_code"]) for answer in answers}
    assert all(answer.json()["error"] == answer.json()["detail"] for answer in answers)
    assert before == await standing(database)


MAY = {
    "nobody": {"read": 401, "retry": 401, "cancel": 401, "status": 401, "create": 401},
    "readonly": {"read": 200, "retry": 403, "cancel": 403, "status": 403, "create": 403},
    "user": {"read": 200, "retry": 200, "cancel": 200, "status": 403, "create": 201},
    "supervisor": {"read": 200, "retry": 200, "cancel": 200, "status": 403, "create": 201},
    "operator": {"read": 200, "retry": 200, "cancel": 200, "status": 200, "create": 201},
    "admin": {"read": 200, "retry": 200, "cancel": 200, "status": 200, "create": 201},
}


@pytest.mark.parametrize("role", MAY)
async def test_who_may_what(role: str, rest: Rest, database: Database, people: People) -> None:
    """Even of one's own; who may not is told so whatever the body holds, and has changed nothing."""
    owner = people[Role(role) if role != "nobody" else Role.USER].id
    failed, queued, running = [await job_in(database, status, owner=owner) for status in (FAILED, QUEUED, PROCESSING)]
    before = await standing(database)

    read = await rest("GET", f"/api/v1/jobs/{failed}", role=role)
    changed = {
        "retry": await rest("GET", f"/api/v1/jobs/{failed}/retry", role=role),
        "cancel": await rest("POST", f"/api/v1/jobs/{queued}/cancel", role=role),
        "status": await rest("POST", f"/api/v1/jobs/{running}/status", role=role, json={"status": "failed"}),
        "create": await rest("POST", "/api/v1/jobs/create", role=role, json={"video_url": URL}),
    }
    shapeless = await rest("POST", "/api/v1/jobs/create", role=role, json={"priority": "none"})

    assert MAY[role] == {"read": read.status_code, **{name: answer.status_code for name, answer in changed.items()}}
    assert (400 if MAY[role]["create"] == 201 else MAY[role]["create"]) == shapeless.status_code
    if max(MAY[role][name] for name in changed) == min(MAY[role][name] for name in changed) > 400:
        assert before["jobs"] == (await standing(database))["jobs"]


def test_no_key_of_older_clients_hides_the_envelope() -> None:
    assert not RESERVED & (OLD_JOB | set(OLD_CLIP))
