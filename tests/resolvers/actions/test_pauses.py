"""The queue paused and drained, at workers that are at work."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from db import leases, queues
from db.database import Database, Transaction
from db.halts import halted
from db.models.work import JobStatus
from guards.errors import Conflict
from resolvers.context import Context
from tests.acting import act, refused
from tests.resolvers.actions.busy import Busy, heartbeat, soon
from tests.standing import job_in
from tests.waiting import eventually
from tests.workers.conftest import Bench

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED


async def test_workers_say_that_they_know_of_a_pause_and_claim_nothing(
    admin: Context, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For as long as a heartbeat counts, and not for a second: it is looked at twice a second.
    monkeypatch.setattr("resolvers.queues.PATIENCE_S", 15.0)
    async with bench.at_work("w1"):
        await heartbeat(bench.database, "w1")
        paused = await act(admin, "queue.pause", duration_minutes=5)
        job = await bench.submitted()

        assert (True, 1, 1) == (paused.paused, paused.acked_workers, paused.total_workers)
        assert timedelta(minutes=4) < paused.until - datetime.now(UTC) <= timedelta(minutes=5)
        assert QUEUED is (await bench.found(job.id)).status
        await heartbeat(bench.database, "w1")
        resumed = await act(admin, "queue.resume")
        assert (False, 1, 1) == (resumed.paused, resumed.queue_depth, resumed.acked_workers)
        await bench.until(job.id, COMPLETED)


async def test_a_worker_that_is_alive_and_says_nothing_is_counted_as_such(admin: Context, database: Database) -> None:
    await heartbeat(database, "mute")

    paused = await act(admin, "queue.pause")

    assert (True, 0, 1) == (paused.paused, paused.acked_workers, paused.total_workers)


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


async def test_a_pause_waits_for_claims_that_are_being_made(database: Database, roomy: Database, bench: Bench) -> None:
    await bench.submitted()
    committed = asyncio.Event()

    async def paused() -> None:
        async with roomy.transaction("default") as tx:
            await queues.mark_paused(tx)
        committed.set()

    async with database.system() as tx:
        assert 1 == len(await leases.claim(tx, "w1", most=1))
        pausing = asyncio.create_task(paused())
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await eventually(lambda: tx.scalar(waiting), lambda count: count == 1)
        assert not committed.is_set()
    await pausing


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
