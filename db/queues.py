"""The queue of a tenant: whether jobs are taken on, whether they are begun, and how many wait."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.work import JobStatus, jobs, queue_states
from db.rows import Row, Shape


class QueueState(Row, frozen=True):
    """What people decided about a queue."""

    paused: bool
    """Whether no job is begun; a pause that has run out counts as none."""

    paused_until: datetime | None
    """When the pause ends by itself; None when it does not."""

    refusing: bool
    """Whether new jobs are turned away."""

    reason: str | None
    changed_at: datetime
    changed_by: UUID | None


PAUSED: Final = sa.and_(
    queue_states.c.paused,
    sa.or_(queue_states.c.paused_until.is_(None), queue_states.c.paused_until > sa.func.now()),
)
"""Whether a tenant's queue is paused just now: a pause that has run out is none."""

STATE = Shape(QueueState, queue_states, paused=PAUSED)


async def state(tx: Transaction) -> QueueState | None:
    """What was decided about the tenant's queue; None when nothing ever was, and it runs."""
    return await STATE.first(tx, STATE.select().where(queue_states.c.tenant_id == tx.tenant))


async def mark_paused(
    tx: Transaction, *, lasting: timedelta | None = None, reason: str | None = None, by: UUID | None = None
) -> QueueState:
    """Begin no further job until `lasting` has gone by, or until somebody resumes."""
    until = None if lasting is None else sa.func.now() + lasting
    return await _set(tx, {"paused": True, "paused_until": until, "reason": reason, "changed_by": by})


async def mark_resumed(tx: Transaction, *, by: UUID | None = None) -> QueueState:
    """Begin jobs again."""
    return await _set(tx, {"paused": False, "paused_until": None, "reason": None, "changed_by": by})


async def waiting(tx: Transaction, *, most: int) -> int:
    """How many jobs are queued, counted no further than `most`; holds others who ask so until this transaction ends."""
    # Counting and adding must not interleave, or two callers would both take the last place.
    await tx.hold(f"{tx.tenant}/queue")
    some = sa.select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED).limit(most).subquery()
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(some))
    return counted


async def oldest_due(tx: Transaction) -> datetime | None:
    """Since when the job that has waited longest is queued; None when none is."""
    found: datetime | None = await tx.scalar(
        sa.select(jobs.c.created_at).where(jobs.c.status == JobStatus.QUEUED).order_by(jobs.c.created_at).limit(1)
    )
    return found


async def _set(tx: Transaction, values: dict[str, Any]) -> QueueState:
    written = {**values, "changed_at": sa.func.now()}
    statement = (
        insert(queue_states)
        .values(tenant_id=tx.tenant, **written)
        .on_conflict_do_update(index_elements=[queue_states.c.tenant_id], set_=written)
    )
    changed = await STATE.first(tx, statement.returning(*STATE.columns))
    assert changed is not None
    await events.record(tx, Kind.QUEUE_CHANGED, tx.tenant, {"paused": changed.paused, "refusing": changed.refusing})
    return changed
