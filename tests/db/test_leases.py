"""How workers hold jobs: what is written while they do, and what becomes of a job that is let go."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import agents, jobs, leases, steps
from db.database import Database
from db.jobs import Job, NewJob
from db.leases import LEASE, Claim, Lost
from db.models.work import JobStatus, StepStatus
from db.models.work import jobs as table

CHAIN = ("video-downloader", "video-analyzer", "clipper")
NOW = timedelta(0)
PENDING, PROCESSING, COMPLETED = StepStatus.PENDING, StepStatus.PROCESSING, StepStatus.COMPLETED


async def queued(database: Database, **changed: Any) -> Job:
    async with database.transaction("default") as tx:
        return await jobs.add(
            tx, NewJob(**({"user_id": None, "source_url": "https://v.test", "chain": CHAIN} | changed))
        )


async def claimed(database: Database, worker: str = "w1", *, most: int = 1) -> list[Claim]:
    async with database.system() as tx:
        return await leases.claim(tx, worker, most=most)


async def at_second_step(database: Database, **changed: Any) -> Claim:
    """A job whose first step is completed and whose second is running."""
    await queued(database, **changed)
    [claim] = await claimed(database)
    async with database.transaction("default") as tx:
        await leases.begin_step(tx, claim, 0, CHAIN[0])
        await leases.finish_step(tx, claim, 0, COMPLETED, output={}, percent=33)
        await leases.begin_step(tx, claim, 1, CHAIN[1])
    return claim


async def found(database: Database, job_id: UUID) -> Job:
    async with database.transaction("default") as tx:
        job = await jobs.by_id(tx, job_id)
    assert job is not None
    return job


async def steps_of(database: Database, claim: Claim) -> list[steps.Step]:
    async with database.transaction("default") as tx:
        return await steps.of_job(tx, claim.job.id)


async def statuses(database: Database, claim: Claim) -> Sequence[StepStatus]:
    return [step.status for step in await steps_of(database, claim)]


async def fall_silent(database: Database, claim: Claim) -> list[Job]:
    """What becomes of a claim whose worker no longer renews it."""
    async with database.system() as tx:
        await leases.keep(tx, "w1", [(claim.job.id, claim.fence)], lease=timedelta(seconds=-1))
        return await leases.reap(tx)


@pytest.mark.parametrize(("counted", "attempt"), [(True, 1), (False, 0)])
async def test_a_job_put_back_is_nobody_s_and_waits(database: Database, counted: bool, attempt: int) -> None:
    claim = await at_second_step(database)

    async with database.transaction("default") as tx:
        back = await leases.put_back(tx, claim, delay=timedelta(minutes=5), message="busy", count_attempt=counted)
        wait = await tx.scalar(sa.select(table.c.run_at - sa.func.now()).where(table.c.id == back.id))

    assert (JobStatus.QUEUED, attempt, None, "busy", None) == (
        back.status,
        back.attempt,
        back.worker_id,
        back.error_message,
        back.completed_at,
    )
    assert timedelta(minutes=5) == wait
    assert [] == await claimed(database)
    assert [COMPLETED, PENDING, PENDING] == await statuses(database, claim)


async def test_a_job_put_back_without_delay_is_taken_again_at_once_under_a_newer_fence(database: Database) -> None:
    claim = await at_second_step(database)
    async with database.transaction("default") as tx:
        await leases.put_back(tx, claim, delay=NOW, message="busy", count_attempt=True)

    [again] = await claimed(database, "w2")

    assert (claim.job.id, claim.fence + 1, 2, None) == (
        again.job.id,
        again.fence,
        again.job.attempt,
        again.job.error_message,
    )


async def test_a_job_put_back_after_somebody_asked_to_cancel_it_is_cancelled(database: Database) -> None:
    """It would otherwise wait in the queue for its delay and be begun once more, only to be stopped."""
    claim = await at_second_step(database)
    async with database.transaction("default") as tx:
        await jobs.mark_cancelled(tx, claim.job.id)

    async with database.transaction("default") as tx:
        back = await leases.put_back(tx, claim, delay=timedelta(minutes=5), count_attempt=True)

    assert JobStatus.CANCELLED is back.status
    assert back.completed_at is not None
    assert [COMPLETED, StepStatus.CANCELLED, StepStatus.CANCELLED] == await statuses(database, claim)


async def test_a_job_that_is_no_longer_held_cannot_be_put_back(database: Database) -> None:
    claim = await at_second_step(database)
    await fall_silent(database, claim)
    before = await found(database, claim.job.id)

    with pytest.raises(Lost):
        async with database.transaction("default") as tx:
            await leases.put_back(tx, claim, delay=NOW, count_attempt=True)

    assert before == await found(database, claim.job.id)


async def test_progress_only_grows_within_an_attempt(database: Database) -> None:
    """Reports overtake each other; an older one must not turn the bar back, of the step or of the job."""
    claim = await at_second_step(database)
    seen = []
    for share, percent in ((0.5, 50), (0.3, 43), (0.5, 51), (0.75, 58)):
        async with database.transaction("default") as tx:
            await leases.report(tx, claim, 1, share=share, percent=percent)
        seen.append(((await steps_of(database, claim))[1].progress, (await found(database, claim.job.id)).progress))

    assert [(0.5, 50), (0.5, 50), (0.5, 50), (0.75, 58)] == seen


async def test_a_step_begun_again_starts_from_nothing_and_counts_its_attempts(database: Database) -> None:
    claim = await at_second_step(database)
    async with database.transaction("default") as tx:
        await leases.report(tx, claim, 1, share=0.5, percent=50)
        await leases.put_back(tx, claim, delay=NOW, count_attempt=True)
    [again] = await claimed(database)

    async with database.transaction("default") as tx:
        attempt = await leases.begin_step(tx, again, 1, CHAIN[1])
    [_, step, _] = await steps_of(database, again)

    assert (2, 2, 0.0, PROCESSING, None) == (attempt, step.attempt, step.progress, step.status, step.finished_at)


async def test_a_step_of_an_agent_that_is_off_is_not_begun(database: Database) -> None:
    await queued(database)
    [claim] = await claimed(database)
    async with database.transaction("default") as tx:
        await agents.mark_enabled(tx, CHAIN[1], enabled=False)
        begun = await leases.begin_step(tx, claim, 1, CHAIN[1])

    assert begun is None
    assert [PENDING] * 3 == await statuses(database, claim)


async def test_the_steps_of_a_silent_worker_s_job_wait_again(database: Database) -> None:
    claim = await at_second_step(database)

    [job] = await fall_silent(database, claim)

    assert (JobStatus.QUEUED, 1, None, None) == (job.status, job.attempt, job.worker_id, job.completed_at)
    assert [COMPLETED, PENDING, PENDING] == await statuses(database, claim)


async def test_the_running_step_of_a_job_that_outlived_its_attempts_failed_with_it(database: Database) -> None:
    claim = await at_second_step(database, max_attempts=1)
    assert claim.last_attempt

    [job] = await fall_silent(database, claim)
    rows = await steps_of(database, claim)

    assert (JobStatus.FAILED, "WORKER_LOST") == (job.status, job.error_code)
    assert [COMPLETED, StepStatus.FAILED, PENDING] == [step.status for step in rows]
    assert (job.error_message, True) == (rows[1].message, rows[1].finished_at is not None)


async def test_the_steps_of_a_silent_worker_s_cancelled_job_are_cancelled(database: Database) -> None:
    claim = await at_second_step(database)
    async with database.transaction("default") as tx:
        await jobs.mark_cancelled(tx, claim.job.id)

    [job] = await fall_silent(database, claim)

    assert (JobStatus.CANCELLED, None) == (job.status, job.error_code)
    assert [COMPLETED, StepStatus.CANCELLED, StepStatus.CANCELLED] == await statuses(database, claim)


async def test_a_job_that_ends_has_no_running_step(database: Database) -> None:
    for end, expected in ((leases.complete, PENDING), (leases.stop, StepStatus.CANCELLED)):
        claim = await at_second_step(database)
        async with database.transaction("default") as tx:
            await end(tx, claim)

        assert PROCESSING not in await statuses(database, claim), end
        assert expected is (await statuses(database, claim))[1]


async def test_nobody_is_reaped_whose_lease_still_runs_and_nobody_twice(database: Database) -> None:
    claim = await at_second_step(database)
    async with database.system() as tx:
        early = await leases.reap(tx)
    first = await fall_silent(database, claim)
    async with database.system() as tx:
        second = await leases.reap(tx)

    assert ([], [claim.job.id], []) == (early, [job.id for job in first], second)


async def test_a_heartbeat_renews_what_is_held_and_says_what_is_not(database: Database) -> None:
    for _ in range(2):
        await queued(database)
    mine, other = await claimed(database, most=2)
    held = [(mine.job.id, mine.fence), (other.job.id, other.fence - 1), (uuid4(), 1)]
    async with database.transaction("default") as tx:
        await jobs.mark_cancelled(tx, mine.job.id)

    async with database.system() as tx:
        answers = [
            await leases.keep(tx, "w1", held, lease=LEASE),
            await leases.look(tx, "w1", held),
            await leases.keep(tx, "w2", held, lease=LEASE),
            await leases.look(tx, "w1", []),
            await leases.keep(tx, "w1", [], lease=LEASE),
        ]

    assert [leases.Held(mine.job.id, mine.fence, True)] == answers[0] == answers[1]
    assert [[]] * 3 == answers[2:]


async def test_no_job_is_taken_before_its_time(database: Database) -> None:
    job = await queued(database)
    async with database.transaction("default") as tx:
        await tx.execute(sa.update(table).values(run_at=sa.func.now() + timedelta(hours=1)))
    early = await claimed(database)
    async with database.transaction("default") as tx:
        await tx.execute(sa.update(table).values(run_at=sa.func.now()))

    assert ([], [job.id]) == (early, [claim.job.id for claim in await claimed(database)])


async def test_only_jobs_of_the_served_queues_are_taken(database: Database) -> None:
    usual = await queued(database)
    short = await queued(database, queue="shorts")

    async with database.system() as tx:
        first = await leases.claim(tx, "w1", most=5, queues=["shorts", "longs"])
        second = await leases.claim(tx, "w2", most=5)

    assert [short.id] == [claim.job.id for claim in first]
    assert [usual.id] == [claim.job.id for claim in second]


@pytest.mark.parametrize(("counted", "attempt"), [(True, 1), (False, 0)])
async def test_what_a_dead_worker_held_is_queued_again_before_its_lease_ends(
    database: Database, counted: bool, attempt: int
) -> None:
    claim = await at_second_step(database)
    await queued(database)
    [other] = await claimed(database, "w2")

    async with database.system() as tx:
        [back] = await leases.take_back(tx, "w1", count_attempt=counted)

    assert (claim.job.id, JobStatus.QUEUED, attempt, None) == (back.id, back.status, back.attempt, back.worker_id)
    assert JobStatus.PROCESSING is (await found(database, other.job.id)).status
    assert [COMPLETED, PENDING, PENDING] == await statuses(database, claim)
    with pytest.raises(Lost):
        async with database.transaction("default") as tx:
            await leases.complete(tx, claim)


async def test_a_last_attempt_ends_with_a_crash_but_not_with_a_kill_on_purpose(database: Database) -> None:
    await queued(database, max_attempts=1)
    [first] = await claimed(database)
    async with database.system() as tx:
        [spared] = await leases.take_back(tx, "w1", count_attempt=False)
    [second] = await claimed(database)
    async with database.system() as tx:
        [spent] = await leases.take_back(tx, "w1", count_attempt=True)

    assert (JobStatus.QUEUED, JobStatus.FAILED) == (spared.status, spent.status)
    assert first.fence < second.fence
