"""Putting on record what people should know of the system itself; `db.journal` reads it page by page."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from db.database import Transaction
from db.journal import EVENT, SystemEvent
from db.models.records import Severity, system_events

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


async def recent(tx: Transaction, *, most: int) -> list[SystemEvent]:
    """The newest system events first."""
    return [SystemEvent(*row) for row in await tx.rows(_NEWEST, {"most": most})]


async def how_many_since(tx: Transaction, severity: Severity, since: datetime) -> int:
    """How many system events of just that severity there were since then."""
    counted: int = await tx.scalar(_SEVERE, {"severity": severity, "since": since})
    return counted
