"""Operations: actions that outlive the call that asked for them, such as a backup; each is carried out by one process.

While it is at work its lease is renewed. One whose lease ran out has lost its process, and nobody goes on with it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.guards import OperationState, operations
from db.pages import Order, Page, Window, page, total
from db.rows import Row, Shape

LEASE: Final = timedelta(seconds=20)
KEPT_FOR: Final = timedelta(days=90)
"""How long it can be read what came of one; much longer than any of them takes."""

REAPED_AT_ONCE: Final = 100


class Operation(Row, frozen=True):
    """An action on its way."""

    id: UUID
    tenant_id: str
    action: str
    actor_id: UUID | None
    state: OperationState
    progress: float
    """Done share in 0.0..1.0; 0.0 as long as it cannot be told."""

    message: str | None
    """Where it is just now."""

    result: dict[str, Any] | None
    """What it answers once it is done."""

    error_code: str | None
    error_message: str | None
    trace_id: str | None
    created_at: datetime
    finished_at: datetime | None


class Filter(Row, frozen=True, kw_only=True):
    """Which operations; every part that is set must hold."""

    states: Collection[OperationState] = ()
    actions: Collection[str] = ()

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        found: list[sa.ColumnElement[bool]] = []
        if self.states:
            found.append(operations.c.state.in_(self.states))
        if self.actions:
            found.append(operations.c.action.in_(self.actions))
        return found


OPERATION = Shape(Operation, operations)


async def add(tx: Transaction, action: str, *, actor: UUID | None, trace_id: str | None) -> Operation:
    """A new operation, at work from the commit of this transaction."""
    statement = sa.insert(operations).values(
        tenant_id=tx.tenant, action=action, actor_id=actor, trace_id=trace_id, lease_until=sa.func.now() + LEASE
    )
    made = await OPERATION.first(tx, statement.returning(*OPERATION.columns))
    assert made is not None
    await _announce(tx, made)
    return made


async def by_id(tx: Transaction, operation_id: UUID, *, owner: UUID | None = None) -> Operation | None:
    """One operation, or None; with `owner`, only if they asked for it."""
    return await OPERATION.first(tx, OPERATION.select().where(operations.c.id == operation_id, *_asked_by(owner)))


async def listed(
    tx: Transaction, wanted: Filter, order: Order, window: Window, *, owner: UUID | None
) -> Page[Operation]:
    """One page of operations.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    where = [*wanted.clauses(), *_asked_by(owner)]
    return await page(tx, OPERATION, where=where, order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> int:
    """How many operations a filter selects."""
    return await total(tx, OPERATION, [*wanted.clauses(), *_asked_by(owner)])


async def newest(tx: Transaction, *, most: int) -> list[Operation]:
    """The newest operations first."""
    ordered = OPERATION.select().order_by(operations.c.created_at.desc(), operations.c.id.desc())
    return await OPERATION.all(tx, ordered.limit(most))


async def keep(tx: Transaction, ids: Collection[UUID]) -> None:
    """Say that these are still being worked at."""
    await tx.execute(_running(ids).values(lease_until=sa.func.now() + LEASE))


async def report(tx: Transaction, operation_id: UUID, *, progress: float, message: str | None) -> None:
    """Note how far an operation is; the share only ever grows."""
    await _changed(
        tx,
        _running([operation_id]).values(
            progress=sa.func.greatest(operations.c.progress, progress),
            message=message,
            lease_until=sa.func.now() + LEASE,
        ),
    )


async def finish(tx: Transaction, operation_id: UUID, result: dict[str, Any]) -> Operation | None:
    """Mark an operation as done; None when it is not at work any more."""
    done = _end(_running([operation_id]), OperationState.DONE, progress=1.0, message=None, result=result)
    return await _changed(tx, done)


async def fail(tx: Transaction, operation_id: UUID, *, code: str, message: str) -> Operation | None:
    """Mark an operation as failed; None when it is not at work any more."""
    failed = _end(_running([operation_id]), OperationState.FAILED, error_code=code, error_message=message)
    return await _changed(tx, failed)


async def forsaken(tx: Transaction) -> list[str]:
    """The tenants that have operations whose process is gone; for a system transaction."""
    found = sa.select(operations.c.tenant_id).where(*_silent()).distinct().order_by(operations.c.tenant_id)
    return [tenant for (tenant,) in await tx.rows(found)]


async def reap(tx: Transaction) -> list[Operation]:
    """Mark those whose process is gone as interrupted; which those were."""
    silent = _silent()
    some = sa.select(operations.c.id).where(*silent).limit(REAPED_AT_ONCE)
    # Asked once more of each row: one whose process was only late, and has just said so, goes on.
    reaped = sa.update(operations).where(operations.c.id.in_(some), *silent)
    message = "the process that carried it out is gone"
    return await _all_changed(tx, _end(reaped, OperationState.INTERRUPTED, error_message=message))


def _asked_by(owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    return [] if owner is None else [operations.c.actor_id == owner]


def _silent() -> list[sa.ColumnElement[bool]]:
    return [operations.c.state == OperationState.RUNNING, operations.c.lease_until < sa.func.now()]


def _running(ids: Collection[UUID]) -> sa.Update:
    return sa.update(operations).where(operations.c.id.in_(ids), operations.c.state == OperationState.RUNNING)


def _end(which: sa.Update, state: OperationState, **values: Any) -> sa.Update:
    return which.values(state=state, finished_at=sa.func.now(), lease_until=None, **values)


async def _changed(tx: Transaction, statement: sa.Update) -> Operation | None:
    return next(iter(await _all_changed(tx, statement)), None)


async def _all_changed(tx: Transaction, statement: sa.Update) -> list[Operation]:
    changed = await OPERATION.all(tx, statement.returning(*OPERATION.columns))
    for operation in changed:
        await _announce(tx, operation)
    return changed


async def _announce(tx: Transaction, operation: Operation) -> None:
    await events.record(
        tx,
        Kind.OPERATION_CHANGED,
        str(operation.id),
        {"action": operation.action, "state": operation.state, "progress": operation.progress},
        owner=operation.actor_id,
        tenant=operation.tenant_id,
    )
