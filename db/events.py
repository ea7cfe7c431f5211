"""Events: rows written in the transaction of their cause, read in the order in which they became visible.

An event's cursor is `(xid, id)`. Readers take only events of transactions older than every one still running
(`pg_snapshot_xmin`), so an event that commits late is never skipped; a plain `id > last` would lose it.

Events are kept for two days. Whoever removes some, the table itself writes down the newest of each tenant that is gone,
in the same transaction: from a cursor before that floor nobody can go on without missing something.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.identity import tenants
from db.models.records import event_floors, events
from db.rows import Row


class Kind(StrEnum):
    """Everything that can be told; past tense."""

    JOB_CHANGED = "job_changed"
    QUEUE_CHANGED = "queue_changed"
    SNAPSHOT_CHANGED = "snapshot_changed"
    AGENT_CHANGED = "agent_changed"
    UPLOAD_CHANGED = "upload_changed"
    USER_CHANGED = "user_changed"
    SECURITY_ALERTED = "security_alerted"
    OPERATION_CHANGED = "operation_changed"
    CONFIG_CHANGED = "config_changed"
    WORKER_CHANGED = "worker_changed"
    ACTION_EXECUTED = "action_executed"
    LOG_APPENDED = "log_appended"


OCCURRENCES: Final = frozenset({Kind.SECURITY_ALERTED, Kind.ACTION_EXECUTED, Kind.LOG_APPENDED})
"""What happened each time; of all other kinds, the newest event about a thing says as much as all before it."""

LAST: Final = 2**63 - 1
"""The largest number either half of a cursor can be."""

_CURSOR: Final = re.compile("[0-9]{1,19}-[0-9]{1,19}")


class Cursor(Row, frozen=True, order=True):
    """A place in the stream of events; everything after it is new to who holds it."""

    xid: int
    id: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def parsed(cls, text: str) -> "Cursor":
        """The cursor that `str` wrote.

        Raises:
            ValueError: it was not.
        """
        if not _CURSOR.fullmatch(text):
            raise ValueError("that is no cursor of an event")
        xid, _, row = text.partition("-")
        cursor = cls(int(xid), int(row))
        if max(cursor.xid, cursor.id) > LAST:
            raise ValueError("that is no cursor of an event: no number is so large")
        return cursor


class Event(Row, frozen=True):
    """Something that happened and is committed."""

    cursor: Cursor
    tenant_id: str
    kind: Kind
    entity_id: str
    owner_id: UUID | None
    """Whose it is; callers who see only their own get it if it is theirs."""

    payload: dict[str, Any]
    created_at: datetime


START: Final = Cursor(0, 0)

_READ = sa.text(
    "SELECT xid::text::bigint, id, tenant_id, kind, entity_id, owner_id, payload, created_at FROM events "
    "WHERE (xid, id) > (CAST(CAST(:xid AS text) AS xid8), :id) AND xid < pg_snapshot_xmin(pg_current_snapshot()) "
    "ORDER BY xid, id LIMIT :most"
)
_EDGE = sa.text("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)")
_EVERYWHERE = sa.insert(events).from_select(
    ["tenant_id", "kind", "entity_id", "payload"],
    sa.select(
        tenants.c.id,
        sa.bindparam("kind", type_=sa.Text()),
        sa.bindparam("entity_id", type_=sa.Text()),
        sa.bindparam("payload", type_=events.c.payload.type),
    ),
)
_BEGIN_HERE = sa.text(
    "INSERT INTO event_floors (tenant_id, xid, id) "
    "SELECT id, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)::text::xid8, :last FROM tenants "
    "ON CONFLICT (tenant_id) DO UPDATE SET xid = EXCLUDED.xid, id = EXCLUDED.id "
    "WHERE (event_floors.xid, event_floors.id) < (EXCLUDED.xid, EXCLUDED.id)"
)
_FLOOR = sa.select(sa.cast(sa.cast(event_floors.c.xid, sa.Text), sa.BigInteger), event_floors.c.id).where(
    event_floors.c.tenant_id == sa.bindparam("tenant")
)


async def record(
    tx: Transaction,
    kind: Kind,
    entity_id: str,
    payload: dict[str, Any],
    *,
    owner: UUID | None = None,
    tenant: str | None = None,
) -> None:
    """Say that something happened, if this transaction commits.

    Args:
        tenant: whose event it is, where the transaction itself belongs to no tenant.
    """
    tx.tell()
    await tx.execute(
        sa.insert(events).values(
            tenant_id=tenant or tx.tenant, kind=kind, entity_id=entity_id, owner_id=owner, payload=payload
        )
    )


async def record_all(tx: Transaction, kind: Kind, told: Sequence[tuple[str, dict[str, Any], UUID | None, str]]) -> None:
    """Say of many that the same happened to them, each with its payload, its owner and its tenant."""
    if told:
        tx.tell()
        await tx.execute(
            sa.insert(events),
            [
                {"tenant_id": tenant, "kind": kind, "entity_id": entity_id, "owner_id": owner, "payload": payload}
                for entity_id, payload, owner, tenant in told
            ],
        )


async def record_everywhere(tx: Transaction, kind: Kind, told: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Say to every tenant that something happened to things of the house: to each thing its payload."""
    if told:
        tx.tell()
        async with tx.everybody():
            await tx.execute(
                _EVERYWHERE, [{"kind": kind, "entity_id": thing, "payload": payload} for thing, payload in told]
            )


async def after(tx: Transaction, cursor: Cursor, *, most: int = 500) -> list[Event]:
    """The next events after a cursor, oldest first; none that a running transaction could still precede."""
    rows = await tx.rows(_READ, {"xid": str(cursor.xid), "id": cursor.id, "most": most})
    return [Event(Cursor(xid, key), tenant, Kind(kind), *rest) for xid, key, tenant, kind, *rest in rows]


async def edge(tx: Transaction) -> Cursor:
    """The cursor after which only events of transactions not yet ended will come."""
    return Cursor(int(await tx.scalar(_EDGE)), LAST)


async def floor(tx: Transaction) -> Cursor:
    """The newest event of the transaction's tenant that was removed; `START` when none ever was.

    Whoever reads a page and must know whether it is whole asks after reading it: some may have gone in between.
    """
    rows = await tx.rows(_FLOOR, {"tenant": tx.tenant})
    return Cursor(*rows[0]) if rows else START


async def begin_here(tx: Transaction) -> None:
    """Let nobody go on from a cursor of before: more has changed than any event tells. For the system alone."""
    await tx.execute(_BEGIN_HERE, {"last": LAST})
