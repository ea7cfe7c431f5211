"""System events of a tenant: what people should know of the system itself, on record."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.records import Severity, system_events
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape


class SystemEvent(Row, frozen=True):
    """Something about the system itself that people should know of."""

    id: UUID
    kind: str
    severity: Severity
    source: str
    message: str
    data: dict[str, Any]
    created_at: datetime


class Filter(Row, frozen=True, kw_only=True):
    """Which system events; every part that is set must hold."""

    severities: Collection[Severity] = ()
    kind: str | None = None
    source: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = system_events.c
        found = during(c.created_at, self.created_after, self.created_before)
        if self.severities:
            found.append(c.severity.in_(self.severities))
        for column, value in ((c.kind, self.kind), (c.source, self.source)):
            if value is not None:
                found.append(column == value)
        return found


EVENT = Shape(SystemEvent, system_events)

_RECENT = EVENT.select().order_by(system_events.c.created_at.desc(), system_events.c.id.desc())
_NEWEST = _RECENT.limit(sa.bindparam("most"))
_SEVERE = (
    sa.select(sa.func.count())
    .select_from(system_events)
    .where(system_events.c.severity == sa.bindparam("severity"), system_events.c.created_at >= sa.bindparam("since"))
)


async def record(
    tx: Transaction,
    kind: str,
    severity: Severity,
    source: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    tenant: str | None = None,
) -> None:
    """Say what happened to the system, if this transaction commits.

    Args:
        kind: a word in the past tense, such as `queue_paused`.
        source: which part of the house says so.
        tenant: whom it concerns, where the transaction itself belongs to no tenant.
    """
    await tx.execute(
        sa.insert(system_events).values(
            tenant_id=tenant or tx.tenant,
            kind=kind,
            severity=severity,
            source=source,
            message=message,
            data=dict(data or {}),
        )
    )


async def by_id(tx: Transaction, event_id: UUID) -> SystemEvent | None:
    """One system event, or None."""
    return await EVENT.first(tx, EVENT.select().where(system_events.c.id == event_id))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window) -> Page[SystemEvent]:
    """One page of system events.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, EVENT, where=wanted.clauses(), order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter) -> int:
    """How many system events a filter selects."""
    return await total(tx, EVENT, wanted.clauses())


async def recent(tx: Transaction, *, most: int) -> list[SystemEvent]:
    """The newest system events first."""
    return [SystemEvent(*row) for row in await tx.rows(_NEWEST, {"most": most})]


async def how_many_since(tx: Transaction, severity: Severity, since: datetime) -> int:
    """How many system events of just that severity there were since then."""
    counted: int = await tx.scalar(_SEVERE, {"severity": severity, "since": since})
    return counted
