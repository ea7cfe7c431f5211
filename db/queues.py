"""The queue of a tenant: whether jobs are taken on, whether they are begun, and how many wait.

Decisions are taken one after the other, over all tenants, and while one is being taken nobody claims a job: from its
commit on it binds every worker. Workers say which decisions they have seen (`acknowledge`), so that who decided can be
told how many have. Beside all decisions the house can be halted for a while (`db.halts`): then no job is begun
anywhere, and afterwards each queue is as was decided about it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.house import halts, queue_acknowledgements
from db.models.identity import DEFAULT_TENANT, tenants
from db.models.work import JobStatus, jobs, queue_states, workers
from db.rows import Row, Shape
from db.workers import ALIVE


class QueueState(Row, frozen=True):
    """What people decided about a queue."""

    paused: bool
    """Whether no job is begun; a pause that has run out counts as none."""

    paused_until: datetime | None
    """When the pause ends by itself; None when it does not."""

    refusing: bool
    """Whether new jobs are turned away."""

    draining_until: datetime | None
    """When new jobs are taken on again although not all work is done; None while nothing drains."""

    stopped: bool
    """Whether it was stopped in an emergency and has not been resumed."""

    reason: str | None
    changed_at: datetime
    changed_by: UUID | None


class Halt(Row, frozen=True):
    """All queues held still by something that jobs must not run into."""

    since: datetime
    until: datetime
    """When it is over, should it not be renewed before."""

    refusing: bool
    """Whether new jobs are turned away, too."""

    reason: str


class Acknowledged(Row, frozen=True):
    """How many workers know of a decision."""

    workers: int
    """Those that are alive."""

    of_them: int
    """Those that have said that they know."""


PAUSED: Final = sa.and_(
    queue_states.c.paused,
    sa.or_(queue_states.c.paused_until.is_(None), queue_states.c.paused_until > sa.func.now()),
)
"""Whether a tenant's queue is paused just now: a pause that has run out is none."""

REFUSING: Final = sa.and_(
    queue_states.c.refusing,
    sa.or_(queue_states.c.draining_until.is_(None), queue_states.c.draining_until > sa.func.now()),
)
"""Whether a tenant's queue turns new jobs away just now: a drain that has run out turns none away."""

HALTED: Final = sa.func.coalesce(
    sa.select(sa.true()).where(halts.c.until > sa.func.now()).limit(1).scalar_subquery(), sa.false()
)
"""Whether the whole house is halted just now."""

_DRAINING: Final = sa.case((queue_states.c.draining_until > sa.func.now(), queue_states.c.draining_until))
STATE: Final = Shape(QueueState, queue_states, paused=PAUSED, refusing=REFUSING, draining_until=_DRAINING)
HALT: Final = Shape(Halt, halts)

_OPEN: Final = (JobStatus.QUEUED, JobStatus.PROCESSING)
_RUNNING: Final = {
    "paused": False,
    "paused_until": None,
    "refusing": False,
    "draining_until": None,
    "stopped": False,
    "reason": None,
}
_DECISION: Final = "queues/decision"
_STILL: Final = sa.text("SELECT pg_try_advisory_xact_lock_shared(hashtextextended(:name, 0))")


async def state(tx: Transaction) -> QueueState | None:
    """How the tenant's queue is, halted or as it was decided; None when nothing ever was, and it runs."""
    decision = await _decision(tx)
    halt = await HALT.first(tx, HALT.select().where(halts.c.until > sa.func.now()))
    return decision if halt is None else _halted(decision, halt)


async def alone(tx: Transaction) -> None:
    """Have nobody else decide about any queue, and nobody claim a job, until this transaction ends."""
    await tx.hold(_DECISION)


async def decided(tx: Transaction) -> QueueState | None:
    """What was decided about the tenant's queue, for who is about to decide anew: alone."""
    await alone(tx)
    return await _decision(tx)


async def still(tx: Transaction) -> bool:
    """Have no decision taken until this transaction ends; False, at once, while one is being taken."""
    return bool(await tx.scalar(_STILL, {"name": _DECISION}))


async def mark_paused(
    tx: Transaction, *, lasting: timedelta | None = None, reason: str | None = None, by: UUID | None = None
) -> QueueState:
    """Begin no further job until `lasting` has gone by, or until somebody resumes."""
    until = None if lasting is None else sa.func.now() + lasting
    return await _decide(tx, {"paused": True, "paused_until": until, "reason": reason, "changed_by": by})


async def mark_resumed(tx: Transaction, *, by: UUID | None = None) -> QueueState:
    """Begin jobs again, and take new ones on, whatever was decided before."""
    return await _decide(tx, {"changed_by": by})


async def mark_draining(
    tx: Transaction, *, lasting: timedelta, reason: str | None = None, by: UUID | None = None
) -> QueueState:
    """Turn new jobs away until all others are done, and pause then; or until `lasting` has gone by, and run on."""
    until = sa.func.now() + lasting
    return await _decide(tx, {"refusing": True, "draining_until": until, "reason": reason, "changed_by": by})


async def settle_drains(tx: Transaction) -> dict[str, QueueState]:
    """Pause the queues that have drained, and let those run on whose time is over; how each of them is now.

    For a system transaction, or one of the tenant in question. A paused queue turns jobs away until it is resumed.
    """
    draining = sa.select(queue_states.c.tenant_id, _DRAINING.is_not(None)).where(
        queue_states.c.draining_until.is_not(None)
    )
    if not await tx.rows(draining):
        return {}
    await alone(tx)
    settled: dict[str, QueueState] = {}
    for tenant, in_time in await tx.rows(draining):
        if not in_time:
            settled[tenant] = await _run_on(tx, tenant)
        elif not await _at_work(tx, tenant):
            settled[tenant] = await _decide(tx, {"paused": True, "refusing": True, "reason": "drained"}, tenant=tenant)
    return settled


async def stop_all(tx: Transaction, *, reason: str, by: UUID | None) -> int:
    """Begin no job and take none on, for every tenant, until somebody resumes; how many queues that stopped.

    For a system transaction.
    """
    await alone(tx)
    everyone = await tx.rows(sa.select(tenants.c.id))
    for (tenant,) in everyone:
        await _decide(tx, _stop(reason, by), tenant=tenant)
    return len(everyone)


async def resume_stopped(tx: Transaction, *, by: UUID | None) -> int:
    """Let all queues run that were stopped in an emergency; how many those were. For a system transaction."""
    await alone(tx)
    stopped = await tx.rows(sa.select(queue_states.c.tenant_id).where(queue_states.c.stopped))
    for (tenant,) in stopped:
        await _decide(tx, {"changed_by": by}, tenant=tenant)
    return len(stopped)


async def inherit_stop(tx: Transaction, tenant: str) -> None:
    """Stop the queue of a tenant that was just made, if an emergency stop stands for the house.

    For a system transaction.
    """
    # Alone: whoever stops all has either seen the tenant, or is seen from here.
    await alone(tx)
    stands = STATE.select().where(queue_states.c.tenant_id == DEFAULT_TENANT, queue_states.c.stopped)
    if (stop := await STATE.first(tx, stands)) is not None:
        await _decide(tx, _stop(stop.reason, stop.changed_by), tenant=tenant)


async def how_many(tx: Transaction) -> int:
    """How many queues there are: one for each tenant."""
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(tenants))
    return counted


async def how_many_stopped(tx: Transaction) -> int:
    """How many of those the transaction may see were stopped in an emergency."""
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(queue_states).where(queue_states.c.stopped))
    return counted


async def last_decided(tx: Transaction) -> datetime | None:
    """When anything was last decided about a queue the transaction may see."""
    found: datetime | None = await tx.scalar(sa.select(sa.func.max(queue_states.c.changed_at)))
    return found


async def acknowledge(tx: Transaction, worker_id: str, seen_at: datetime) -> bool:
    """Say that a worker knows all that was decided up to then; False when the worker was never heard of."""
    known = sa.select(workers.c.id, sa.literal(seen_at, sa.DateTime(timezone=True))).where(workers.c.id == worker_id)
    statement = insert(queue_acknowledgements).from_select(["worker_id", "seen_at"], known)
    return bool(
        await tx.changed(
            statement.on_conflict_do_update(
                index_elements=[queue_acknowledgements.c.worker_id], set_={"seen_at": statement.excluded.seen_at}
            )
        )
    )


async def acknowledged(tx: Transaction, decided_at: datetime) -> Acknowledged:
    """How many of the workers that are alive know of what was decided then."""
    [row] = await tx.rows(
        sa.select(sa.func.count(), sa.func.count().filter(queue_acknowledgements.c.seen_at >= decided_at))
        .select_from(workers.outerjoin(queue_acknowledgements))
        .where(ALIVE)
    )
    return Acknowledged(*row)


async def announce(tx: Transaction, tenant: str, *, paused: bool, refusing: bool) -> None:
    """Tell those who watch how a queue is from this transaction's commit on."""
    await events.record(tx, Kind.QUEUE_CHANGED, tenant, {"paused": paused, "refusing": refusing}, tenant=tenant)


async def hold_places(tx: Transaction) -> None:
    """Have nobody else add to the tenant's queue, or decide about its size, until this transaction ends."""
    await tx.hold(f"{tx.tenant}/queue")


async def waiting(tx: Transaction, *, most: int) -> int:
    """How many jobs are queued, counted no further than `most`; holds others who ask so until this transaction ends."""
    # Counting and adding must not interleave, or two callers would both take the last place.
    await hold_places(tx)
    some = sa.select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED).limit(most).subquery()
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(some))
    return counted


async def oldest_due(tx: Transaction) -> datetime | None:
    """Since when the job that has waited longest is queued; None when none is."""
    found: datetime | None = await tx.scalar(
        sa.select(jobs.c.created_at).where(jobs.c.status == JobStatus.QUEUED).order_by(jobs.c.created_at).limit(1)
    )
    return found


def _stop(reason: str | None, by: UUID | None) -> dict[str, Any]:
    return {"paused": True, "refusing": True, "stopped": True, "reason": reason, "changed_by": by}


async def _decision(tx: Transaction) -> QueueState | None:
    return await STATE.first(tx, STATE.select().where(queue_states.c.tenant_id == tx.tenant))


def _halted(decision: QueueState | None, halt: Halt) -> QueueState:
    if decision is None:
        return QueueState(True, halt.until, halt.refusing, None, False, halt.reason, halt.since, None)
    until: datetime | None = halt.until
    if decision.paused:
        until = None if decision.paused_until is None else max(decision.paused_until, halt.until)
    return msgspec.structs.replace(
        decision,
        paused=True,
        paused_until=until,
        refusing=decision.refusing or halt.refusing,
        reason="; ".join(filter(None, (halt.reason, decision.reason))),
    )


async def _at_work(tx: Transaction, tenant: str) -> bool:
    return bool(await tx.scalar(sa.select(sa.exists().where(jobs.c.tenant_id == tenant, jobs.c.status.in_(_OPEN)))))


async def _run_on(tx: Transaction, tenant: str) -> QueueState:
    """Forget a drain that has run out; whatever else was decided about the queue meanwhile stands."""
    statement = (
        sa.update(queue_states)
        .where(queue_states.c.tenant_id == tenant)
        .values(
            refusing=False,
            draining_until=None,
            reason=sa.case((queue_states.c.paused, queue_states.c.reason), else_=None),
        )
    )
    changed = await STATE.first(tx, statement.returning(*STATE.columns))
    assert changed is not None
    await announce(tx, tenant, paused=changed.paused, refusing=changed.refusing)
    return changed


async def _decide(tx: Transaction, values: Mapping[str, Any], *, tenant: str | None = None) -> QueueState:
    """Put a decision in the place of the one before; what it does not say is as in a queue that runs."""
    await alone(tx)
    # Not the time at which the transaction began: decisions are ordered as they are committed.
    written = {**_RUNNING, **values, "changed_at": sa.func.clock_timestamp()}
    whose = tenant or tx.tenant
    statement = (
        insert(queue_states)
        .values(tenant_id=whose, **written)
        .on_conflict_do_update(index_elements=[queue_states.c.tenant_id], set_=written)
    )
    changed = await STATE.first(tx, statement.returning(*STATE.columns))
    assert changed is not None
    await announce(tx, whose, paused=changed.paused, refusing=changed.refusing)
    return changed
