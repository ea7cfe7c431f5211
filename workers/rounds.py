"""Rounds: the managers of one process, each as it is asked to be.

Twice a second the process looks at what is asked of its managers and obeys: starts and stops loops, takes over
intervals and options. A stopped one ends its round first, a killed one does not. A round that fails is counted and
logged, and the next one comes; PostgreSQL away or too slow, or a disk in trouble, costs rounds, nothing else. What a
process says of its managers counts for fifteen seconds. Redis plays no part.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from db import managers
from db.database import Database
from db.health import DATABASE_FAILED
from db.managers import EDGES_MS, Minute, Said, Wish
from db.models.managers import ManagerId, ManagerState, ManagerWish
from db.tasks import going_on
from workers.managers import Manager, options

LOOK_EVERY_S: Final = 0.5
SAY_EVERY_S: Final = 5.0
LONGEST_ERROR: Final = 200
EARLY_S: Final = 1.0

log = logging.getLogger(__name__)

USUAL: Final[dict[str, Any]] = {
    "wish": ManagerWish.RUNNING,
    "every_s": None,
    "options": {},
    "generation": 1,
    "resets": 0,
    "version": 1,
}


class Rounds:
    """The managers of one process, from `run` to its end."""

    def __init__(self, database: Database, process: str, known: Iterable[Manager]) -> None:
        self._database = database
        self._process = process
        self._loops = {manager.id: Loop(manager) for manager in known}

    async def run(self) -> None:
        """Keep the managers as they are asked to be until cancelled."""
        said_at = 0.0
        said: list[Said] = []
        try:
            while going_on():
                await self._obey()
                saying = [loop.said() for loop in self._loops.values()]
                if saying != said or time.monotonic() - said_at >= SAY_EVERY_S:
                    await self._say(saying)
                    said_at, said = time.monotonic(), saying
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for loop in self._loops.values():
                loop.kill()

    async def once(self, manager: ManagerId) -> None:
        """Do a round of a manager whose rounds are begun from outside, if it is to be."""
        loop = self._loops.get(manager)
        if loop is not None:
            await loop.once()

    async def last(self) -> None:
        """Say that this process has no managers any more."""
        try:
            async with self._database.system() as tx:
                await managers.leave(tx, self._process)
        except DATABASE_FAILED as error:
            log.warning("the managers' farewell was not heard: %s", error)

    async def _obey(self) -> None:
        try:
            async with self._database.system() as tx:
                wishes = {wish.id: wish for wish in await managers.wishes(tx)}
        except DATABASE_FAILED as error:
            log.warning("what is asked of the managers cannot be read: %s", error)
            return
        for manager, loop in self._loops.items():
            loop.obey(wishes.get(manager) or Wish(manager, **USUAL))

    async def _say(self, said: list[Said]) -> None:
        minutes = [minute for loop in self._loops.values() for minute in loop.counts.minutes(loop.id)]
        try:
            async with self._database.system() as tx:
                await managers.say(tx, self._process, said, minutes)
        except DATABASE_FAILED as error:
            log.warning("how the managers are cannot be written down: %s", error)
            return
        for loop in self._loops.values():
            loop.counts.told()


class Loop:
    """One manager in one process."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._log = logging.getLogger(f"workers.managers.{manager.id}")
        self._task: asyncio.Task[None] | None = None
        self._wish: Wish | None = None
        self._leave = asyncio.Event()
        self._turned = asyncio.Event()
        self._state = ManagerState.STOPPED
        self._since = _now()
        self._begun_at = -math.inf
        self.counts = Counts()

    @property
    def id(self) -> ManagerId:
        """Which one."""
        return self._manager.id

    def obey(self, wish: Wish) -> None:
        """Become what is asked."""
        before, self._wish = self._wish, wish
        if before is not None and before.version == wish.version:
            self._keep_up()
            return
        if before is not None and wish.resets != before.resets:
            self.counts = Counts()
        if wish.wish is ManagerWish.KILLED:
            self.kill()
        elif wish.wish is ManagerWish.STOPPED or (before is not None and wish.generation != before.generation):
            self._stop()
        self._turned.set()
        self._keep_up()

    def kill(self) -> None:
        """End at once, in the middle of a round if there is one."""
        if self._task is not None:
            self._task.cancel()
        self._become(ManagerState.FAILED)

    async def once(self) -> None:
        """Do a round now if this manager runs and the last one is long enough ago."""
        since = time.monotonic() - self._begun_at
        # A little early is on time: whoever begins these rounds has a clock of their own.
        if self._state is ManagerState.RUNNING and since >= self._every_s - EARLY_S:
            await self._round()

    def said(self) -> Said:
        """How it is."""
        assert self._wish is not None
        return Said(
            manager=self._manager.id,
            state=self._state,
            version=0 if self._state is ManagerState.STOPPING else self._wish.version,
            rounds=self.counts.rounds,
            errors=self.counts.errors,
            last_error=self.counts.last_error,
            last_round_at=self.counts.last_round_at,
            since=self._since,
        )

    def _stop(self) -> None:
        if self._state is ManagerState.RUNNING:
            self._leave.set()
            self._become(ManagerState.STOPPING)

    def _keep_up(self) -> None:
        """Start again what is asked to run and does not, once what was before has ended."""
        if self._task is not None and not self._task.done():
            return
        if self._state is ManagerState.STOPPING:
            self._become(ManagerState.STOPPED)
        assert self._wish is not None
        if self._wish.wish is ManagerWish.RUNNING:
            self._leave = asyncio.Event()
            self._task = asyncio.create_task(self._run(self._leave), name=f"manager {self._manager.id}")
            self._become(ManagerState.RUNNING)

    def _become(self, state: ManagerState) -> None:
        self._state, self._since = state, _now()

    async def _run(self, leave: asyncio.Event) -> None:
        while going_on() and not leave.is_set():
            if self._manager.driven:
                await leave.wait()
            else:
                await self._round()
                await self._pause(leave)

    async def _round(self) -> None:
        assert self._wish is not None
        self._begun_at = began = time.monotonic()
        try:
            await self._manager.tick(self._options(self._wish))
        except DATABASE_FAILED as error:
            self._log.warning("the %s manager skips a round: %s", self._manager.id, error)
            self.counts.failed(f"{type(error).__name__}: the stores did not let it")
        except Exception as error:
            self._log.exception("a round of the %s manager failed", self._manager.id)
            self.counts.failed(type(error).__name__)
        self.counts.count(_now(), (time.monotonic() - began) * 1000)

    @property
    def _every_s(self) -> float:
        assert self._wish is not None
        return self._wish.every_s or self._manager.every.total_seconds()

    def _options(self, wish: Wish) -> Any:
        try:
            return options(self._manager.id, wish.options)
        except msgspec.ValidationError:
            # Written by another version of this program, which knew other options.
            self._log.warning("the options of the %s manager are not understood: the usual ones are taken", wish.id)
            return options(self._manager.id, {})

    async def _pause(self, leave: asyncio.Event) -> None:
        """Wait for the next round, or for what is asked to change."""
        since = time.monotonic()
        while going_on() and not leave.is_set():
            rest = since + self._every_s - time.monotonic()
            if rest <= 0:
                return
            self._turned.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._turned.wait()


class Counts:
    """How the rounds of one manager went in this process."""

    def __init__(self) -> None:
        self.rounds = 0
        self.errors = 0
        self.last_error: str | None = None
        self.last_round_at: datetime | None = None
        self._minutes: dict[datetime, tuple[list[int], list[int]]] = {}
        self._failures = 0

    def failed(self, why: str) -> None:
        """Note that the round which is about to be counted failed."""
        self._failures = 1
        self.last_error = why[:LONGEST_ERROR]

    def count(self, at: datetime, took_ms: float) -> None:
        """Count a round."""
        totals, took = self._minutes.setdefault(
            at.replace(second=0, microsecond=0), ([0, 0], [0] * (len(EDGES_MS) + 1))
        )
        totals[0] += 1
        totals[1] += self._failures
        took[managers.classed(took_ms)] += 1
        self.rounds, self.errors = self.rounds + 1, self.errors + self._failures
        self.last_round_at, self._failures = at, 0

    def minutes(self, manager: ManagerId) -> list[Minute]:
        """How the rounds went, minute by minute, as far as that is not told yet; the present minute's always."""
        return [
            Minute(manager=manager, minute=minute, rounds=rounds, errors=errors, took=list(took))
            for minute, ((rounds, errors), took) in self._minutes.items()
        ]

    def told(self) -> None:
        """Forget the minutes that are over: they are written down."""
        for minute in sorted(self._minutes)[:-1]:
            del self._minutes[minute]


def _now() -> datetime:
    return datetime.now(UTC)
