"""Jobs & Queue: what each action changes, at workers that are at work, and what is refused with nothing changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import leases, queues, workers
from db.database import Database, Transaction
from db.files import FileKind
from db.halts import halted
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus, WorkerState
from db.redis import Redis
from db.workers import Beat
from guards.errors import BadInput, Conflict, NotFound, Refusal
from resolvers.context import Context, Services
from tests.acting import act, performed
from tests.conftest import People
from tests.standing import found, job_in, standing, steps_of, with_clip
from tests.uploading import context_of, services_over
from tests.waiting import eventually
from tests.workers.conftest import Bench
from workers.agents.contract import Step, Tools

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest.fixture
def admin(services: Services, people: People) -> Context:
    return context_of(services, people[Role.ADMIN])


@pytest.fixture
def user(services: Services, people: People) -> Context:
    return context_of(services, people[Role.USER])


@pytest.fixture
def bench(services: Services) -> Bench:
    return Bench(services.database, services.files)


async def refused(context: Context, name: str, *, key: str | None = None, **given: Any) -> Refusal:
    """The refusal of an action, which has changed nothing."""
    before = await standing(context.services.database)
    with pytest.raises(Refusal) as refusal:
        await act(context, name, key=key, **given)
    assert before == await standing(context.services.database)
    return refusal.value


class Busy:
    """An agent that is at work until it is ended, and says when."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self, step: Step, tools: Tools) -> None:
        self.begun.set()
        try:
            await self.done.wait()
        finally:
            self.ended.set()


async def soon(event: asyncio.Event, within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        await event.wait()


# job.retry


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


# job.cancel


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
        await soon(busy.ended, within_s=1.5)

    assert CANCELLED is (await bench.found(job.id)).status


async def test_a_cancel_ends_the_agent_within_a_second(admin: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        job = await bench.submitted()
        await soon(busy.begun)

        asked = await act(admin, "job.cancel", job_id=str(job.id))

        assert (PROCESSING, True) == (asked.new_status, asked.aborted)
        await soon(busy.ended, within_s=1.5)
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


async def test_a_cancel_takes_along_what_was_made_of_it(admin: Context, database: Database) -> None:
    parent = await job_in(database, COMPLETED)
    root = await job_in(database, QUEUED, parent=parent)
    child = await job_in(database, PROCESSING, parent=root)
    over = await job_in(database, COMPLETED, parent=root)
    grandchild = await job_in(database, QUEUED, parent=child)
    beside = await job_in(database, QUEUED, parent=parent)

    cancelled = await act(admin, "job.cancel", job_id=str(root), cascade=True, force=True)

    assert [child, grandchild] == cancelled.cascaded
    stands = [job.status for each in (root, child, over, grandchild, beside) if (job := await found(database, each))]
    assert [CANCELLED, CANCELLED, COMPLETED, CANCELLED, QUEUED] == stands


async def test_without_being_asked_nothing_is_taken_along(admin: Context, database: Database) -> None:
    root = await job_in(database, QUEUED)
    child = await job_in(database, QUEUED, parent=root)

    assert [] == (await act(admin, "job.cancel", job_id=str(root))).cascaded
    kept = await found(database, child)
    assert kept is not None
    assert QUEUED is kept.status


async def test_a_user_takes_along_only_what_is_theirs(user: Context, people: People, database: Database) -> None:
    root = await job_in(database, QUEUED, owner=user.caller.user_id)
    own = await job_in(database, QUEUED, owner=user.caller.user_id, parent=root)
    foreign = await job_in(database, QUEUED, owner=people[Role.OPERATOR].id, parent=root)

    assert [own] == (await act(user, "job.cancel", job_id=str(root), cascade=True)).cascaded
    kept = await found(database, foreign)
    assert kept is not None
    assert QUEUED is kept.status


# job.delete


async def stored(services: Services, folder: Path, content: bytes) -> str:
    """Where the store keeps some bytes."""
    made = folder / f"{uuid4().hex}.mp4"
    made.write_bytes(content)
    kept = await services.files.adopt(made, "default", FileKind.CLIPS)
    return kept.path


async def test_a_job_goes_with_its_rows_and_the_files_nobody_else_names(
    admin: Context, services: Services, tmp_path: Path
) -> None:
    database = services.database
    own, shared = await stored(services, tmp_path, b"mine alone"), await stored(services, tmp_path, b"ours")
    job_id, other = await job_in(database, COMPLETED), await job_in(database, COMPLETED)
    await with_clip(database, job_id, own, thumbnail=shared)
    await with_clip(database, other, shared)
    before = await standing(database)

    would = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True, dry_run=True)

    assert before == await standing(database)
    assert services.files.resolve(own).exists()
    gone = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)
    assert (1, 1, 1, 1, len(b"mine alone"), False) == (
        gone.jobs_deleted,
        gone.clips_deleted,
        gone.steps_deleted,
        gone.files_deleted,
        gone.bytes_freed,
        gone.dry_run,
    )
    assert (1, 1, 1, 1, len(b"mine alone"), True) == (
        would.jobs_deleted,
        would.clips_deleted,
        would.steps_deleted,
        would.files_deleted,
        would.bytes_freed,
        would.dry_run,
    )
    assert (None, [], False, True) == (
        await found(database, job_id),
        await steps_of(database, job_id),
        services.files.resolve(own).exists(),
        services.files.resolve(shared).exists(),
    )


async def test_files_stay_unless_they_are_meant_too(admin: Context, services: Services, tmp_path: Path) -> None:
    path = await stored(services, tmp_path, b"kept")
    job_id = await job_in(services.database, COMPLETED)
    await with_clip(services.database, job_id, path)

    gone = await act(admin, "job.delete", job_id=str(job_id))

    assert (1, 0, 0) == (gone.clips_deleted, gone.files_deleted, gone.bytes_freed)
    assert services.files.resolve(path).exists()


async def test_bytes_that_a_job_at_work_may_be_about_to_name_stay(
    admin: Context, services: Services, tmp_path: Path
) -> None:
    """It has stored the same bytes already, and its rows come only when it completes."""
    job_id = await job_in(services.database, COMPLETED)
    await job_in(services.database, PROCESSING)
    path = await stored(services, tmp_path, b"the same moment")
    await with_clip(services.database, job_id, path)

    gone = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)

    assert (1, 0) == (gone.clips_deleted, gone.files_deleted)
    assert services.files.resolve(path).exists()


async def test_control_without_looking_who_is_at_work_they_go(
    admin: Context, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(_: Transaction) -> None:
        return None

    monkeypatch.setattr(leases, "oldest_at_work", nobody)
    job_id = await job_in(services.database, COMPLETED)
    await job_in(services.database, PROCESSING)
    path = await stored(services, tmp_path, b"the same moment")
    await with_clip(services.database, job_id, path)

    await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)

    assert not services.files.resolve(path).exists()


async def test_what_was_made_of_a_job_goes_along_or_stays(admin: Context, database: Database) -> None:
    root = await job_in(database, FAILED)
    child = await job_in(database, COMPLETED, parent=root)
    other = await job_in(database, FAILED)
    kept = await job_in(database, COMPLETED, parent=other)

    assert 2 == (await act(admin, "job.delete", job_id=str(root), cascade=True)).jobs_deleted
    assert 1 == (await act(admin, "job.delete", job_id=str(other))).jobs_deleted

    orphan = await found(database, kept)
    assert (None, None) == (await found(database, root), await found(database, child))
    assert orphan is not None
    assert orphan.parent_job_id is None


async def test_a_job_at_work_is_not_removed(admin: Context, database: Database) -> None:
    root = await job_in(database, FAILED)
    child = await job_in(database, PROCESSING, parent=root)

    for given in ({"job_id": str(child)}, {"job_id": str(root), "cascade": True}):
        refusal = await refused(admin, "job.delete", **given)
        assert ("CONFLICT", f"job {child} is at work: cancel it first") == (refusal.code, str(refusal))
    assert "NOT_FOUND" == (await refused(admin, "job.delete", job_id=str(uuid4()))).code


async def test_a_job_is_removed_or_claimed_never_both(admin: Context, bench: Bench) -> None:
    for _ in range(5):
        job = await bench.submitted()

        async def removed(job_id: UUID = job.id) -> bool:
            try:
                await act(admin, "job.delete", job_id=str(job_id))
            except Conflict:
                return False
            return True

        async def claimed() -> int:
            async with bench.database.system() as tx:
                return len(await leases.claim(tx, "w1", most=1))

        gone, taken = await asyncio.gather(removed(), claimed())

        assert (True, gone) == (gone is not bool(taken), await found(bench.database, job.id) is None)
        async with bench.database.system() as tx:
            await tx.execute(sa.text("DELETE FROM jobs"))


# job.priority


async def test_a_job_brought_forward_is_begun_first(admin: Context, bench: Bench) -> None:
    early, late = await bench.submitted(), await bench.submitted()

    moved = await act(admin, "job.priority", job_id=str(late.id), priority=10)

    assert (5, 10) == (moved.previous_priority, moved.priority)
    assert late.id == (await bench.claimed()).job.id
    refusal = await refused(admin, "job.priority", job_id=str(late.id), priority=0)
    assert f"job {late.id} is processing: only a queued job has a turn to come" == str(refusal)
    assert early.id == (await bench.claimed()).job.id


# queue.clear


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


# queue.pause, queue.resume


async def heartbeat(database: Database, worker_id: str) -> None:
    """Have a worker be heard of."""
    said = Beat(
        id=worker_id,
        hostname="here",
        pid=1,
        version="0",
        state=WorkerState.IDLE,
        concurrency=1,
        current_jobs=[],
        jobs_completed=0,
        jobs_failed=0,
        cpu_percent=None,
        memory_mb=None,
    )
    async with database.system() as tx:
        await workers.beat(tx, said)


async def test_workers_say_that_they_know_of_a_pause_and_claim_nothing(admin: Context, bench: Bench) -> None:
    """One that is alive and says nothing is counted as such."""
    await heartbeat(bench.database, "w1")
    await heartbeat(bench.database, "mute")
    async with bench.at_work("w1"):
        paused = await act(admin, "queue.pause", duration_minutes=5)
        job = await bench.submitted()

        assert (True, 1, 2) == (paused.paused, paused.acked_workers, paused.total_workers)
        assert timedelta(minutes=4) < paused.until - datetime.now(UTC) <= timedelta(minutes=5)
        assert QUEUED is (await bench.found(job.id)).status
        resumed = await act(admin, "queue.resume")
        assert (False, 1, 1) == (resumed.paused, resumed.queue_depth, resumed.acked_workers)
        await bench.until(job.id, COMPLETED)


async def test_without_workers_nobody_is_waited_for(admin: Context) -> None:
    paused = await act(admin, "queue.pause")

    assert (0, 0, None) == (paused.acked_workers, paused.total_workers, paused.until)


async def test_while_a_pause_is_being_decided_nothing_is_claimed(database: Database, bench: Bench) -> None:
    """A claim that began before the pause is committed must not be committed after it."""
    await bench.submitted()
    async with database.transaction("default") as tx:
        await queues.mark_paused(tx)
        async with database.system() as other:
            assert [] == await leases.claim(other, "w1", most=1)

    async with database.system() as other:
        assert [] == await leases.claim(other, "w1", most=1)


async def test_control_who_claims_without_asking_begins_a_job_during_a_pause(
    database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unasked(_: Transaction) -> bool:
        return True

    monkeypatch.setattr(leases, "still", unasked)
    await bench.submitted()
    async with database.transaction("default") as tx:
        await queues.mark_paused(tx)
        async with database.system() as other:
            taken = len(await leases.claim(other, "w1", most=1))

    assert 1 == taken


async def test_a_pause_waits_for_claims_that_are_being_made(database: Database, bench: Bench) -> None:
    await bench.submitted()
    committed = asyncio.Event()

    async def paused() -> None:
        async with database.transaction("default") as tx:
            await queues.mark_paused(tx)
        committed.set()

    async with database.system() as tx:
        assert 1 == len(await leases.claim(tx, "w1", most=1))
        pausing = asyncio.create_task(paused())
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await eventually(lambda: tx.scalar(waiting), lambda count: count == 1)
        assert not committed.is_set()
    await pausing


# queue.drain


async def test_a_drain_lets_jobs_be_done_and_pauses_then(admin: Context, user: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        running = await bench.submitted(priority=9)
        waiting = await bench.submitted()
        await soon(busy.begun)

        drained = await act(admin, "queue.drain", timeout_minutes=1, reason="new disks")

        assert (True, 2, False) == (drained.draining, drained.remaining, drained.state.paused)
        assert timedelta() < drained.until - datetime.now(UTC) <= timedelta(minutes=1)
        refusal = await refused(user, "job.create", source={"url": "https://example.org/v.mp4"})
        assert ("CONFLICT", "the queue takes no jobs on just now: new disks") == (refusal.code, str(refusal))
        assert {} == await settled(bench.database)
        busy.done.set()
        for job in (running, waiting):
            await bench.until(job.id, COMPLETED)

    [state] = (await settled(bench.database)).values()
    assert (True, None, True, None) == (state.paused, state.paused_until, state.refusing, state.draining_until)
    assert "CONFLICT" == (await refused(user, "job.create", source={"url": "https://example.org/v.mp4"})).code
    resumed = await act(admin, "queue.resume")
    assert (False, False) == (resumed.state.paused, resumed.state.refusing)
    await act(user, "job.create", source={"url": "https://example.org/v.mp4"})


async def settled(database: Database) -> dict[str, queues.QueueState]:
    """What a round of the queue's manager settles."""
    async with database.system() as tx:
        return await queues.settle_drains(tx)


async def test_an_empty_queue_is_drained_at_once(admin: Context) -> None:
    drained = await act(admin, "queue.drain")

    assert (False, None, 0, True) == (drained.draining, drained.until, drained.remaining, drained.state.paused)


async def test_a_drain_ends_by_itself_undone(admin: Context, user: Context, database: Database) -> None:
    await job_in(database, PROCESSING)
    await act(admin, "queue.drain")
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE queue_states SET draining_until = now() - interval '1 second'"))

    # At that moment, whoever looks first.
    await act(user, "job.create", source={"url": "https://example.org/v.mp4"})
    [state] = (await settled(database)).values()
    assert (False, False, None) == (state.paused, state.refusing, state.reason)


async def test_a_drain_that_has_run_out_ends_no_halt(admin: Context, database: Database) -> None:
    await job_in(database, PROCESSING)
    await act(admin, "queue.drain")
    async with halted(database, "a backup is being restored"):
        async with database.system() as tx:
            over = "UPDATE queue_states SET draining_until = now() - interval '1 second' WHERE tenant_id = 'default'"
            await tx.execute(sa.text(over))
            [state] = (await queues.settle_drains(tx)).values()
        async with database.transaction("default") as tx:
            shown = await queues.state(tx)

    assert (False, False, None) == (state.paused, state.refusing, state.reason)
    assert shown is not None
    assert (True, False, "a backup is being restored") == (shown.paused, shown.refusing, shown.reason)


async def test_a_drain_that_runs_out_while_the_queues_stand_still_is_over_afterwards(
    admin: Context, database: Database
) -> None:
    """Without its end, it would turn jobs away until somebody noticed."""
    await job_in(database, PROCESSING)
    await act(admin, "queue.drain")
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE queue_states SET draining_until = now() + interval '0.2 seconds'"))
    async with halted(database, "a backup is being restored"):
        await eventually(lambda: settled(database), bool)

    async with database.transaction("default") as tx:
        state = await queues.state(tx)
    assert state is not None
    assert (False, False) == (state.paused, state.refusing)


async def test_what_is_paused_is_not_drained(admin: Context) -> None:
    await act(admin, "queue.pause")

    refusal = await refused(admin, "queue.drain")

    assert "the queue is paused, so that nothing in it would be done: resume it first" == str(refusal)


async def test_a_job_that_is_being_added_is_part_of_the_drain(
    admin: Context, user: Context, database: Database
) -> None:
    """Whoever has looked already and adds is waited for; who comes later is refused."""
    async with database.transaction("default") as tx:
        await queues.hold_places(tx)
        draining = asyncio.create_task(act(admin, "queue.drain"))
        asked = asyncio.create_task(act(user, "job.create", source={"url": "https://example.org/v.mp4"}))
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await eventually(lambda: tx.scalar(waiting), lambda count: count == 2)
    refusals = await asyncio.gather(asked, return_exceptions=True)

    assert sum(not isinstance(each, Conflict) for each in refusals) == (await draining).remaining


# job.* of somebody else


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
