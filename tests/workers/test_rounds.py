"""Managers become what is asked of them, and say how they are; a round that fails costs no more than itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from db import managers
from db.database import Database, DatabaseUnavailable
from db.managers import Run
from db.models.managers import ManagerId, ManagerState, ManagerWish
from tests.waiting import eventually
from workers.managers import Manager
from workers.rounds import Rounds

SOON = timedelta(milliseconds=20)
IT = ManagerId.DATABASE


class Work:
    """What a manager of a test does: counts its rounds, and may be told to fail or to take for ever."""

    def __init__(self) -> None:
        self.rounds = 0
        self.ended = 0
        self.options: list[object] = []
        self.trouble: BaseException | None = None
        self.held: asyncio.Event | None = None

    async def tick(self, options: object) -> None:
        self.rounds += 1
        self.options.append(options)
        if self.trouble is not None:
            raise self.trouble
        if self.held is not None:
            await self.held.wait()
        self.ended += 1

    async def so_far(self) -> int:
        return self.rounds


@asynccontextmanager
async def running(
    database: Database, work: Work, *, every: timedelta = SOON, driven: bool = False
) -> AsyncIterator[Rounds]:
    """A process with one manager."""
    rounds = Rounds(database, "here", [Manager(id=IT, every=every, tick=work.tick, driven=driven)])
    task = asyncio.create_task(rounds.run())
    try:
        yield rounds
    finally:
        task.cancel()
        await asyncio.wait([task])


def seen(database: Database) -> Callable[[], Awaitable[Run | None]]:
    async def look() -> Run | None:
        async with database.system() as tx:
            found = await managers.runs(tx, process="here")
        return found[0] if found else None

    return look


async def become(database: Database, state: ManagerState) -> Run:
    found = await eventually(seen(database), lambda run: run is not None and run.state is state)
    assert found is not None
    return found


async def ask(database: Database, **values: object) -> int:
    async with database.system() as tx:
        await managers.asked(tx, IT)
        return (await managers.ask(tx, IT, **values)).version


async def test_a_manager_of_which_nothing_was_asked_runs(database: Database) -> None:
    work = Work()
    async with running(database, work):
        run = await become(database, ManagerState.RUNNING)
        await eventually(work.so_far, lambda rounds: rounds >= 3)

    assert (1, "here") == (run.version, run.process)


async def test_a_stopped_manager_ends_its_round_first(database: Database) -> None:
    work = Work()
    work.held = asyncio.Event()
    async with running(database, work):
        await eventually(work.so_far, lambda rounds: rounds == 1)
        await ask(database, wish=ManagerWish.STOPPED)
        await become(database, ManagerState.STOPPING)
        assert 0 == work.ended
        work.held.set()
        run = await become(database, ManagerState.STOPPED)

    assert (1, 1, 2) == (work.rounds, work.ended, run.version)


async def test_a_killed_manager_does_not_end_its_round(database: Database) -> None:
    work = Work()
    work.held = asyncio.Event()
    async with running(database, work):
        await eventually(work.so_far, lambda rounds: rounds == 1)
        await ask(database, wish=ManagerWish.KILLED)
        await become(database, ManagerState.FAILED)
        work.held.set()

    assert (1, 0) == (work.rounds, work.ended)


async def test_a_killed_manager_runs_again_once_it_is_started(database: Database) -> None:
    work = Work()
    async with running(database, work):
        await ask(database, wish=ManagerWish.KILLED)
        await become(database, ManagerState.FAILED)
        before = work.rounds
        await ask(database, wish=ManagerWish.RUNNING)
        await become(database, ManagerState.RUNNING)
        await eventually(work.so_far, lambda rounds: rounds > before)


async def test_a_restarted_manager_is_another_one(database: Database) -> None:
    work = Work()
    async with running(database, work, every=timedelta(hours=1)):
        first = await become(database, ManagerState.RUNNING)
        version = await ask(database, generation=True)
        again = await eventually(seen(database), lambda run: run is not None and run.version == version)
        await eventually(work.so_far, lambda rounds: rounds == 2)

    assert again is not None
    assert again.since > first.since


async def test_an_interval_and_options_are_taken_over_while_it_runs(database: Database) -> None:
    work = Work()
    async with running(database, work, every=timedelta(hours=1)):
        await eventually(work.so_far, lambda rounds: rounds == 1)
        await ask(database, every_s=1.0, options={"slow_ms": 7})
        await eventually(work.so_far, lambda rounds: rounds >= 2)

    assert ["DatabaseOptions(slow_ms=500)", "DatabaseOptions(slow_ms=7)"] == [*map(str, work.options)][:2]


async def test_a_reset_manager_counts_from_zero(database: Database) -> None:
    work = Work()
    work.trouble = RuntimeError("a mistake of ours")
    async with running(database, work, every=timedelta(hours=1)):
        await eventually(seen(database), lambda run: run is not None and run.errors == 1)
        await ask(database, resets=True)
        run = await eventually(seen(database), lambda run: run is not None and run.errors == 0)

    assert run is not None
    assert (0, None) == (run.rounds, run.last_error)


@pytest.mark.parametrize(
    "trouble",
    [
        DatabaseUnavailable("away"),
        OperationalError("DELETE", {}, TimeoutError("the statement took too long")),
        OSError("no space left on device"),
        RuntimeError("a mistake of ours"),
    ],
)
async def test_a_round_that_fails_is_counted_and_the_next_one_comes(database: Database, trouble: Exception) -> None:
    work = Work()
    work.trouble = trouble
    async with running(database, work):
        await eventually(work.so_far, lambda rounds: rounds >= 3)
        run = await eventually(seen(database), lambda run: run is not None and run.errors >= 3)

    assert run is not None
    assert ManagerState.RUNNING is run.state
    assert (run.last_error or "").startswith(type(trouble).__name__)


async def test_a_driven_manager_waits_for_who_begins_its_rounds(database: Database) -> None:
    work = Work()
    async with running(database, work, driven=True, every=timedelta(hours=1)) as rounds:
        await become(database, ManagerState.RUNNING)
        assert 0 == work.rounds
        await rounds.once(IT)
        await rounds.once(IT)

    assert 1 == work.rounds


async def test_a_stopped_manager_cannot_be_driven(database: Database) -> None:
    work = Work()
    async with running(database, work, driven=True) as rounds:
        await ask(database, wish=ManagerWish.STOPPED)
        await become(database, ManagerState.STOPPED)
        await rounds.once(IT)

    assert 0 == work.rounds


async def test_how_long_rounds_took_is_told_by_classes(database: Database) -> None:
    work = Work()
    async with running(database, work, every=timedelta(hours=1)):
        await eventually(seen(database), lambda run: run is not None and run.rounds == 1)
    async with database.system() as tx:
        [spell] = await managers.spells(tx, lasting=timedelta(hours=1))

    assert (IT, 1, 0, 1) == (spell.manager, spell.rounds, spell.errors, sum(spell.took))
    assert spell.quantile_ms(0.95) is not None


async def test_a_process_that_says_farewell_has_no_managers(database: Database) -> None:
    async with running(database, Work()) as rounds:
        await become(database, ManagerState.RUNNING)
    await rounds.last()

    assert None is await seen(database)()
