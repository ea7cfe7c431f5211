"""Jobs as clients change them over REST, new ones and those from before: made, tried again, called off."""

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus
from resolvers.context import Services
from schema.rest import sites
from tests.conftest import People
from tests.schema.rest.table.conftest import NOWHERE, TOLD, URL, Rest, ids
from tests.standing import found, job_in, standing
from tests.uploading import context_of, uploaded, video

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


async def test_a_retry_by_get_is_guarded_as_the_change_it_is(rest: Rest, database: Database, people: People) -> None:
    job_id = await job_in(database, FAILED, owner=people[Role.USER].id)
    path, before = f"/api/v1/jobs/{job_id}/retry", await standing(database)
    elsewhere: list[dict[str, str]] = [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://api.test", "sec-fetch-site": "cross-site"},
    ]
    refused = [await rest("GET", path, headers=headers) for headers in elsewhere]
    head = await rest("HEAD", path)

    assert [(403, "FORBIDDEN")] * 5 == [(answer.status_code, answer.json()["error_code"]) for answer in refused]
    assert (405, before) == (head.status_code, await standing(database))
    assert all("ratelimit" in answer.headers for answer in refused)
    async with database.system() as tx:
        entries = await tx.rows(sa.text("SELECT action, outcome FROM audit"))
    assert [("job.retry", "denied")] * 5 == [tuple(entry) for entry in entries]

    done = await rest("GET", path, headers={"origin": "http://api.test", "sec-fetch-site": "same-origin"})
    again = await rest("GET", path)
    assert (200, "queued", "no-store") == (
        done.status_code,
        done.json()["data"]["status"],
        done.headers["cache-control"],
    )
    assert (409, "CONFLICT") == (again.status_code, again.json()["error_code"])
    assert {"no-store"} == {answer.headers["cache-control"] for answer in (*refused, again)}
    assert "deprecation" in done.headers


async def test_without_that_guard_any_page_could_retry_a_job(
    rest: Rest, database: Database, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "require_own", lambda _request: None)
    job_id = await job_in(database, FAILED, owner=people[Role.USER].id)

    answer = await rest("GET", f"/api/v1/jobs/{job_id}/retry", headers={"sec-fetch-site": "cross-site"})

    assert (200, "queued") == (answer.status_code, answer.json()["data"]["status"])


async def test_a_key_makes_a_change_happen_once(rest: Rest, database: Database, people: People) -> None:
    job_id = await job_in(database, FAILED, owner=people[Role.USER].id)
    key = {"x-idempotency-key": "0123456789abcdef"}

    first, second = [await rest("GET", f"/api/jobs/{job_id}/retry", headers=key) for _ in range(2)]
    other = await rest("POST", f"/api/jobs/{job_id}/cancel", headers=key)
    made = [
        await rest("POST", "/api/jobs/create", json={"video_url": URL}, headers={"x-idempotency-key": "b" * 16})
        for _ in range(2)
    ]

    assert (200, 200, "true") == (first.status_code, second.status_code, second.headers["idempotent-replayed"])
    assert first.json()["data"] == second.json()["data"]
    assert (422, "IDEMPOTENCY_MISMATCH") == (other.status_code, other.json()["error_code"])
    assert made[0].json()["job_id"] == made[1].json()["job_id"]
    assert 2 == len(ids(await rest("GET", "/api/jobs/history")))


async def test_cancelling_what_has_finished_conflicts(rest: Rest, database: Database, people: People) -> None:
    for stands, status, becomes in (
        (QUEUED, 200, CANCELLED),
        (PROCESSING, 200, PROCESSING),
        (COMPLETED, 409, COMPLETED),
        (CANCELLED, 409, CANCELLED),
    ):
        job_id = await job_in(database, stands, owner=people[Role.USER].id)

        answer = await rest("POST", f"/api/jobs/{job_id}/cancel")

        job, told = await found(database, job_id), answer.json()
        assert job is not None
        assert (status, becomes) == (answer.status_code, job.status)
        if status == 200:
            assert (str(job_id), becomes) == (told["job_id"], told["status"])


async def test_a_job_that_runs_is_cancelled_at_once_by_force(rest: Rest, database: Database) -> None:
    job_id = await job_in(database, PROCESSING)
    unclear = await rest("POST", f"/api/jobs/{job_id}/cancel?force=maybe", role="admin")
    forced = await rest("POST", f"/api/jobs/{job_id}/cancel?force=true", role="admin")

    assert (400, "force") == (unclear.status_code, unclear.json()["error"].split(":")[0])
    assert "cancelled" == forced.json()["status"]


SAID: list[tuple[JobStatus, dict[str, object], int, tuple[str, int]]] = [
    (FAILED, {"status": "queued"}, 200, ("queued", 0)),
    (FAILED, {"status": "pending"}, 200, ("queued", 0)),
    (QUEUED, {"status": "canceled"}, 200, ("cancelled", 0)),
    (PROCESSING, {"status": "failed", "message": "no light"}, 200, ("failed", 0)),
    (PROCESSING, {"progress": 60}, 200, ("processing", 60)),
    (PROCESSING, {"status": "running", "progress": 60}, 200, ("processing", 60)),
    (PROCESSING, {"status": "completed"}, 409, ("processing", 0)),
    (QUEUED, {"status": "processing"}, 409, ("queued", 0)),
    (QUEUED, {"progress": 60}, 409, ("queued", 0)),
    (COMPLETED, {"status": "failed"}, 409, ("completed", 0)),
    (QUEUED, {}, 400, ("queued", 0)),
    (QUEUED, {"status": "done"}, 400, ("queued", 0)),
    (PROCESSING, {"progress": 101}, 400, ("processing", 0)),
    (PROCESSING, {"progress": "60"}, 400, ("processing", 0)),
]


async def test_a_status_is_said_where_it_is_a_legal_step(rest: Rest, database: Database) -> None:
    for stands, sent, status, becomes in SAID:
        job_id = await job_in(database, stands)

        answer = await rest("POST", f"/api/jobs/{job_id}/status", role="operator", json=sent)

        job, told = await found(database, job_id), answer.json()
        assert job is not None
        assert (status, becomes) == (answer.status_code, (job.status, job.progress)), answer.text
        if status == 200:
            assert (str(job_id), *becomes) == (told["job_id"], told["status"], told["progress"])
        if status == 400:
            assert told["error"].split(":")[0] in {"status, progress", *sent}


async def made(database: Database, answer: Any) -> Any:
    """The job that was made."""
    told = answer.json()
    assert 201 == answer.status_code, told
    return await found(database, UUID(told["job_id"]))


SENT: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"video_url": URL}, {"source_url": URL, "priority": 5, "title": "", "workflow_type": "video_processing"}),
    (
        {"input_source": URL, "user_id": "user1", "workflow_type": "audio_processing"},
        {"workflow_type": "audio_processing"},
    ),
    (
        {"video_url": f" {URL} ", "title": "Holiday", "priority": 9},
        {"source_url": URL, "title": "Holiday", "priority": 9},
    ),
    ({"video_url": URL, "video_title": "Holiday", "priority": "urgent"}, {"title": "Holiday", "priority": 10}),
    ({"video_url": URL, "priority": "LOW"}, {"priority": 2}),
    (
        {
            "video_url": URL,
            "user_id": "anonymous",
            "workflow_type": "Video To Clips",
            "intent": "key_moments",
            "options": {"priority": "high", "workflowType": "batch_processing", "userId": "anonymous"},
        },
        {"priority": 8, "workflow_type": "video_processing"},
    ),
    ({"video_url": URL, "options": {"workflowType": "batch_processing"}}, {"workflow_type": "batch_processing"}),
    (
        {"video_url": URL, "options": {"max_clips": 2, "aspect": "1:1", "platforms": ["tiktok"], "glitter": True}},
        {"options": {"max_clips": 2, "aspect": "1:1", "platforms": ["tiktok"]}},
    ),
    ({"video_url": URL, "chain": ["clipper"], "callback": None}, {"chain": ["clipper"]}),
]


async def test_a_job_is_made_of_what_clients_send(rest: Rest, database: Database, people: People) -> None:
    """What can be honoured is; what is not known is passed over; it is the caller's whoever is named."""
    for sent, expected in SENT:
        answer = await rest("POST", "/api/jobs/create", json=sent)

        job, told = await made(database, answer), answer.json()
        assert expected == {name: getattr(job, name) for name in expected}
        assert people[Role.USER].id == job.user_id
        assert {"job_id", "status", "message", "estimated_completion"} | TOLD == told.keys()
        assert ("queued", "waits for its turn", None) == (told["status"], told["message"], told["estimated_completion"])


async def test_a_job_is_made_of_an_upload_by_any_name(
    rest: Rest, database: Database, people: People, services: Services
) -> None:
    upload = await uploaded(context_of(services, people[Role.USER]), video(1_000))

    for name in ("upload_id", "video_url", "input_source"):
        answer = await rest("POST", "/api/v1/jobs/create", json={name: str(upload.id)})

        assert (201, TOLD) == (answer.status_code, answer.json().keys())
        job = await found(database, UUID(answer.json()["data"]["id"]))
        assert job is not None
        assert upload.id == job.upload_id


IMPOSSIBLE: list[tuple[object, str, str]] = [
    ({}, "VALIDATION_ERROR", "video_url"),
    ({"video_url": None}, "VALIDATION_ERROR", "video_url"),
    ({"video_url": "  "}, "VALIDATION_ERROR", "video_url"),
    ({"video_url": 5}, "VALIDATION_ERROR", "video_url"),
    ({"input_source": ""}, "VALIDATION_ERROR", "input_source"),
    ({"video_url": "ftp://example.org/v.mp4"}, "VALIDATION_ERROR", "url"),
    ({"video_url": "../etc/passwd"}, "VALIDATION_ERROR", "path"),
    ({"upload_id": NOWHERE}, "NOT_FOUND", NOWHERE),
    ({"video_url": URL, "priority": "soon"}, "VALIDATION_ERROR", "priority"),
    ({"video_url": URL, "priority": 11}, "VALIDATION_ERROR", "priority"),
    ({"video_url": URL, "priority": 1.5}, "VALIDATION_ERROR", "priority"),
    ({"video_url": URL, "title": 5}, "VALIDATION_ERROR", "title"),
    ({"video_url": URL, "title": "a" * 201}, "VALIDATION_ERROR", "title"),
    ({"video_url": URL, "options": []}, "VALIDATION_ERROR", "options"),
    ({"video_url": URL, "options": {"max_clips": "many"}}, "VALIDATION_ERROR", "options"),
    ({"video_url": URL, "options": {"max_clips": 11}}, "VALIDATION_ERROR", "max"),
    ({"video_url": URL, "chain": ["nobody"]}, "VALIDATION_ERROR", "chain"),
    ([], "VALIDATION_ERROR", "body"),
]


async def test_an_impossible_job_is_refused_by_what_is_wrong_with_it(rest: Rest, database: Database) -> None:
    before = await standing(database)
    for number, (sent, code, named) in enumerate(IMPOSSIBLE):
        # More than one caller: nobody may make so many at once.
        answer = await rest("POST", "/api/jobs/create", role=("user", "operator")[number % 2], json=sent)

        told = answer.json()
        assert ({"NOT_FOUND": 404}.get(code, 400), code) == (answer.status_code, told["error_code"]), told
        assert named in told["error"]
    assert before["jobs"] == (await standing(database))["jobs"]
