"""Counters are exact: while jobs change, while others fold, and afterwards."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
import sqlalchemy as sa

from db import jobs, leases, seed, tallies
from db.database import Database, Transaction
from db.jobs import NewJob
from db.migrations import runner
from db.models.work import JobStatus, StepStatus, job_gauges, job_hours, processing_steps
from db.models.work import jobs as table

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
CHAIN = ("video-downloader", "video-analyzer")


async def seeded(database: Database, tenant: str, count: int) -> list[UUID]:
    new = NewJob(user_id=None, source_url="https://v.test", chain=CHAIN)
    async with database.transaction(tenant) as tx:
        return [(await jobs.add(tx, new)).id for _ in range(count)]


async def live_through(database: Database, tenant: str, random: Random, *, rounds: int) -> None:
    """Make, begin, end, cancel, retry and delete jobs, as a busy worker and its users would."""
    for _ in range(rounds):
        [made] = await seeded(database, tenant, 1)
        async with database.system() as tx:
            claims = await leases.claim(tx, "w", most=2)
        for claim in claims:
            # Whoever made it may have deleted it meanwhile.
            with suppress(leases.Lost):
                async with database.system() as tx:
                    await random.choice((leases.complete, leases.stop))(tx, claim)
        async with database.transaction(tenant) as tx:
            await jobs.mark_cancelled(tx, made)
            await jobs.mark_retried(tx, made)
            if random.random() < 0.2:
                await tx.execute(sa.delete(table).where(table.c.id == made))


async def test_every_status_is_counted_and_absent_ones_are_zero(database: Database, tenant: str) -> None:
    await seeded(database, tenant, 3)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w", most=1)
        await leases.fail(tx, claim, code="STEP_FAILED", message="no video")

    async with database.transaction(tenant) as tx:
        counted = await tallies.counts(tx)

    expected = dict.fromkeys(JobStatus, 0) | {JobStatus.QUEUED: 2, JobStatus.FAILED: 1}
    assert expected == counted


async def test_a_tenant_counts_its_own_jobs_alone(database: Database, tenant: str) -> None:
    await seeded(database, tenant, 2)
    await seeded(database, "other", 5)

    async with database.transaction(tenant) as tx:
        mine, hours = await tallies.counts(tx), await tallies.hours(tx, LONG_AGO)

    assert 2 == mine[JobStatus.QUEUED]
    assert [(JobStatus.QUEUED, 2)] == [(hour.status, hour.jobs) for hour in hours]


async def test_gauges_follow_a_job_from_agent_to_agent(database: Database, tenant: str) -> None:
    await seeded(database, tenant, 2)
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w", most=1)
    async with database.transaction(tenant) as tx:
        await leases.begin_step(tx, claim, 1, "video-analyzer")

    async with database.transaction(tenant) as tx:
        gauges = {(gauge.status, gauge.agent_id): gauge.jobs for gauge in await tallies.gauges(tx)}

    assert {
        (JobStatus.QUEUED, "video-downloader"): 1,
        (JobStatus.PROCESSING, "video-analyzer"): 1,
    } == gauges


async def test_folding_changes_no_number_and_leaves_one_row_for_each(database: Database, tenant: str) -> None:
    await live_through(database, tenant, Random(1), rounds=8)
    await live_through(database, "other", Random(2), rounds=8)
    async with database.transaction(tenant) as tx:
        before = await tallies.counts(tx), await tallies.gauges(tx), await tallies.hours(tx, LONG_AGO)

    async with database.system() as tx:
        folded = await tallies.fold(tx)
    async with database.system() as tx:
        again = await tallies.fold(tx)

    async with database.transaction(tenant) as tx:
        counts, gauges, hours = await tallies.counts(tx), await tallies.gauges(tx), await tallies.hours(tx, LONG_AGO)
        rows = await tx.scalar(sa.select(sa.func.count()).select_from(job_hours))
        deltas = await tx.scalar(sa.select(sa.func.count()).select_from(job_gauges))
    assert folded > 0
    assert again == 0
    assert before[0] == counts
    assert sorted(map(str, before[1])) == sorted(map(str, gauges))
    assert [(h.hour, h.status, h.jobs) for h in before[2]] == [(h.hour, h.status, h.jobs) for h in hours]
    assert len(hours) == rows
    assert len(gauges) == deltas


async def naive_fold(tx: Transaction) -> int:
    """What folding must not be: what is appended between the two statements is deleted without having been added."""
    summed = await tx.rows(
        sa.select(
            job_gauges.c.tenant_id, job_gauges.c.status, job_gauges.c.agent_id, sa.func.sum(job_gauges.c.jobs)
        ).group_by(job_gauges.c.tenant_id, job_gauges.c.status, job_gauges.c.agent_id)
    )
    await tx.execute(sa.delete(job_gauges))
    names = ("tenant_id", "status", "agent_id", "jobs")
    if summed:
        await tx.execute(sa.insert(job_gauges), [dict(zip(names, row, strict=True)) for row in summed])
    return len(summed)


async def miscounted(tx: Transaction) -> int:
    """How many statuses and agents the counters have another number for than the jobs, in one view of both."""
    wrong: int = await tx.scalar(
        sa.text(
            "SELECT count(*) FROM (SELECT status, agent_id, sum(jobs) AS jobs FROM job_gauges GROUP BY 1, 2) AS said "
            "FULL JOIN (SELECT status, CASE WHEN completed_at IS NULL THEN current_step END AS agent_id, "
            "count(*) AS jobs FROM jobs GROUP BY 1, 2) AS real "
            "ON said.status = real.status AND coalesce(said.agent_id, '') = coalesce(real.agent_id, '') "
            "WHERE coalesce(said.jobs, 0) <> coalesce(real.jobs, 0)"
        )
    )
    return wrong


async def churn(database: Database, tenant: str, fold: Callable[[Transaction], Awaitable[int]]) -> int:
    """Eight writers, two folders and a reader at once; how many wrong numbers the reader saw, then and at the end."""
    working, seen = True, 0

    async def look() -> int:
        async with database.transaction(tenant) as tx:
            return await miscounted(tx)

    async def fold_all_the_time() -> None:
        while working:
            async with database.system() as tx:
                await fold(tx)

    async def write() -> None:
        nonlocal working
        async with asyncio.TaskGroup() as writers:
            for number in range(8):
                writers.create_task(live_through(database, tenant, Random(number), rounds=4))
        working = False

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(2):
            group.create_task(fold_all_the_time())
        while working:
            seen += await look()
    return seen + await look()


async def test_no_number_is_ever_wrong_while_eight_write_and_two_fold(roomy: Database, tenant: str) -> None:
    assert 0 == await churn(roomy, tenant, tallies.fold)


async def test_a_fold_in_two_statements_would_lose_jobs(roomy: Database, tenant: str) -> None:
    """The control: the test above can fail."""
    assert await churn(roomy, tenant, naive_fold) > 0


async def test_only_one_folds_at_a_time(database: Database, tenant: str) -> None:
    await live_through(database, tenant, Random(3), rounds=3)

    async with database.system() as first:
        folded = await tallies.fold(first)
        async with database.system() as second:
            meanwhile = await tallies.fold(second)

    assert folded > 0
    assert 0 == meanwhile


async def finished_jobs(database: Database, tenant: str, *, worker: str, seconds: list[int]) -> None:
    """Completed jobs that took just so long each, ended a minute ago."""
    async with database.transaction(tenant) as tx:
        for took in seconds:
            end = datetime.now(UTC) - timedelta(minutes=1)
            begin = end - timedelta(seconds=took)
            values = {"created_at": begin, "run_at": begin, "started_at": begin, "completed_at": end}
            await tx.execute(
                sa.insert(table).values(
                    tenant_id=tenant, chain=list(CHAIN), status=JobStatus.COMPLETED, worker_id=worker, **values
                )
            )


async def test_durations_are_those_of_the_newest_completed_jobs(database: Database, tenant: str) -> None:
    await finished_jobs(database, tenant, worker="quick", seconds=[1, 2, 3])
    await finished_jobs(database, tenant, worker="slow", seconds=[10, 34])

    async with database.transaction(tenant) as tx:
        took = await tallies.durations(tx, LONG_AGO)
        speeds = await tallies.speeds(tx, LONG_AGO)
        pace = await tallies.pace(tx)

    assert (5, 10.0, 3.0) == (took.jobs, took.average, took.p50)
    assert took.p95 == pytest.approx(29.2)
    assert [("quick", 3, 2.0), ("slow", 2, 22.0)] == [(s.worker_id, s.jobs, s.average_s) for s in speeds]
    assert tallies.Pace(5, 0) == pace


async def test_what_was_never_measured_is_absent(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        took = await tallies.durations(tx, LONG_AGO)

    assert tallies.Durations(0, None, None, None, None) == took


async def test_failures_and_types_are_counted_by_kind(database: Database, tenant: str) -> None:
    await seeded(database, tenant, 3)
    for code in ("STEP_FAILED", "STEP_FAILED", "STEP_TIMEOUT"):
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w", most=1)
            await leases.fail(tx, claim, code=code, message="why")

    async with database.transaction(tenant) as tx:
        failures = await tallies.failures(tx, LONG_AGO)
        types = await tallies.types(tx, LONG_AGO)

    assert [("STEP_FAILED", "why", 2), ("STEP_TIMEOUT", "why", 1)] == [(f.code, f.message, f.jobs) for f in failures]
    assert [tallies.Kindred("video_processing", 3)] == types


async def ended_steps(database: Database, tenant: str) -> dict[tuple[str, StepStatus], int]:
    """How many steps are on record as ended, by agent and status."""
    async with database.transaction(tenant) as tx:
        found = await tallies.steps(tx, LONG_AGO)
    counted: Counter[tuple[str, StepStatus]] = Counter()
    for each in found:
        counted[each.agent_id, each.status] += each.steps
    return dict(counted)


async def plainly(database: Database, tenant: str) -> dict[tuple[str, StepStatus], int]:
    """The same counted row by row."""
    c = processing_steps.c
    begun = sa.select(c.agent_id, c.status, sa.func.count()).where(
        c.started_at.is_not(None), c.finished_at.is_not(None)
    )
    async with database.transaction(tenant) as tx:
        return {(agent, status): many for agent, status, many in await tx.rows(begun.group_by(c.agent_id, c.status))}


async def test_steps_are_counted_as_they_end_and_only_if_they_began(database: Database, tenant: str) -> None:
    await seeded(database, tenant, 3)
    async with database.system() as tx:
        claims = await leases.claim(tx, "w", most=3)
    async with database.transaction(tenant) as tx:
        for claim in claims:
            await leases.begin_step(tx, claim, 0, CHAIN[0])
            await leases.report(tx, claim, 0, share=0.5, percent=5)
        await leases.finish_step(tx, claims[0], 0, StepStatus.COMPLETED)
        await leases.finish_step(tx, claims[1], 0, StepStatus.FAILED)
    assert {(CHAIN[0], StepStatus.COMPLETED): 1, (CHAIN[0], StepStatus.FAILED): 1} == await ended_steps(
        database, tenant
    )

    # What its job no longer needs: one step was begun, the other was not.
    async with database.transaction(tenant) as tx:
        await jobs.mark_failed(tx, claims[2].job.id, code="DECLARED", message="given up")

    counted = await ended_steps(database, tenant)
    assert 1 == counted[CHAIN[0], StepStatus.CANCELLED]
    assert counted == await plainly(database, tenant)


async def test_a_step_that_is_tried_again_counts_each_time(database: Database, tenant: str) -> None:
    [job_id] = await seeded(database, tenant, 1)
    for _ in range(2):
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w", most=1)
        async with database.transaction(tenant) as tx:
            await leases.begin_step(tx, claim, 0, CHAIN[0])
            await leases.finish_step(tx, claim, 0, StepStatus.FAILED)
        async with database.system() as tx:
            await leases.fail(tx, claim, code="STEP_FAILED", message="no video")
        async with database.transaction(tenant) as tx:
            await jobs.mark_retried(tx, job_id)

    assert {(CHAIN[0], StepStatus.FAILED): 2} == await ended_steps(database, tenant)


async def test_a_seeded_history_has_its_steps_counted_and_folding_keeps_them(database: Database, tenant: str) -> None:
    await seed.fill(database, tenant, jobs=40, events=0, chain=CHAIN, seed=1, now=datetime.now(UTC))
    before = await plainly(database, tenant)
    assert before == await ended_steps(database, tenant)

    async with database.system() as tx:
        await tallies.fold(tx)

    assert before == await ended_steps(database, tenant)
    assert {} == await ended_steps(database, "other")


async def test_an_upgraded_house_has_the_steps_of_its_last_month_counted(database: Database, tenant: str) -> None:
    at = datetime.now(UTC)
    await seed.fill(database, tenant, jobs=40, events=0, chain=CHAIN, seed=1, now=at)
    async with database.system() as tx:
        [old] = (await tx.rows(sa.select(processing_steps.c.id).where(processing_steps.c.finished_at.is_not(None))))[0]
        moved = {"started_at": at - timedelta(days=40), "finished_at": at - timedelta(days=40)}
        await tx.execute(sa.update(processing_steps).where(processing_steps.c.id == old).values(moved))
    before = await plainly(database, tenant)

    await runner.downgrade(database.url, "0028")
    await runner.upgrade(database.url)

    counted = await ended_steps(database, tenant)
    assert sum(before.values()) - 1 == sum(counted.values())
    assert before.keys() >= counted.keys()
