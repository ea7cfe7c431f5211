"""The pulse of a worker: its heartbeat, and how it obeys what is asked of it.

Twice a second it looks at one row: whether it is to be active, paused or done with its last jobs, with which settings,
and whether an agent waits to be tried. It obeys at once and says so with its next beat, which then does not wait for
its turn. PostgreSQL away: it goes on as it was asked last.
"""

import asyncio
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from db import workers
from db.database import Database
from db.health import DATABASE_FAILED
from db.models.work import WorkerState
from db.tasks import going_on
from db.workers import Beat, Orders
from workers.engine import Engine
from workers.trials import Trials
from workers.turn import Turns

LOOK_EVERY_S: Final = 0.5
BEAT_EVERY_S: Final = 5.0

log = logging.getLogger(__name__)


class Pulse:
    """A worker's heartbeat, and what it is told in return."""

    def __init__(
        self, database: Database, engine: Engine, turns: Turns, trials: Trials, *, name: str | None, version: str
    ) -> None:
        self._database = database
        self._engine = engine
        self._turns = turns
        self._trials = trials
        self._name = name
        self._version = version
        self._cpu = time.process_time()
        self._at = time.monotonic()
        self._percent: float | None = None
        self._obeyed = Orders(WorkerState.ACTIVE, {}, False)

    async def run(self) -> None:
        """Look and beat until cancelled."""
        said: object = None
        said_at = 0.0
        async with asyncio.TaskGroup() as group:
            trying: asyncio.Task[None] | None = None
            while going_on():
                try:
                    orders = None if said is None else await self._orders()
                    if orders is not None:
                        self._obey(orders)
                        if orders.trials and self._free and (trying is None or trying.done()):
                            trying = group.create_task(self._try(), name="trial")
                    saying = (self._state(), self._engine.held, self._settings())
                    if saying != said or time.monotonic() - said_at >= BEAT_EVERY_S:
                        await self._beat(self._state())
                        said, said_at = saying, time.monotonic()
                except DATABASE_FAILED as error:
                    log.warning("the heartbeat was not heard: %s", error)
                await asyncio.sleep(LOOK_EVERY_S)
            if trying is not None:
                # It would be waited for to its end, which may be minutes away.
                trying.cancel()

    async def last(self) -> None:
        """Say that this worker is no more."""
        try:
            await self._beat(WorkerState.STOPPED)
        except DATABASE_FAILED as error:
            log.warning("the farewell was not heard: %s", error)

    @property
    def _free(self) -> bool:
        return not self._engine.paused and not self._engine.retiring

    async def _orders(self) -> Orders | None:
        async with self._database.system() as tx:
            return await workers.orders(tx, self._engine.worker_id)

    def _obey(self, orders: Orders) -> None:
        before, self._obeyed = self._obeyed, orders
        if orders.desired_state is not before.desired_state:
            log.info("asked to be %s", orders.desired_state)
        pausing = orders.desired_state is WorkerState.PAUSED
        if pausing and not self._engine.paused and orders.asked.get("finish_current") is False:
            self._engine.put_back()
        self._engine.paused = pausing
        if orders.desired_state is WorkerState.DRAINING and not self._engine.retiring:
            self._engine.retire()
        self._engine.concurrency = orders.asked.get("max_jobs", self._engine.concurrency)
        self._engine.queues = tuple(orders.asked.get("queues", self._engine.queues))
        self._turns.job_timeout_s = orders.asked.get("job_timeout", self._turns.job_timeout_s)
        if orders.asked != before.asked:
            self._engine.ring()

    async def _try(self) -> None:
        try:
            await self._trials.one()
        except DATABASE_FAILED as error:
            log.warning("a trial could not be carried out: %s", error)

    async def _beat(self, state: WorkerState) -> None:
        said = Beat(
            id=self._engine.worker_id,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            state=state,
            concurrency=self._engine.concurrency,
            current_jobs=self._engine.held,
            jobs_completed=self._turns.completed,
            jobs_failed=self._turns.failed,
            cpu_percent=self._cpu_percent(),
            memory_mb=_memory_mb(),
            name=self._name,
            settings=self._settings(),
        )
        async with self._database.system() as tx:
            await workers.beat(tx, said)

    def _settings(self) -> Mapping[str, Any]:
        return {
            "max_jobs": self._engine.concurrency,
            "job_timeout": self._turns.job_timeout_s,
            "queues": list(self._engine.queues),
        }

    def _state(self) -> WorkerState:
        if self._engine.retiring:
            return WorkerState.DRAINING
        if self._engine.paused:
            return WorkerState.PAUSED
        return WorkerState.ACTIVE if self._engine.held else WorkerState.IDLE

    def _cpu_percent(self) -> float | None:
        cpu, at = time.process_time(), time.monotonic()
        spent, passed = cpu - self._cpu, at - self._at
        if passed > 1:
            self._cpu, self._at, self._percent = cpu, at, round(100 * spent / passed, 1)
        return self._percent


def _memory_mb() -> float:
    """The most this process ever held; kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
