"""Jobs as people see them: made, found, cancelled, asked for again, by whom they belong to."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import events, jobs, leases, steps
from db.database import Database, Transaction
from db.events import START, Kind
from db.jobs import Filter, Job, NewJob
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus
from db.models.work import jobs as table
from db.pages import Order, Window
from tests.conftest import People

CHAIN = ("video-downloader", "video-analyzer", "clipper")
NEWEST = Order("created_at")


def wanted(**changed: Any) -> NewJob:
    return NewJob(**({"user_id": None, "source_url": "https://example.org/v.mp4", "chain": CHAIN} | changed))


async def made(database: Database, status: JobStatus = JobStatus.QUEUED, **changed: Any) -> Job:
    """A job that came to be in `status` by the way that jobs do."""
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, wanted(**changed))
        if status is JobStatus.CANCELLED:
            await jobs.mark_cancelled(tx, job.id)
    if status in (JobStatus.PROCESSING, JobStatus.COMPLETED, JobStatus.FAILED):
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w1", most=1)
            assert job.id == claim.job.id
        async with database.transaction("default") as tx:
            await leases.begin_step(tx, claim, 0, CHAIN[0])
            await leases.finish_step(tx, claim, 0, StepStatus.COMPLETED, output={"a": 1}, percent=33)
            await leases.begin_step(tx, claim, 1, CHAIN[1])
            if status is JobStatus.COMPLETED:
                await leases.complete(tx, claim)
            elif status is JobStatus.FAILED:
                await leases.fail(tx, claim, code="STEP_FAILED", message="no video")
    return await found(database, job.id)


async def found(database: Database, job_id: UUID) -> Job:
    async with database.transaction("default") as tx:
        job = await jobs.by_id(tx, job_id)
    assert job is not None
    return job


async def step_statuses(database: Database, job_id: UUID) -> list[StepStatus]:
    async with database.transaction("default") as tx:
        return [step.status for step in await steps.of_job(tx, job_id)]


async def told_of(database: Database, job: Job) -> list[str]:
    """The statuses that listeners were told of a job, in order."""
    async with database.system() as tx:
        heard = await events.after(tx, START)
    return [
        event.payload["status"] for event in heard if event.kind is Kind.JOB_CHANGED and event.entity_id == str(job.id)
    ]


async def test_a_new_job_waits_with_a_step_for_each_agent_and_listeners_know(
    database: Database, people: People
) -> None:
    owner = people[Role.USER].id
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, wanted(user_id=owner, title="T", options={"clips": 3}, priority=9))
        rows = await steps.of_job(tx, job.id)
    async with database.system() as tx:
        [event] = await events.after(tx, START)

    assert (JobStatus.QUEUED, 0, CHAIN[0], list(CHAIN), {"clips": 3}, 9) == (
        job.status,
        job.attempt,
        job.current_step,
        job.chain,
        job.options,
        job.priority,
    )
    assert [(ordinal, agent, StepStatus.PENDING) for ordinal, agent in enumerate(CHAIN)] == [
        (row.ordinal, row.agent_id, row.status) for row in rows
    ]
    assert (str(job.id), owner, "default") == (event.entity_id, event.owner_id, event.tenant_id)
    assert {"status": "queued", "progress": 0, "current_step": CHAIN[0]} == event.payload


CANCELLED_TO = {
    JobStatus.QUEUED: JobStatus.CANCELLED,
    JobStatus.PROCESSING: JobStatus.PROCESSING,
    JobStatus.COMPLETED: None,
    JobStatus.FAILED: None,
    JobStatus.CANCELLED: None,
}
RETRIED_TO = {
    JobStatus.QUEUED: None,
    JobStatus.PROCESSING: None,
    JobStatus.COMPLETED: None,
    JobStatus.FAILED: JobStatus.QUEUED,
    JobStatus.CANCELLED: JobStatus.QUEUED,
}


async def act(
    database: Database, action: Callable[..., Any], job: Job, *, owner: UUID | None = None, tenant: str = "default"
) -> Job | None:
    async with database.transaction(tenant) as tx:
        changed: Job | None = await action(tx, job.id, owner=owner)
        return changed


@pytest.mark.parametrize(("action", "leads_to"), [(jobs.mark_cancelled, CANCELLED_TO), (jobs.mark_retried, RETRIED_TO)])
async def test_a_job_changes_only_from_where_it_may(
    database: Database, action: Callable[..., Any], leads_to: dict[JobStatus, JobStatus | None]
) -> None:
    """The table of transitions, and: a refused one changes nothing and tells nobody."""
    for priority, (status, becomes) in enumerate(leads_to.items()):
        # The newest is the most urgent, so that the worker of `made` takes that one.
        job = await made(database, status, priority=priority)
        before, heard = await step_statuses(database, job.id), await told_of(database, job)

        changed = await act(database, action, job)
        after = await found(database, job.id)

        if becomes is None:
            assert changed is None, status
            assert job == after
            assert before == await step_statuses(database, job.id)
            assert heard == await told_of(database, job)
        else:
            assert changed == after
            assert becomes is after.status, status
            assert [*heard, str(becomes)] == await told_of(database, job)


async def test_a_cancelled_queued_job_is_over_with_all_its_steps(database: Database) -> None:
    job = await made(database, JobStatus.CANCELLED)

    assert job.completed_at is not None
    assert job.cancel_requested_at is not None
    assert [StepStatus.CANCELLED] * 3 == await step_statuses(database, job.id)


async def test_a_running_job_is_asked_to_stop_and_the_first_request_counts(database: Database) -> None:
    job = await made(database, JobStatus.PROCESSING)

    first = await act(database, jobs.mark_cancelled, job)
    second = await act(database, jobs.mark_cancelled, job)

    assert first is not None
    assert second is not None
    assert first.cancel_requested_at is not None
    assert first.cancel_requested_at == second.cancel_requested_at
    assert first.completed_at is None
    assert [StepStatus.COMPLETED, StepStatus.PROCESSING, StepStatus.PENDING] == await step_statuses(database, job.id)


async def test_a_retried_job_keeps_what_was_found_and_forgets_how_it_ended(database: Database) -> None:
    job = await made(database, JobStatus.FAILED)

    async with database.transaction("default") as tx:
        again = await jobs.mark_retried(tx, job.id, priority=10)
        outputs = await steps.outputs(tx, job.id)

    assert again is not None
    assert (10, 1, 1, 4) == (again.priority, again.retry_count, again.attempt, again.max_attempts)
    assert [None] * 6 == [
        again.error_code,
        again.error_message,
        again.completed_at,
        again.started_at,
        again.cancel_requested_at,
        again.worker_id,
    ]
    assert [StepStatus.COMPLETED, StepStatus.PENDING, StepStatus.PENDING] == await step_statuses(database, job.id)
    assert {CHAIN[0]: b'{"a":1}'} == outputs


async def test_a_retried_job_is_taken_again(database: Database) -> None:
    job = await made(database, JobStatus.FAILED)
    await act(database, jobs.mark_retried, job)

    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w2", most=5)

    assert (job.id, "w2", 2) == (claim.job.id, claim.job.worker_id, claim.job.attempt)
    assert not claim.last_attempt


async def test_somebody_else_s_job_looks_missing_and_stays_as_it_is(database: Database, people: People) -> None:
    owner, stranger = people[Role.USER].id, people[Role.OPERATOR].id
    queued = await made(database, user_id=owner, priority=1)
    over = await made(database, JobStatus.CANCELLED, user_id=owner)

    for who, tenant in ((stranger, "default"), (uuid4(), "default"), (None, "other"), (owner, "other")):
        async with database.transaction(tenant) as tx:
            assert await jobs.by_id(tx, queued.id, owner=who) is None
            assert [] == await jobs.by_ids(tx, [queued.id, over.id], owner=who)
            assert [] == await jobs.newest(tx, most=10, owner=who)
            assert 0 == await jobs.how_many(tx, Filter(), owner=who)
            assert [] == (await jobs.listed(tx, Filter(), NEWEST, Window(), owner=who)).items
        assert await act(database, jobs.mark_cancelled, queued, owner=who, tenant=tenant) is None
        assert await act(database, jobs.mark_retried, over, owner=who, tenant=tenant) is None

    assert (queued, over) == (await found(database, queued.id), await found(database, over.id))
    async with database.transaction("default") as tx:
        assert queued == await jobs.by_id(tx, queued.id, owner=owner)
        assert [over, queued] == await jobs.newest(tx, most=10, owner=owner)


async def test_jobs_of_ids_leaves_out_those_that_are_not_there(database: Database) -> None:
    job = await made(database)

    async with database.transaction("default") as tx:
        assert [job] == await jobs.by_ids(tx, [job.id, uuid4()])
        assert [] == await jobs.by_ids(tx, [])


async def titles(tx: Transaction, **parts: Any) -> list[str]:
    """The titles that a filter selects, which the count must agree with."""
    wanted = Filter(**parts)
    page = await jobs.listed(tx, wanted, Order("created_at", descending=False), Window(size=100), owner=None)
    assert len(page.items) == await jobs.how_many(tx, wanted, owner=None)
    return sorted(job.title for job in page.items)


async def test_each_part_of_a_filter_narrows_the_list_and_its_count(database: Database, people: People) -> None:
    user, operator = people[Role.USER].id, people[Role.OPERATOR].id
    running = await made(database, JobStatus.PROCESSING, title="running", user_id=operator)
    await made(database, title="waiting", user_id=user)
    await made(database, JobStatus.CANCELLED, title="cancelled", user_id=user)
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    async with database.transaction("default") as tx:
        await tx.execute(sa.update(table).where(table.c.id == running.id).values(created_at=midnight))

        assert ["cancelled", "running", "waiting"] == await titles(tx)
        assert ["waiting"] == await titles(tx, statuses=[JobStatus.QUEUED])
        assert ["cancelled", "waiting"] == await titles(tx, statuses=[JobStatus.QUEUED, JobStatus.CANCELLED])
        assert ["cancelled", "waiting"] == await titles(tx, user_id=user)
        assert ["running"] == await titles(tx, worker_id="w1")
        assert [] == await titles(tx, worker_id="w")
        assert ["running"] == await titles(tx, current_step=CHAIN[1])
        assert ["cancelled", "waiting"] == await titles(tx, current_step=CHAIN[0])
        assert [] == await titles(tx, upload_id=uuid4())
        assert ["cancelled", "waiting"] == await titles(tx, created_after=midnight + timedelta(microseconds=1))
        assert ["cancelled", "running", "waiting"] == await titles(tx, created_after=midnight)
        assert [] == await titles(tx, created_before=midnight)
        assert ["running"] == await titles(tx, created_before=midnight + timedelta(microseconds=1))
        assert ["waiting"] == await titles(tx, user_id=user, statuses=[JobStatus.QUEUED], title_contains="AIT")
        assert [] == await titles(tx, user_id=operator, statuses=[JobStatus.QUEUED])


async def test_what_is_looked_for_in_a_title_is_taken_as_it_is(database: Database) -> None:
    """`%` and `_` stand for themselves, so nobody lists everything by looking for a wildcard."""
    for title in ("100% done", "1000 done", "snake_case", "snakeXcase", "back\\slash", "A/B"):
        await made(database, title=title)

    async with database.transaction("default") as tx:
        assert ["100% done"] == await titles(tx, title_contains="%")
        assert ["100% done"] == await titles(tx, title_contains="0% D")
        assert ["snake_case"] == await titles(tx, title_contains="_")
        assert ["back\\slash"] == await titles(tx, title_contains="\\")
        assert ["A/B"] == await titles(tx, title_contains="/b")
        assert [] == await titles(tx, title_contains="' OR true --")
        assert 6 == len(await titles(tx, title_contains=""))


async def dated(tx: Transaction, owner: UUID | None, *, waited_s: float, ran_s: float, days_ago: int = 0) -> None:
    """A job that was completed after so many seconds."""
    job = await jobs.add(tx, wanted(user_id=owner))
    begun = datetime.now(UTC) - timedelta(days=days_ago, hours=1)
    values = {
        "status": JobStatus.COMPLETED,
        "created_at": begun - timedelta(seconds=waited_s),
        "run_at": begun - timedelta(seconds=waited_s),
        "started_at": begun,
        "completed_at": begun + timedelta(seconds=ran_s),
    }
    await tx.execute(sa.update(table).where(table.c.id == job.id).values(values))


async def test_figures_are_of_what_a_filter_selects(database: Database, people: People) -> None:
    """Whole or narrowed, counted from counters or row by row."""
    mine, theirs = people[Role.USER].id, people[Role.OPERATOR].id
    async with database.transaction("default") as tx:
        for ran_s in (10, 20, 30):
            await dated(tx, mine, waited_s=ran_s / 10, ran_s=ran_s)
        await dated(tx, theirs, waited_s=100, ran_s=1000, days_ago=3)
        waiting = await jobs.add(tx, wanted(user_id=mine))
        # Begun, put back for later, and so not yet due when it had begun.
        back = await jobs.add(tx, wanted(user_id=mine))
        later = datetime.now(UTC) + timedelta(hours=1)
        await tx.execute(
            sa.update(table).where(table.c.id == back.id).values(started_at=waiting.created_at, run_at=later)
        )

    async def figures(owner: UUID | None = None, **parts: Any) -> tuple[int, int, float | None, float | None]:
        chosen = Filter(**parts)
        async with database.transaction("default") as tx:
            counted = await jobs.counts(tx, chosen, owner=owner)
            durations = await jobs.durations(tx, chosen, owner=owner)
            waited = await jobs.wait_s(tx, chosen, owner=owner)
        assert set(JobStatus) == set(counted)
        assert sum(counted.values()) == len(await seen(owner, chosen))
        return (
            counted[JobStatus.QUEUED],
            counted[JobStatus.COMPLETED],
            durations.p50,
            None if waited is None else round(waited, 3),
        )

    async def seen(owner: UUID | None, chosen: Filter) -> list[Job]:
        async with database.transaction("default") as tx:
            return (await jobs.listed(tx, chosen, NEWEST, Window(size=100), owner=owner)).items

    assert (2, 4, 25, 26.5) == await figures()
    assert (0, 4, 25, 26.5) == await figures(statuses=(JobStatus.COMPLETED,))
    assert (2, 0, None, None) == await figures(statuses=(JobStatus.QUEUED,))
    assert (2, 3, 20, 2) == await figures(owner=mine)
    assert (0, 1, 1000, 100) == await figures(user_id=theirs)
    assert (0, 0, None, None) == await figures(owner=mine, user_id=theirs)
    assert (0, 1, 1000, 100) == await figures(created_before=datetime.now(UTC) - timedelta(days=2))


async def test_today_is_the_day_in_utc(database: Database) -> None:
    """Whatever zone the session of the database is in."""
    [early, late, now] = [await made(database, title=title) for title in ("early", "late", "now")]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with database.transaction("default") as tx:
        for job, moment in ((early, midnight - timedelta(microseconds=1)), (late, midnight)):
            await tx.execute(sa.update(table).where(table.c.id == job.id).values(created_at=moment))

        for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
            await tx.execute(sa.text(f"SET LOCAL TIME ZONE '{zone}'"))
            assert ["late", "now"] == await titles(tx, today=True)
    assert now.created_at >= midnight
