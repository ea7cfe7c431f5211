"""A worker process: the engine, its heartbeat, the managers and the doorbell, from start to drained."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from dataloaders.snapshot import Snapshots
from db import leases, services
from db.database import Database
from db.files import Files
from db.jobs import DEFAULT_QUEUE
from db.models.managers import ManagerId
from guards.anchors import Anchors
from workers.agents.contract import Agent
from workers.bell import listen
from workers.engine import Engine
from workers.managers import known
from workers.pulse import Pulse
from workers.rounds import Rounds
from workers.trials import Trials
from workers.turn import Turns

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
    agents: Mapping[str, Agent]
    """The agents it knows, by id."""

    concurrency: int = 1
    name: str | None = None
    """What its supervisor calls it."""

    queues: Sequence[str] = (DEFAULT_QUEUE,)
    job_timeout_s: int | None = None
    """How long a job may be at work; None for as long as its steps may."""

    speech_model: Path | None = None
    media_root: Path | None = None
    fetch_private: bool = False
    lease: timedelta = leases.LEASE
    heartbeat: timedelta = leases.HEARTBEAT


async def work(shift: Shift, stop: asyncio.Event) -> None:
    """Work until `stop` is set, and then put back what is held, or until told to retire; say so, and return."""
    turns = Turns(
        shift.database,
        shift.files,
        shift.agents,
        media_root=shift.media_root,
        defaults=_defaults(shift),
    )
    turns.job_timeout_s = shift.job_timeout_s
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    engine = Engine(
        shift.database,
        turns.take,
        worker_id=worker_id,
        concurrency=shift.concurrency,
        lease=shift.lease,
        heartbeat=shift.heartbeat,
        queues=shift.queues,
    )
    trials = Trials(shift.database, shift.agents, worker_id=worker_id, defaults=_defaults(shift))
    pulse = Pulse(shift.database, engine, turns, trials, name=shift.name, version=shift.version)
    rounds = Rounds(shift.database, worker_id, known(shift.database, shift.files, shift.snapshots, shift.anchors))

    async def warm() -> None:
        async with shift.database.system() as tx:
            elsewhere = await services.warmer_there(tx)
        if not elsewhere:
            await rounds.once(ManagerId.SNAPSHOT)

    log.info("worker %s takes up to %d jobs at once", worker_id, shift.concurrency)
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(pulse.run(), name="pulse"),
            group.create_task(listen(shift.redis_url, engine, warm), name="doorbell"),
            group.create_task(rounds.run(), name="rounds"),
        ]
        working = group.create_task(engine.run(), name="engine")
        told = group.create_task(stop.wait(), name="stop")
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        engine.drain()
        await working
        for task in (*beside, told):
            task.cancel()
    await rounds.last()
    await pulse.last()


def _defaults(shift: Shift) -> dict[str, object]:
    model = None if shift.speech_model is None else str(shift.speech_model)
    return {"speech_model": model, "allow_private": shift.fetch_private}
