"""How jobs and the queue stand and went: for everybody what they may see, measured or null."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import clips, jobs, leases
from db.clips import NewClip
from db.database import Database
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.work import jobs as table
from db.models.work import workers
from db.users import User
from resolvers.context import Services
from tests.conftest import People
from tests.schema.conftest import Ask

STATISTICS = """
query($filter: JobFilter) {
  jobStatistics(filter: $filter) {
    total queued processing completed failed cancelled successPercent averageRunS p95RunS averageWaitS measuredJobs
  }
}
"""
NONE = {"successPercent": None, "averageRunS": None, "p95RunS": None, "averageWaitS": None, "measuredJobs": 0}
JOB = "query($id: ID!) { job(id: $id) { message estimatedCompletion durationS ownerId } }"

Make = Callable[..., Awaitable[Job]]


@pytest_asyncio.fixture
async def make(database: Database) -> Make:
    """`await make(owner, "completed")`: a job that waited two seconds and ran ten, if it ran."""

    async def made(owner: User, state: str = "queued") -> Job:
        tenant = owner.tenant_id
        new = NewJob(user_id=owner.id, source_url="https://v.test", chain=["clipper"])
        async with database.transaction(tenant) as tx:
            job = await jobs.add(tx, new)
            if state == "cancelled":
                await jobs.mark_cancelled(tx, job.id)
        if state not in ("queued", "cancelled"):
            await run(job, state)
        async with database.transaction(tenant) as tx:
            found = await jobs.by_id(tx, job.id)
        assert found is not None
        return found

    async def run(job: Job, state: str) -> None:
        async with database.system() as tx:
            due = {"run_at": sa.text("now() - interval '2 s'"), "priority": 10}
            await tx.execute(sa.update(table).where(table.c.id == job.id).values(due))
            [claim] = await leases.claim(tx, "w1", most=1)
        async with database.transaction(job.tenant_id) as tx:
            if state != "processing":
                began = {"started_at": sa.text("now() - interval '10 s'"), "run_at": sa.text("now() - interval '12 s'")}
                await tx.execute(sa.update(table).where(table.c.id == job.id).values(began))
            if state == "completed":
                await leases.complete(tx, claim)
            elif state == "failed":
                await leases.fail(tx, claim, code="STEP_FAILED", message="no video")

    return made


async def told(ask: Ask, user: User, document: str, **variables: Any) -> dict[str, Any]:
    answer = await ask(user, document, **variables)
    assert answer.errors is None
    assert answer.data is not None
    [found] = answer.data.values()
    assert isinstance(found, dict)
    return found


async def test_everybody_is_told_of_the_jobs_they_may_see(
    ask: Ask, make: Make, people: People, other_people: People
) -> None:
    user, operator = people[Role.USER], people[Role.OPERATOR]
    for owner, state in (
        (user, "completed"),
        (user, "failed"),
        (operator, "completed"),
        (other_people[Role.USER], "completed"),
        (operator, "cancelled"),
        (user, "queued"),
    ):
        await make(owner, state)
    ran = {"averageRunS": 10.0, "p95RunS": 10.0, "averageWaitS": 2.0}
    mine = {"total": 3, "queued": 1, "processing": 0, "completed": 1, "failed": 1, "cancelled": 0}
    whole = {"total": 5, "queued": 1, "processing": 0, "completed": 2, "failed": 1, "cancelled": 1}
    none = dict.fromkeys(mine, 0)
    of_operator = {"filter": {"ownerId": str(operator.id)}}

    assert {**mine, **ran, "successPercent": 50.0, "measuredJobs": 1} == await told(ask, user, STATISTICS)
    assert {**whole, **ran, "successPercent": 66.67, "measuredJobs": 2} == await told(ask, operator, STATISTICS)
    assert {**none, **NONE} == await told(ask, user, STATISTICS, **of_operator)
    assert {**none, **NONE} == await told(ask, people[Role.READONLY], STATISTICS, filter={"titleContains": "none"})
    assert whole["queued"] == (await told(ask, operator, STATISTICS, filter={"statuses": ["QUEUED"]}))["total"]
    today = await told(ask, operator, STATISTICS, filter={"createdToday": True})
    assert (5, 66.67) == (today["total"], today["successPercent"])


async def test_a_job_says_in_words_how_it_stands(ask: Ask, make: Make, people: People, services: Services) -> None:
    user = people[Role.USER]
    said = {}
    for state in ("queued", "processing", "completed", "failed", "cancelled"):
        job = await make(user, state)
        said[state] = await told(ask, user, JOB, id=str(job.id))
        assert str(user.id) == said[state]["ownerId"]
        if state == "processing":
            async with services.database.transaction("default") as tx:
                await jobs.mark_cancelled(tx, job.id)
            said["stopping"] = await told(ask, user, JOB, id=str(job.id))

    assert {
        "queued": "waits for its turn",
        "processing": "clipper is at work",
        "stopping": "is being stopped",
        "completed": "completed",
        "failed": "no video",
        "cancelled": "cancelled",
    } == {state: each["message"] for state, each in said.items()}
    assert [None, None, 10.0, 10.0] == [
        said[state]["durationS"] for state in ("queued", "processing", "completed", "failed")
    ]


async def test_an_end_is_expected_once_others_have_ended(ask: Ask, make: Make, people: People) -> None:
    user = people[Role.USER]
    waiting = await make(user)
    unknown = await told(ask, user, JOB, id=str(waiting.id))
    over = await make(user, "completed")
    asked = datetime.now(UTC)
    known = await told(ask, user, JOB, id=str(waiting.id))

    ended = await told(ask, user, JOB, id=str(over.id))
    assert (None, None) == (unknown["estimatedCompletion"], ended["estimatedCompletion"])
    ahead = datetime.fromisoformat(known["estimatedCompletion"]) - asked
    assert 0 < ahead.total_seconds() < 60


@pytest.mark.parametrize(("size", "shape"), [((90, 160), "PORTRAIT"), ((160, 90), "LANDSCAPE"), ((9, 9), "SQUARE")])
async def test_a_clip_says_what_its_file_is_like(
    size: tuple[int, int], shape: str, ask: Ask, make: Make, people: People, services: Services
) -> None:
    user, path = people[Role.USER], "default/clips/a.mp4"
    job = await make(user, "completed")
    new = NewClip(
        title="Best of",
        path=path,
        thumbnail_path=None,
        start_s=0,
        end_s=1,
        duration_s=1,
        width=size[0],
        height=size[1],
        size_bytes=1,
        sha256="0" * 64,
        score=1,
        reasons=[],
    )
    async with services.database.transaction("default") as tx:
        await clips.add(tx, job.id, [new])
    document = "query($id: ID!) { job(id: $id) { clips { fileName shape available jobId } } }"

    [gone] = (await told(ask, user, document, id=str(job.id)))["clips"]
    file = services.files.resolve(path)
    file.parent.mkdir(parents=True)
    file.touch()
    [there] = (await told(ask, user, document, id=str(job.id)))["clips"]

    expected = {"fileName": "Best of.mp4", "shape": shape, "jobId": str(job.id)}
    assert [{**expected, "available": False}, {**expected, "available": True}] == [gone, there]


QUEUE = """
{
  queue {
    queued oldestAgeS
    statistics {
      throughput { perHour trend lastHour previousHour }
      averageWaitS averageRunS successPercent workerUtilizationPercent workersAlive
      madeToday completedToday failedToday cancelledToday
    }
  }
}
"""


async def test_the_queue_tells_how_it_went(ask: Ask, make: Make, people: People, database: Database) -> None:
    user = people[Role.USER]
    unknown = await told(ask, user, QUEUE)
    for state in ("completed", "completed", "failed", "cancelled", "processing"):
        await make(user, state)
    waiting = await make(user)
    async with database.system() as tx:
        await tx.execute(
            sa.update(table).where(table.c.id == waiting.id).values(created_at=sa.text("now() - interval '60 s'"))
        )
        beat = {"id": "w-1", "hostname": "h", "version": "5", "state": "active", "concurrency": 4}
        await tx.execute(sa.insert(workers).values(**beat, current_jobs=[uuid4()]))
    known = await told(ask, user, QUEUE)

    nothing = dict.fromkeys(("averageWaitS", "averageRunS", "successPercent", "workerUtilizationPercent"))
    never = dict.fromkeys(("madeToday", "completedToday", "failedToday", "cancelledToday", "workersAlive"), 0)
    still = {"perHour": 0, "trend": "stable", "lastHour": 0, "previousHour": 0}
    assert {"queued": 0, "oldestAgeS": None, "statistics": {"throughput": still, **nothing, **never}} == unknown
    assert 1 == known["queued"]
    assert 60 <= known["oldestAgeS"] < 120
    statistics = known["statistics"]
    assert {"perHour": 0, "trend": "up", "lastHour": 2, "previousHour": 0} == statistics["throughput"]
    assert (2, 10, 66.67) == (
        round(statistics["averageWaitS"]),
        round(statistics["averageRunS"]),
        statistics["successPercent"],
    )
    assert (1, 25.0) == (statistics["workersAlive"], statistics["workerUtilizationPercent"])
    assert [6, 2, 1, 1] == [statistics[f"{what}Today"] for what in ("made", "completed", "failed", "cancelled")]
