"""The queue as clients ask for it over REST, new ones and those from before."""

import pytest
import sqlalchemy as sa

from db import queues
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, workers
from db.models.work import jobs as table
from tests.conftest import People
from tests.schema.rest.table.conftest import TOLD, Rest
from tests.standing import job_in


async def test_the_queue_says_how_it_stands(rest: Rest, database: Database) -> None:
    empty = (await rest("GET", "/api/v1/queue/status")).json()["data"]
    for status in (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.FAILED):
        await job_in(database, status)
    async with database.transaction("default") as tx:
        past = sa.text("now() - interval '60 s'")
        await tx.execute(sa.update(table).where(table.c.status == JobStatus.QUEUED).values(created_at=past))
        await queues.mark_paused(tx, reason="a new disk")
    new, old = [(await rest("GET", f"{prefix}/queue/status")).json() for prefix in ("/api/v1", "/api")]

    assert (False, 0, None, None) == tuple(empty[key] for key in ("paused", "depth", "oldest_age_s", "state"))
    told = new["data"]
    counts = {key: told[key] for key in ("depth", "pending", "processing", "completed", "failed", "cancelled")}
    assert {"depth": 2, "pending": 2, "processing": 1, "completed": 0, "failed": 1, "cancelled": 0} == counts
    assert (True, False, "a new disk") == (told["paused"], told["refusing"], told["state"]["reason"])
    assert 60 <= told["oldest_age_s"] < 120
    assert (TOLD, TOLD | {"queue"}) == (new.keys(), old.keys())
    assert old["data"] == old["queue"]


async def test_the_details_are_the_jobs_that_wait_or_run_the_most_urgent_first(
    rest: Rest, database: Database, people: People
) -> None:
    owner = people[Role.USER].id
    low = str(await job_in(database, JobStatus.QUEUED, owner=owner, priority=1))
    high = str(await job_in(database, JobStatus.PROCESSING, owner=owner, priority=9))
    theirs = str(await job_in(database, JobStatus.QUEUED, priority=5))
    await job_in(database, JobStatus.COMPLETED, owner=owner, priority=10)

    mine = (await rest("GET", "/api/queue/details")).json()
    whole = (await rest("GET", "/api/queue/details?per_page=2", role="operator")).json()

    assert [high, low] == [job["id"] for job in mine["jobs"]] == [job["id"] for job in mine["data"]]
    assert [high, theirs] == [job["id"] for job in whole["jobs"]]
    assert (2, 3, True) == (mine["total"], whole["total"], whole["pagination"]["has_next"])
    bad = await rest("GET", "/api/queue/details?page=first")
    assert (400, "page") == (bad.status_code, bad.json()["error"].split(":")[0])


async def test_the_figures_are_measured_or_null(rest: Rest, database: Database) -> None:
    nothing = (await rest("GET", "/api/v1/queue/stats")).json()["data"]["statistics"]
    for status in (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED):
        await job_in(database, status)
    async with database.system() as tx:
        beat = {"id": "w-1", "hostname": "h", "version": "5", "state": "idle", "concurrency": 2}
        await tx.execute(sa.insert(workers).values(**beat))
    new, old = [(await rest("GET", f"{prefix}/queue/stats")).json() for prefix in ("/api/v1", "/api")]

    unknown = {"avg_wait_time", "avg_processing_time", "success_rate_24h", "worker_utilization"}
    assert unknown == {key for key, value in nothing.items() if value is None}
    figures = new["data"]["statistics"]
    assert (66.67, 0.0, 2, 1) == tuple(
        figures[key] for key in ("success_rate_24h", "worker_utilization", "completed_today", "failed_today")
    )
    assert {"per_hour": 0, "trend": "up", "last_hour": 2, "previous_hour": 0} == figures["queue_throughput"]
    assert TOLD == new.keys()
    assert old["stats"] == {key: old[key] for key in old["stats"]}
    assert (1, 1, 2, 66.67) == tuple(
        old["stats"][key] for key in ("queue_depth", "processing", "completed", "success_rate_24h")
    )


@pytest.mark.parametrize("path", ["status", "details", "stats"])
async def test_everybody_who_is_signed_in_may_look(path: str, rest: Rest) -> None:
    roles = ("nobody", "readonly", "user", "admin", "other/user")
    told = {role: (await rest("GET", f"/api/v1/queue/{path}", role=role)).status_code for role in roles}

    assert {"nobody": 401, "readonly": 200, "user": 200, "admin": 200, "other/user": 200} == told
