"""Whatever looks at a store again and again ends when it is told to, although the store fails just then.

A cancellation that reaches a client library in the wrong moment comes out of it as an error of the store, which all of
these outlive: a server that is told to stop, or a restore that is done, would wait for them for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agentos.desires import Desires
from agentos.supervisor import Program, Supervisor
from db import halts
from db.database import Database, DatabaseUnavailable, Transaction
from db.files import Files
from db.services import NewProcess, Process
from tests.workers.conftest import Bench
from workers.pulse import Pulse
from workers.rounds import Rounds
from workers.trials import Trials


class Unlucky(Database):
    """A database that is lost while somebody waits for it who is told to end."""

    asked: asyncio.Event

    @asynccontextmanager
    async def system(self, **_: Any) -> AsyncIterator[Transaction]:
        """Wait for nothing, and lose the cancellation; be away from then on."""
        if self.asked.is_set():
            raise DatabaseUnavailable("lost")
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise DatabaseUnavailable("lost just now") from error
        yield  # type: ignore[misc]  # never reached: it makes this a generator


@pytest.fixture
def unlucky(database: Database) -> Unlucky:
    found = Unlucky(database.engine)
    found.asked = asyncio.Event()
    return found


async def claiming(bench: Bench) -> None:
    await bench.engine().run()


async def beating(bench: Bench) -> None:
    turns, trials = bench.turns(), Trials(bench.database, {}, worker_id="w1", defaults={})
    await Pulse(bench.database, bench.engine(turns=turns), turns, trials, name="worker-1", version="5").run()


async def managing(bench: Bench) -> None:
    await Rounds(bench.database, "here", []).run()


async def halted(bench: Bench) -> None:
    await halts._renew(bench.database, uuid4())


async def obeying(bench: Bench) -> None:
    async def first(_: Transaction) -> Sequence[NewProcess]:
        return ()

    def program(_: Process) -> Program:
        raise AssertionError

    await Desires(bench.database, Supervisor((), environment={}), first=first, program=program).run()


@pytest.mark.parametrize("loop", [claiming, beating, managing, halted, obeying])
async def test_a_loop_ends_although_its_store_is_lost_just_then(
    loop: Callable[[Bench], Awaitable[None]], unlucky: Unlucky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halts, "RENEWED_EVERY_S", 0.0)
    running = asyncio.ensure_future(loop(Bench(unlucky, Files(tmp_path))))
    await unlucky.asked.wait()

    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)

    assert {running} == done
