"""A worker process: the engine, its heartbeat, the managers and the doorbell, from start to drained."""

import asyncio
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from dataloaders.snapshot import Snapshots
from db import leases, workers
from db.database import Database
from db.files import Files
from db.health import DATABASE_FAILED
from db.models.managers import ManagerId
from db.models.work import WorkerState
from db.workers import Beat
from guards.anchors import Anchors
from workers.agents import registry
from workers.agents.contract import Agent
from workers.bell import listen
from workers.engine import Engine
from workers.managers import known
from workers.rounds import Rounds
from workers.turn import Turns

BEAT: Final = timedelta(seconds=5)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What a worker process works with; made at its start, closed by who made it."""

    database: Database
    redis_url: str
    snapshots: Snapshots
    files: Files
    anchors: Anchors
    version: str
    concurrency: int = 1
    speech_model: Path | None = None
    media_root: Path | None = None
    fetch_private: bool = False
    lease: timedelta = leases.LEASE
    heartbeat: timedelta = leases.HEARTBEAT
    agents: Mapping[str, Agent] | None = None
    """What is known instead of the agents of the house and of installed projects."""


async def work(shift: Shift, stop: asyncio.Event) -> None:
    """Work until `stop` is set; then put back what is held, say so, and return."""
    turns = Turns(
        shift.database,
        shift.files,
        shift.agents or registry.discovered(),
        media_root=shift.media_root,
        defaults=_defaults(shift),
    )
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    engine = Engine(
        shift.database,
        turns.take,
        worker_id=worker_id,
        concurrency=shift.concurrency,
        lease=shift.lease,
        heartbeat=shift.heartbeat,
    )
    pulse = Pulse(shift, engine, turns)
    rounds = Rounds(shift.database, worker_id, known(shift.database, shift.files, shift.snapshots, shift.anchors))
    warm = partial(rounds.once, ManagerId.SNAPSHOT)
    log.info("worker %s takes up to %d jobs at once", worker_id, shift.concurrency)
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(pulse.run(), name="pulse"),
            group.create_task(listen(shift.redis_url, engine, warm), name="doorbell"),
            group.create_task(rounds.run(), name="rounds"),
        ]
        working = group.create_task(engine.run(), name="engine")
        await stop.wait()
        engine.drain()
        await working
        for task in beside:
            task.cancel()
    await rounds.last()
    await pulse.last()


class Pulse:
    """A worker's heartbeat, and what it is told in return."""

    def __init__(self, shift: Shift, engine: Engine, turns: Turns) -> None:
        self._shift = shift
        self._engine = engine
        self._turns = turns
        self._cpu = time.process_time()
        self._at = time.monotonic()

    async def run(self) -> None:
        """Beat every five seconds until cancelled."""
        while True:
            try:
                await self._beat(self._state())
            except DATABASE_FAILED as error:
                log.warning("the heartbeat was not heard: %s", error)
            await asyncio.sleep(BEAT.total_seconds())

    async def last(self) -> None:
        """Say that this worker is no more."""
        try:
            await self._beat(WorkerState.STOPPED)
        except DATABASE_FAILED as error:
            log.warning("the farewell was not heard: %s", error)

    async def _beat(self, state: WorkerState) -> None:
        said = Beat(
            id=self._engine.worker_id,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=self._shift.version,
            state=state,
            concurrency=self._engine.concurrency,
            current_jobs=self._engine.held,
            jobs_completed=self._turns.completed,
            jobs_failed=self._turns.failed,
            cpu_percent=self._cpu_percent(),
            memory_mb=_memory_mb(),
        )
        async with self._shift.database.system() as tx:
            wanted = await workers.beat(tx, said)
        self._engine.paused = wanted is WorkerState.PAUSED

    def _state(self) -> WorkerState:
        if self._engine.paused:
            return WorkerState.PAUSED
        return WorkerState.ACTIVE if self._engine.held else WorkerState.IDLE

    def _cpu_percent(self) -> float | None:
        cpu, at = time.process_time(), time.monotonic()
        spent, passed = cpu - self._cpu, at - self._at
        self._cpu, self._at = cpu, at
        return round(100 * spent / passed, 1) if passed > 1 else None


def _memory_mb() -> float:
    """The most this process ever held; kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _defaults(shift: Shift) -> dict[str, object]:
    model = None if shift.speech_model is None else str(shift.speech_model)
    return {"speech_model": model, "allow_private": shift.fetch_private}
