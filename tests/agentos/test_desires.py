"""Desires: what is written down is done, by one supervisor at a time, with the database there or away."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos import processes
from agentos.desires import Desires
from agentos.supervisor import Program, State, Supervisor
from db import services
from db.database import Database, Transaction
from db.models.control import ProcessState, Wish, supervisor
from db.services import NewProcess, Process, Service
from tests.rooms import administer
from tests.urls import with_database
from tests.waiting import eventually, until

ROOT = Path(__file__).parents[2]
FAITHFUL = (sys.executable, "-c", "from agentos.lifeline import follow_parent; follow_parent().join()")
"""A child that ends with its parent, and on SIGTERM."""

FIRST = (NewProcess(name="warmer", service=Service.WARMER), NewProcess(name="api", service=Service.API))


@dataclass
class Watched:
    """One supervisor that obeys."""

    database: Database
    supervisor: Supervisor
    desires: Desires
    task: "asyncio.Task[None]"

    def running(self) -> dict[str, int]:
        """Pids by name."""
        there = self.supervisor.observed()
        return {one.name: one.pid for one in there if one.state is State.RUNNING and one.pid is not None}

    async def seen(self) -> dict[str, Process]:
        """What the database knows."""
        async with self.database.system() as tx:
            return {one.name: one for one in await services.everything(tx)}

    async def settled(self) -> dict[str, Process]:
        """The same, once it is as desired."""
        return await eventually(self.seen, lambda found: bool(found) and all(one.settled for one in found.values()))


@asynccontextmanager
async def watched(database: Database) -> AsyncIterator[Watched]:
    """A supervisor that obeys until the block ends, and then kills what it has."""
    made = Supervisor((), environment={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, grace_s=2.0)

    async def first(tx: Transaction) -> tuple[NewProcess, ...]:
        return FIRST

    def program(process: Process) -> Program:
        return Program(name=process.name, service=process.service, argv=FAITHFUL, renewal=process.renewals)

    desires = Desires(database, made, first=first, program=program)
    async with asyncio.TaskGroup() as group:
        supervising = group.create_task(made.run(signals=()))
        obeying = group.create_task(desires.run())
        try:
            yield Watched(database, made, desires, obeying)
        finally:
            obeying.cancel()
            made.kill()
            await supervising


async def somebody_waits(database: Database) -> bool:
    """Whether somebody waits for what another transaction holds."""
    async with database.system() as tx:
        return bool(await tx.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def alive(pid: int | None) -> bool:
    return pid is not None and processes.identity(pid) is not None


async def test_what_is_desired_first_is_run_and_reported(database: Database) -> None:
    async with watched(database) as one:
        seen = await one.settled()

        assert one.running() == {name: process.pid for name, process in seen.items()}
        assert ["api", "warmer"] == list(seen)
        assert {ProcessState.RUNNING} == {process.state for process in seen.values()}


async def test_what_is_added_and_dropped_begins_and_ends_and_its_row_goes(database: Database) -> None:
    async with watched(database) as one:
        before = await one.settled()
        async with database.system() as tx:
            await services.add(tx, [NewProcess(name="worker-1", service=Service.WORKERS)])
        await until(lambda: "worker-1" in one.running())
        pid = one.running()["worker-1"]
        async with database.system() as tx:
            await services.drop(tx, ["worker-1"])
        after = await eventually(one.seen, lambda found: "worker-1" not in found)

        assert not alive(pid)
        assert before["api"].pid == after["api"].pid


async def test_who_desires_and_who_reports_are_not_in_each_others_way(
    roomy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Both change several rows, in orders of their own."""
    async with watched(roomy) as one:
        *_, last = sorted((await one.settled()).values(), key=lambda process: process.turn)
        async with roomy.system() as tx:
            await services.hold(tx)
            await services.renew(tx, [last.name])
            await until(lambda: somebody_waits(roomy))
            await services.renew(tx, ["api", "warmer"])
        renewed = await one.settled()

        assert {"api": 1 + (last.name == "api"), "warmer": 1 + (last.name == "warmer")} == {
            name: process.renewals for name, process in renewed.items()
        }
        assert "cannot be read" not in caplog.text


async def test_a_wish_that_is_taken_back_at_once_leaves_it_running(database: Database) -> None:
    """Two who want different things at once: the later wish stands."""
    async with watched(database) as one:
        await one.settled()
        for wish in (Wish.STOPPED, Wish.RUNNING):
            async with database.system() as tx:
                await services.switch(tx, Service.WARMER, wish)
        seen = await one.settled()

        assert alive(seen["warmer"].pid)


async def test_a_renewal_waits_for_its_time_and_goes_by_turns(database: Database) -> None:
    async with watched(database) as one:
        before = await one.settled()
        async with database.system() as tx:
            await services.renew(tx, ["api", "warmer"], delay_s=1)
            due = await tx.scalar(sa.text("SELECT now() + interval '1 second'"))
        after = await one.settled()

        assert not any(alive(process.pid) for process in before.values())
        assert after["warmer"].since is not None
        assert after["api"].since is not None
        assert due <= after["warmer"].since < after["api"].since
        assert [1, 1] == [process.renewed for process in after.values()]


async def test_with_the_database_away_what_runs_goes_on_and_what_ends_is_started_again(
    database_url: str, database: Database
) -> None:
    name, server = sa.make_url(database_url).database, with_database(database_url, "postgres")
    async with watched(database) as one:
        await one.settled()
        warmer = one.running()["warmer"]
        await administer(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            await administer(
                server,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
            killed = one.running()["api"]
            os.kill(killed, signal.SIGKILL)
            await until(lambda: one.running().get("api", killed) != killed)

            assert warmer == one.running()["warmer"]
            assert not one.task.done()
        finally:
            await administer(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        seen = await eventually(one.seen, lambda found: found["api"].pid == one.running().get("api"))

        assert 1 == seen["api"].restarts


async def test_a_second_supervisor_waits_and_takes_over_from_one_that_fell_silent(database: Database) -> None:
    async with watched(database) as first:
        own = await first.settled()
        async with watched(database) as second:
            await asyncio.wait([second.task], timeout=1.2)
            assert {} == second.running()
            assert own.keys() == (await first.seen()).keys()

            first.task.cancel()
            await asyncio.wait([first.task])
            async with database.system() as tx:
                await tx.execute(sa.update(supervisor).values(heartbeat_at=sa.func.now() - services.SILENT_AFTER))
            await until(lambda: len(second.running()) == 2)


async def test_a_supervisor_that_leaves_says_so(database: Database) -> None:
    async with watched(database) as one:
        await one.settled()
        one.task.cancel()
        await asyncio.wait([one.task])
        await one.desires.last()

        async with database.system() as tx:
            assert await services.in_charge(tx) is None
            assert [] == await services.everything(tx)


async def test_everything_ends_when_that_is_desired(database: Database) -> None:
    async with watched(database) as one:
        await one.settled()
        pids = list(one.running().values())
        async with database.system() as tx:
            await services.end_all(tx, delay_s=0)
        await until(lambda: not one.supervisor.observed())

        assert not any(map(alive, pids))
