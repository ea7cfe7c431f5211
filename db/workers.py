"""The workers: processes that do the jobs of all tenants, as they last said of themselves.

A worker is judged by the age of its heartbeat: silent for fifteen seconds it counts as gone, whatever it said last.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.work import WorkerState, workers
from db.pages import Order, Page, Window, page, total
from db.rows import Row, Shape

SILENT_AFTER: Final = timedelta(seconds=15)
"""How long a worker may say nothing before it counts as gone."""


OFFLINE_AFTER: Final = timedelta(minutes=5)
"""How long a worker that fell silent is expected back."""


class Presence(StrEnum):
    """How a worker looks from outside."""

    ACTIVE = "active"
    IDLE = "idle"
    PAUSED = "paused"
    STALE = "stale"
    """It fell silent without a farewell, less than five minutes ago."""

    OFFLINE = "offline"
    """It stopped, or has been silent for longer."""


class Worker(Row, frozen=True):
    """One worker process."""

    id: str
    hostname: str
    pid: int
    version: str
    state: WorkerState
    """What it last said of itself."""

    desired_state: WorkerState
    """What it was asked to be."""

    alive: bool
    """Whether it was heard of within the last fifteen seconds and has not stopped."""

    concurrency: int
    """Jobs it does at once."""

    current_jobs: list[UUID]
    """Jobs in its hands, of whichever tenant; none once it is not alive, whatever it held when it was killed."""

    jobs_completed: int
    """Of all tenants, since it started; so are those that failed."""

    jobs_failed: int
    cpu_percent: float | None
    """Share of one core; None when not measured."""

    memory_mb: float | None
    started_at: datetime
    heartbeat_at: datetime

    def presence(self, now: datetime) -> Presence:
        """How it looks at `now`."""
        if self.alive:
            return _LOOKS[self.state]
        if self.state is not WorkerState.STOPPED and now - self.heartbeat_at < OFFLINE_AFTER:
            return Presence.STALE
        return Presence.OFFLINE


class Beat(Row, frozen=True, kw_only=True):
    """What a worker says of itself every few seconds."""

    id: str
    hostname: str
    pid: int
    version: str
    state: WorkerState
    concurrency: int
    current_jobs: list[UUID]
    jobs_completed: int
    jobs_failed: int
    cpu_percent: float | None
    memory_mb: float | None


_LOOKS: Final = {
    WorkerState.ACTIVE: Presence.ACTIVE,
    WorkerState.IDLE: Presence.IDLE,
    WorkerState.PAUSED: Presence.PAUSED,
    # It does its last jobs and takes no more.
    WorkerState.DRAINING: Presence.ACTIVE,
    WorkerState.STOPPED: Presence.OFFLINE,
}
_ALIVE = sa.and_(workers.c.state != WorkerState.STOPPED, workers.c.heartbeat_at > sa.func.now() - SILENT_AFTER)
_IN_HAND = sa.case((_ALIVE, workers.c.current_jobs), else_=sa.literal([], workers.c.current_jobs.type))
WORKER = Shape(Worker, workers, alive=_ALIVE, current_jobs=_IN_HAND)
_HEARD_LAST = WORKER.select().order_by(workers.c.heartbeat_at.desc(), workers.c.id).limit(sa.bindparam("most"))


async def beat(tx: Transaction, said: Beat) -> WorkerState:
    """Write down a worker's heartbeat and answer what it is asked to be."""
    values = {name: getattr(said, name) for name in Beat.__struct_fields__}
    statement = insert(workers).values(**values)
    told = {name: statement.excluded[name] for name in values if name != "id"} | {"heartbeat_at": sa.func.now()}
    wanted: WorkerState = await tx.scalar(
        statement.on_conflict_do_update(index_elements=[workers.c.id], set_=told).returning(workers.c.desired_state)
    )
    return wanted


async def forget(tx: Transaction, *, silent_for: timedelta) -> int:
    """Remove workers that have said nothing for so long; how many those were."""
    return await tx.changed(sa.delete(workers).where(workers.c.heartbeat_at < sa.func.now() - silent_for))


async def by_id(tx: Transaction, worker_id: str) -> Worker | None:
    """One worker, or None."""
    return await WORKER.first(tx, WORKER.select().where(workers.c.id == worker_id))


async def by_ids(tx: Transaction, ids: Collection[str]) -> list[Worker]:
    """The workers of those ids that exist, in no order."""
    return await WORKER.all(tx, WORKER.select().where(workers.c.id.in_(ids)))


async def heard_last(tx: Transaction, *, most: int) -> list[Worker]:
    """The workers whose heartbeat is the most recent."""
    return [Worker(*row) for row in await tx.rows(_HEARD_LAST, {"most": most})]


async def listed(tx: Transaction, order: Order, window: Window, *, alive: bool | None = None) -> Page[Worker]:
    """One page of workers.

    Args:
        alive: only those that are, or only those that are not.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, WORKER, where=_which(alive), order=order, window=window)


async def how_many(tx: Transaction, *, alive: bool | None = None) -> int:
    """How many workers there are."""
    return await total(tx, WORKER, _which(alive))


def _which(alive: bool | None) -> list[sa.ColumnElement[bool]]:
    if alive is None:
        return []
    return [_ALIVE if alive else sa.not_(_ALIVE)]
