"""The workers: processes that do the jobs of all tenants, as they last said of themselves, and what is asked of them.

A worker is judged by the age of its heartbeat: silent for fifteen seconds it counts as gone, whatever it said last.
Every tenant is told when one comes, goes or falls silent, takes jobs or takes none, or is asked for something else; a
heartbeat that says nothing new is not told, nor that it has a job in hand or none.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.control import TrialState, agent_trials
from db.models.records import events as event_rows
from db.models.work import WorkerState, workers
from db.pages import Order, Page, Window, page, total
from db.roles import DEFAULT_TENANT
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
    name: str | None = None
    """What its supervisor calls it; None for one that has none."""

    settings: Mapping[str, Any] = {}
    """How it works just now: `max_jobs`, `job_timeout`, `queues`."""


class OnDuty(Row, frozen=True):
    """One worker as those see it who steer it."""

    id: str
    name: str | None
    hostname: str
    pid: int
    version: str
    state: WorkerState
    desired_state: WorkerState
    alive: bool
    current_jobs: list[UUID]
    settings: dict[str, Any]
    """How it works just now."""

    jobs_completed: int
    jobs_failed: int
    cpu_percent: float | None
    memory_mb: float | None
    started_at: datetime
    heartbeat_at: datetime

    @property
    def called(self) -> str:
        """What people call it: as its supervisor does, or else by its id."""
        return self.name or self.id

    @property
    def source(self) -> str:
        """Under which name it writes its log."""
        return source_of(self.name, self.hostname, self.pid)

    @property
    def takes_jobs(self) -> bool:
        """Whether it said that it takes jobs."""
        return self.state in (WorkerState.ACTIVE, WorkerState.IDLE)


class Signs(Row, frozen=True):
    """What is heard of all workers together."""

    heartbeat_at: datetime | None
    """The newest heartbeat; None when there never was one."""

    alive: int
    """How many are there."""


class Orders(Row, frozen=True):
    """What is asked of one worker."""

    desired_state: WorkerState
    asked: dict[str, Any]
    """Settings that were changed since it began."""

    trials: bool
    """Whether an agent waits to be tried."""


_LOOKS: Final = {
    WorkerState.ACTIVE: Presence.ACTIVE,
    WorkerState.IDLE: Presence.IDLE,
    WorkerState.PAUSED: Presence.PAUSED,
    # It does its last jobs and takes no more.
    WorkerState.DRAINING: Presence.ACTIVE,
    WorkerState.STOPPED: Presence.OFFLINE,
}
ALIVE: Final = sa.and_(workers.c.state != WorkerState.STOPPED, workers.c.heartbeat_at > sa.func.now() - SILENT_AFTER)
"""Whether a worker counts as there."""

_IN_HAND = sa.case((ALIVE, workers.c.current_jobs), else_=sa.literal([], workers.c.current_jobs.type))
WORKER = Shape(Worker, workers, alive=ALIVE, current_jobs=_IN_HAND)
ON_DUTY = Shape(OnDuty, workers, alive=ALIVE, current_jobs=_IN_HAND)
_ORDERS = sa.select(
    workers.c.desired_state,
    workers.c.asked,
    sa.exists().where(agent_trials.c.state == TrialState.WAITING, agent_trials.c.expires_at > sa.func.now()),
).where(workers.c.id == sa.bindparam("worker_id"))
_BEFORE = sa.select(workers.c.state, workers.c.settings, ALIVE).where(workers.c.id == sa.bindparam("worker_id"))
_SILENT = (
    sa.select(workers.c.id, workers.c.state)
    .where(
        workers.c.state != WorkerState.STOPPED,
        workers.c.heartbeat_at < sa.func.now() - SILENT_AFTER,
        workers.c.heartbeat_at > sa.func.now() - OFFLINE_AFTER,
        ~sa.exists().where(
            event_rows.c.tenant_id == DEFAULT_TENANT,
            event_rows.c.created_at > workers.c.heartbeat_at,
            event_rows.c.kind == Kind.WORKER_CHANGED,
            event_rows.c.entity_id == workers.c.id,
            event_rows.c.payload.has_key("silent"),
        ),
    )
    # Whoever else looks at the same moment tells of the others, or of none.
    .with_for_update(skip_locked=True)
)
_SIGNS = sa.select(sa.func.max(workers.c.heartbeat_at), sa.func.count().filter(ALIVE))
_HEARD_LAST = WORKER.select().order_by(workers.c.heartbeat_at.desc(), workers.c.id).limit(sa.bindparam("most"))


def source_of(name: str | None, hostname: str, pid: int) -> str:
    """Under which name a worker writes its log: that of its supervisor, or where it runs."""
    return name or f"{hostname}-{pid}"


async def beat(tx: Transaction, said: Beat) -> WorkerState:
    """Write down a worker's heartbeat and answer what it is asked to be."""
    before = await tx.rows(_BEFORE, {"worker_id": said.id})
    values = {name: getattr(said, name) for name in Beat.__struct_fields__} | {"settings": dict(said.settings)}
    statement = insert(workers).values(**values)
    told = {name: statement.excluded[name] for name in values if name != "id"} | {"heartbeat_at": sa.func.now()}
    wanted: WorkerState = await tx.scalar(
        statement.on_conflict_do_update(index_elements=[workers.c.id], set_=told).returning(workers.c.desired_state)
    )
    looks = _looks(said.state)
    if [(_looks(state), settings, alive) for state, settings, alive in before] != [
        (looks, values["settings"], looks != WorkerState.STOPPED)
    ]:
        await _announce(tx, {said.id: said.state})
    return wanted


async def orders(tx: Transaction, worker_id: str) -> Orders | None:
    """What is asked of a worker; None when it was never heard of."""
    rows = await tx.rows(_ORDERS, {"worker_id": worker_id})
    return Orders(*rows[0]) if rows else None


async def on_duty(tx: Transaction, which: str | None = None) -> list[OnDuty]:
    """Workers that are alive, by name; with `which`, only that of this id or name."""
    found = ON_DUTY.select().where(ALIVE).order_by(workers.c.name, workers.c.id)
    if which is not None:
        found = found.where(sa.or_(workers.c.id == which, workers.c.name == which))
    return await ON_DUTY.all(tx, found)


async def heard(tx: Transaction, hostname: str) -> dict[int, str]:
    """The workers of a machine that are alive: their ids by pid."""
    rows = await tx.rows(sa.select(workers.c.pid, workers.c.id).where(workers.c.hostname == hostname, ALIVE))
    return {pid: worker_id for pid, worker_id in rows}


async def last_of(tx: Transaction, which: str) -> OnDuty | None:
    """The worker of this id, or the one that had this name last, alive or not."""
    found = ON_DUTY.select().where(sa.or_(workers.c.id == which, workers.c.name == which))
    return await ON_DUTY.first(tx, found.order_by(workers.c.heartbeat_at.desc()).limit(1))


async def desire(tx: Transaction, ids: Collection[str], state: WorkerState) -> None:
    """Ask workers to be active, paused or draining; each obeys within a second, one that drains goes on draining."""
    other = workers.c.desired_state.not_in([WorkerState.DRAINING, state])
    asked = sa.update(workers).where(workers.c.id.in_(ids), other).values(desired_state=state)
    await _announce(tx, dict(await tx.rows(asked.returning(workers.c.id, workers.c.state))), asked=state)


async def ask(tx: Transaction, ids: Collection[str], settings: Mapping[str, Any]) -> None:
    """Ask workers to work with other settings, over those they were asked for before."""
    merged = workers.c.asked.concat(sa.literal(dict(settings), workers.c.asked.type))
    asked = sa.update(workers).where(workers.c.id.in_(ids)).values(asked=merged)
    await _announce(tx, dict(await tx.rows(asked.returning(workers.c.id, workers.c.state))), asked=sorted(settings))


async def mark_gone(tx: Transaction, hostname: str, pid: int) -> list[str]:
    """Note that the process of a worker has ended; the ids it was known by."""
    statement = (
        sa.update(workers)
        .where(workers.c.hostname == hostname, workers.c.pid == pid, ALIVE)
        .values(state=WorkerState.STOPPED)
        .returning(workers.c.id)
    )
    gone = [worker_id for (worker_id,) in await tx.rows(statement)]
    await _announce(tx, dict.fromkeys(gone, WorkerState.STOPPED))
    return gone


async def note_silent(tx: Transaction) -> list[str]:
    """Tell of workers that fell silent without a farewell, of each once; for the system alone."""
    rows = await tx.rows(_SILENT)
    await _announce(tx, dict(rows), silent=True)
    return [worker_id for worker_id, _ in rows]


async def forget(tx: Transaction, *, silent_for: timedelta) -> int:
    """Remove workers that have said nothing for so long; how many those were."""
    long_gone = sa.delete(workers).where(workers.c.heartbeat_at < sa.func.now() - silent_for)
    gone = [worker_id for (worker_id,) in await tx.rows(long_gone.returning(workers.c.id))]
    await _announce(tx, dict.fromkeys(gone, WorkerState.STOPPED), removed=True)
    return len(gone)


async def by_id(tx: Transaction, worker_id: str) -> Worker | None:
    """One worker, or None."""
    return await WORKER.first(tx, WORKER.select().where(workers.c.id == worker_id))


async def by_ids(tx: Transaction, ids: Collection[str]) -> list[Worker]:
    """The workers of those ids that exist, in no order."""
    return await WORKER.all(tx, WORKER.select().where(workers.c.id.in_(ids)))


async def heard_last(tx: Transaction, *, most: int) -> list[Worker]:
    """The workers whose heartbeat is the most recent."""
    return [Worker(*row) for row in await tx.rows(_HEARD_LAST, {"most": most})]


async def signs(tx: Transaction) -> Signs:
    """Whether anybody is there, and when the last was heard of."""
    [row] = await tx.rows(_SIGNS)
    return Signs(*row)


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


def _looks(state: WorkerState) -> WorkerState:
    """The same, but for whether it has a job in hand: that changes with every job."""
    return WorkerState.IDLE if state is WorkerState.ACTIVE else state


async def _announce(tx: Transaction, states: Mapping[str, WorkerState], **more: Any) -> None:
    """Tell every tenant of workers that changed, each with what it last said of itself."""
    told = [(worker_id, {"state": state, **more}) for worker_id, state in states.items()]
    await events.record_everywhere(tx, Kind.WORKER_CHANGED, told)


def _which(alive: bool | None) -> list[sa.ColumnElement[bool]]:
    if alive is None:
        return []
    return [ALIVE if alive else sa.not_(ALIVE)]
