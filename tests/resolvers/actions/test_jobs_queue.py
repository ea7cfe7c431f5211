"""Jobs & Queue: what each action changes, at workers that are at work, and what is refused with nothing changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from db import leases
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus
from guards.errors import BadInput, Conflict, NotFound
from resolvers.context import Context, Services
from tests.acting import act, performed, refused
from tests.conftest import People
from tests.resolvers.actions.busy import Busy, soon
from tests.standing import found, job_in, standing, steps_of
from tests.uploading import context_of
from tests.workers.conftest import Bench

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


async def test_a_job_is_retried_as_often_as_is_allowed(admin: Context, database: Database) -> None:
    job_id = await job_in(database, FAILED, retry_count=1, attempt=3)

    again = await act(admin, "job.retry", job_id=str(job_id), max_retries=2, priority=9)

    assert (FAILED, QUEUED, 2, 3, 9) == (
        again.previous_status,
        again.new_status,
        again.retry_count,
        again.attempt,
        again.job.priority,
    )
    assert [StepStatus.PENDING] == await steps_of(database, job_id)
    await act(admin, "job.cancel", job_id=str(job_id))
    refusal = await refused(admin, "job.retry", job_id=str(job_id), max_retries=2)
    assert ("CONFLICT", f"job {job_id} was retried 2 times already, and 2 is the most") == (
        refusal.code,
        str(refusal),
    )


async def test_of_two_retries_at_once_one_counts(admin: Context, services: Services, people: People) -> None:
    job_id = await job_in(services.database, FAILED)
    twin = context_of(services, people[Role.ADMIN])

    ends = await asyncio.gather(
        *(act(each, "job.retry", job_id=str(job_id), max_retries=1) for each in (admin, twin)), return_exceptions=True
    )

    assert 1 == sum(isinstance(end, Conflict) for end in ends)
    job = await found(services.database, job_id)
    assert job is not None
    assert (QUEUED, 1) == (job.status, job.retry_count)


async def test_the_same_key_retries_once(admin: Context, database: Database) -> None:
    job_id, key = await job_in(database, FAILED), uuid4().hex

    first = await performed(admin, "job.retry", key=key, job_id=str(job_id))
    second = await performed(admin, "job.retry", key=key, job_id=str(job_id))

    assert (False, True) == (first.replayed, second.replayed)
    assert first.result == second.result
    job = await found(database, job_id)
    assert job is not None
    assert 1 == job.retry_count


async def test_a_forced_cancel_ends_the_agent_and_throws_away_what_it_finds(admin: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        job = await bench.submitted()
        await soon(busy.begun)

        cancelled = await act(admin, "job.cancel", job_id=str(job.id), force=True)

        assert (PROCESSING, CANCELLED, True, []) == (
            cancelled.previous_status,
            cancelled.new_status,
            cancelled.aborted,
            cancelled.cascaded,
        )
        assert [StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.CANCELLED] == await steps_of(
            bench.database, job.id
        )
        await soon(busy.ended)

    assert CANCELLED is (await bench.found(job.id)).status


async def test_a_cancel_ends_the_agent(admin: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        job = await bench.submitted()
        await soon(busy.begun)

        asked = await act(admin, "job.cancel", job_id=str(job.id))

        assert (PROCESSING, True) == (asked.new_status, asked.aborted)
        await soon(busy.ended)
        await bench.until(job.id, CANCELLED)


@pytest.mark.parametrize("force", [False, True])
async def test_a_cancel_while_it_completes_is_one_or_the_other(
    force: bool, admin: Context, bench: Bench, database: Database
) -> None:
    """Never a cancelled job with clips, never a refused cancel of a job that did not complete."""
    job = await bench.submitted()
    claim = await bench.claimed()

    async def completed() -> bool:
        try:
            async with database.transaction("default") as tx:
                await leases.complete(tx, claim)
        except leases.Lost:
            return False
        return True

    async def cancelled() -> bool:
        try:
            await act(admin, "job.cancel", job_id=str(job.id), force=force)
        except Conflict:
            return False
        return True

    done, stopped = await asyncio.gather(completed(), cancelled())

    status = (await bench.found(job.id)).status
    if force:
        assert (True, CANCELLED if stopped else COMPLETED) == (done is not stopped, status)
    else:
        # Asked too late to stop, it completes all the same.
        assert (True, COMPLETED) == (done, status)


async def test_a_job_brought_forward_is_begun_first(admin: Context, bench: Bench) -> None:
    early, late = await bench.submitted(), await bench.submitted()

    moved = await act(admin, "job.priority", job_id=str(late.id), priority=10)

    assert (5, 10) == (moved.previous_priority, moved.priority)
    assert late.id == (await bench.claimed()).job.id
    refusal = await refused(admin, "job.priority", job_id=str(late.id), priority=0)
    assert f"job {late.id} is processing: only a queued job has a turn to come" == str(refusal)
    assert early.id == (await bench.claimed()).job.id


async def test_the_queue_is_cleared_of_what_is_asked_and_never_of_what_runs(admin: Context, database: Database) -> None:
    ids = {status: await job_in(database, status) for status in JobStatus}
    before = await standing(database)

    would = await act(admin, "queue.clear", dry_run=True)

    assert (1, [ids[QUEUED]], True) == (would.cleared_count, would.sample_ids, would.dry_run)
    assert before == await standing(database)
    cleared = await act(admin, "queue.clear", status_filter=["pending", "failed", "cancelled"])
    assert (3, 0) == (cleared.cleared_count, cleared.remaining)
    assert [(CANCELLED, 1), (FAILED, 1), (QUEUED, 1)] == [(each.status, each.jobs) for each in cleared.by_status]
    stands = {status: await found(database, job_id) for status, job_id in ids.items()}
    assert {QUEUED: CANCELLED, PROCESSING: PROCESSING, COMPLETED: COMPLETED} == {
        was: job.status for was, job in stands.items() if job is not None
    }


async def test_the_queue_is_cleared_of_old_jobs_and_of_one_users(
    admin: Context, people: People, database: Database
) -> None:
    old = datetime.now(UTC) - timedelta(hours=3)
    theirs, other = people[Role.USER], people[Role.OPERATOR]
    wanted = await job_in(database, QUEUED, owner=theirs.id, created_at=old)
    for owner, made in ((theirs.id, datetime.now(UTC)), (other.id, old)):
        await job_in(database, QUEUED, owner=owner, created_at=made)

    by_id = await act(admin, "queue.clear", older_than_hours=2, user_filter=str(theirs.id), dry_run=True)
    by_mail = await act(admin, "queue.clear", older_than_hours=2, user_filter="USER@default.test", dry_run=True)
    nobody = await act(admin, "queue.clear", user_filter="nobody@default.test", dry_run=True)

    assert ([wanted], [wanted], []) == (by_id.sample_ids, by_mail.sample_ids, nobody.sample_ids)
    wrongs: list[dict[str, Any]] = [{"status_filter": []}, {"status_filter": ["processing"]}, {"older_than_hours": 0}]
    for wrong in wrongs:
        assert "VALIDATION_ERROR" == (await refused(admin, "queue.clear", **wrong)).code


async def test_another_tenants_queue_is_never_cleared(admin: Context, other_people: People, database: Database) -> None:
    foreign = await job_in(database, QUEUED, owner=other_people[Role.USER].id, tenant="other")

    assert 0 == (await act(admin, "queue.clear")).cleared_count
    kept = await found(database, foreign, tenant="other")
    assert kept is not None
    assert QUEUED is kept.status


@pytest.mark.parametrize("name", ["job.retry", "job.cancel", "job.delete", "job.priority", "job.update_status"])
async def test_a_foreign_job_looks_missing(
    name: str, user: Context, services: Services, people: People, other_people: People
) -> None:
    """To a user, a colleague's; to an administrator, that of another tenant."""
    needed: dict[str, dict[str, Any]] = {"job.priority": {"priority": 1}, "job.update_status": {"status": "failed"}}
    more = needed.get(name, {})
    colleagues = await job_in(services.database, FAILED, owner=people[Role.OPERATOR].id)
    strangers = await job_in(services.database, FAILED, owner=other_people[Role.USER].id, tenant="other")
    admin = context_of(services, people[Role.ADMIN])

    for context, job_id in ((user, colleagues), (user, strangers), (admin, strangers)):
        refusal = await refused(context, name, job_id=str(job_id), **more)
        assert (NotFound, f"there is no job {job_id}") == (type(refusal), str(refusal))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("job.retry", {"priority": 11}),
        ("job.retry", {"max_retries": 6}),
        ("job.retry", {"max_retries": 0}),
        ("job.cancel", {"force": "yes"}),
        ("job.priority", {"priority": -1}),
        ("job.delete", {"dry_run": 1}),
    ],
)
async def test_what_is_out_of_range_is_refused(
    name: str, given: dict[str, Any], admin: Context, database: Database
) -> None:
    job_id = await job_in(database, FAILED)

    assert BadInput is type(await refused(admin, name, job_id=str(job_id), **given))
