"""A halt holds all queues still for as long as somebody is at work, and changes nothing of what people decided."""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import halts, jobs, leases, queues
from db.database import Database
from db.halts import Held
from db.jobs import NewJob
from db.queues import QueueState
from tests.waiting import eventually

HALTING = """
import asyncio, sys
from db import halts
from db.database import Database

async def main():
    async with halts.halted(Database.connect(sys.argv[1]), "a backup is being restored", refusing=True):
        print("halted", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def submitted(database: Database) -> None:
    async with database.transaction("default") as tx:
        await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=["clipper"]))


async def claimed(database: Database) -> int:
    async with database.system() as tx:
        return len(await leases.claim(tx, "w1", most=9))


async def state(database: Database, tenant: str = "default") -> QueueState | None:
    async with database.transaction(tenant) as tx:
        return await queues.state(tx)


async def until(database: Database) -> datetime | None:
    async with database.system() as tx:
        found: datetime | None = await tx.scalar(sa.text("SELECT until FROM halts"))
        return found


async def killed_at_work(database: Database) -> None:
    """Let a process halt the queues, and kill it."""
    halting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HALTING, database.url, stdout=asyncio.subprocess.PIPE, cwd=Path(halts.__file__).parents[1]
    )
    assert halting.stdout is not None
    assert b"halted\n" == await halting.stdout.readline()
    halting.kill()
    await halting.communicate()


async def run_out(database: Database) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE halts SET until = now() - interval '1 second'"))


async def test_nothing_is_begun_while_it_lasts(database: Database) -> None:
    await submitted(database)

    async with halts.halted(database, "a backup is being restored", refusing=True):
        meanwhile = await claimed(database)
        shown = await state(database)

    assert 0 == meanwhile
    assert shown is not None
    assert (True, True, "a backup is being restored") == (shown.paused, shown.refusing, shown.reason)
    assert await state(database) is None
    assert 1 == await claimed(database)


async def test_a_process_that_is_killed_leaves_the_queues_standing_for_no_longer_than_its_lease(
    database: Database,
) -> None:
    await submitted(database)
    await killed_at_work(database)
    standing, end = await claimed(database), await until(database)
    async with database.system() as tx:
        now: datetime = await tx.scalar(sa.select(sa.func.clock_timestamp()))
    await run_out(database)

    assert 0 == standing
    assert end is not None
    assert timedelta() < end - now <= halts.LEASE
    assert await state(database) is None
    assert 1 == await claimed(database)


async def test_whoever_comes_after_one_that_was_killed_halts_at_once_and_lifts_all_of_it(database: Database) -> None:
    await submitted(database)
    await killed_at_work(database)

    async def again() -> bool:
        try:
            async with halts.halted(database, "the tables are being migrated"):
                return True
        except Held:
            # The server finds out in its own time that the connection is gone.
            return False

    await eventually(again, bool)

    assert await state(database) is None
    assert 1 == await claimed(database)


@pytest.mark.parametrize("end", ["lifted", "killed"])
async def test_what_people_decided_stands_before_and_after(database: Database, end: str) -> None:
    """An endless pause and an emergency stop, and what is decided while the halt lasts."""
    async with database.transaction("default") as tx:
        paused = await queues.mark_paused(tx, reason="ours")

    if end == "lifted":
        async with halts.halted(database, "a backup is being restored", refusing=True):
            shown = await state(database)
            async with database.transaction("other") as tx:
                await queues.mark_paused(tx, reason="meanwhile")
    else:
        await killed_at_work(database)
        shown = await state(database)
        async with database.transaction("other") as tx:
            await queues.mark_paused(tx, reason="meanwhile")
        await run_out(database)

    assert shown is not None
    assert (True, None, True, "a backup is being restored; ours") == (
        shown.paused,
        shown.paused_until,
        shown.refusing,
        shown.reason,
    )
    assert paused == await state(database)
    other = await state(database, "other")
    assert other is not None
    assert (True, None, False, "meanwhile") == (other.paused, other.paused_until, other.refusing, other.reason)


async def test_an_emergency_stop_outlasts_it(database: Database) -> None:
    async with database.system() as tx:
        await queues.stop_all(tx, reason="smoke", by=None)
    before = await state(database)

    async with halts.halted(database, "a backup is being restored", refusing=True):
        pass

    assert before is not None
    assert before.stopped
    assert before == await state(database)


async def test_resuming_a_queue_does_not_break_into_it(database: Database) -> None:
    await submitted(database)

    async with halts.halted(database, "a backup is being restored"):
        async with database.transaction("default") as tx:
            await queues.mark_resumed(tx)
        assert 0 == await claimed(database)

    assert 1 == await claimed(database)


async def test_it_is_renewed_for_as_long_as_it_is_needed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halts, "RENEWED_EVERY_S", 0.02)
    async with halts.halted(database, "a backup is being restored"):
        await run_out(database)
        await eventually(lambda: stands_still(database), bool)


async def stands_still(database: Database) -> bool:
    shown = await state(database)
    return shown is not None and shown.paused


async def test_who_is_cancelled_lifts_it_at_once(database: Database) -> None:
    halting = asyncio.create_task(forever(database))
    await eventually(lambda: until(database), bool)

    halting.cancel()
    await asyncio.wait([halting])

    assert await until(database) is None


async def forever(database: Database) -> None:
    async with halts.halted(database, "a backup is being restored"):
        await asyncio.Event().wait()


async def test_two_do_not_halt_at_once(database: Database) -> None:
    async with halts.halted(database, "first"):
        with pytest.raises(Held):
            async with halts.halted(database, "second"):
                pass
        shown = await state(database)

    assert shown is not None
    assert "first" == shown.reason
