"""The audit trail of a tenant: one unbroken line of entries, which are added and never changed.

Number, time and hashes of an entry are the database's own doing (`audit_trail.chain`), whatever was sent.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.audit import anchors, audit, heads
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape


class NewEntry(Row, frozen=True, kw_only=True):
    """An entry as it is written."""

    actor_id: UUID | None
    role: str | None
    action: str
    target: str | None
    outcome: str
    code: str | None
    trace_id: str | None
    key_hash: bytes | None
    details: Mapping[str, Any]
    result: Mapping[str, Any]
    commitment: bytes | None


class Entry(Row, frozen=True):
    """An entry as people read it."""

    seq: int
    """Its number; the tenant's first is 1, and none is left out."""

    at: datetime
    actor_id: UUID | None
    role: str | None
    """What the actor was allowed to do at the time."""

    action: str
    target: str | None
    """What it was about."""

    outcome: str
    code: str | None
    """Why it was not done; None when it was."""

    trace_id: str | None
    key_hash: bytes | None
    """SHA-256 of the idempotency key, if there was one."""

    details: dict[str, Any]
    """What was asked for, as far as it may be kept."""

    result: dict[str, Any]
    """What came of it: ids and numbers."""

    commitment: bytes | None
    hash: bytes


class Link(Row, frozen=True):
    """An entry as the hash is taken of it: documents in the words of the database."""

    tenant_id: str
    seq: int
    at: datetime
    actor_id: UUID | None
    role: str | None
    action: str
    target: str | None
    outcome: str
    code: str | None
    trace_id: str | None
    key_hash: bytes | None
    details: str
    result: str
    commitment: bytes | None
    previous: bytes
    hash: bytes


class Head(Row, frozen=True):
    """Where a tenant's line ends."""

    tenant_id: str
    seq: int
    hash: bytes


class Anchor(Row, frozen=True):
    """What somebody with a key has said of an entry."""

    tenant_id: str
    seq: int
    hash: bytes
    at: datetime
    kind: str
    """`anchor`, or `checkpoint` for the last entry of a month that was dropped."""

    key_id: str
    signature: bytes


class Filter(Row, frozen=True, kw_only=True):
    """Which entries; every part that is set must hold."""

    actor_id: UUID | None = None
    action: str | None = None
    target: str | None = None
    outcomes: Collection[str] = ()
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    about: str | None = None
    """Only actions on one kind of thing, such as `job`."""

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = audit.c
        found = during(c.at, self.since, self.until)
        given = (
            (c.actor_id, self.actor_id),
            (c.action, self.action),
            (c.target, self.target),
            (c.trace_id, self.trace_id),
        )
        found += [column == value for column, value in given if value is not None]
        if self.outcomes:
            found.append(c.outcome.in_(self.outcomes))
        if self.about is not None:
            found.append(c.action.startswith(f"{self.about}.", autoescape=True))
        return found


ENTRY = Shape(Entry, audit)
LINK = Shape(Link, audit, details=sa.cast(audit.c.details, sa.Text()), result=sa.cast(audit.c.result, sa.Text()))
HEAD = Shape(Head, heads)  # type: ignore[arg-type]  # the trail's own tables are not in the metadata
ANCHOR = Shape(Anchor, anchors)  # type: ignore[arg-type]  # the same

_DUE = sa.text(
    "SELECT h.tenant_id, h.seq, h.hash FROM audit_trail.heads AS h LEFT JOIN LATERAL ("
    "SELECT seq, at FROM audit_trail.anchors WHERE tenant_id = h.tenant_id AND kind = 'anchor' "
    "ORDER BY seq DESC LIMIT 1) AS a ON true "
    "WHERE h.seq > coalesce(a.seq, 0) "
    "AND (a.seq IS NULL OR a.at <= now() - make_interval(secs => :age) OR h.seq >= a.seq + :rows)"
)
_PARTS = sa.text(
    "SELECT to_date(substr(c.relname, 7), 'YYYY_MM') FROM pg_inherits AS i "
    "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.audit'::regclass ORDER BY 1"
)
_LASTS = sa.text(
    "SELECT DISTINCT ON (tenant_id) tenant_id, seq, hash FROM audit "
    "WHERE at >= CAST(:month AS date)::timestamp AT TIME ZONE 'UTC' "
    "AND at < (CAST(:month AS date)::timestamp + interval '1 month') AT TIME ZONE 'UTC' ORDER BY tenant_id, seq DESC"
)


async def add(tx: Transaction, entry: NewEntry) -> None:
    """Write an entry; holds the tenant's head until the transaction ends, so let it be the last thing done."""
    values = {name: getattr(entry, name) for name in NewEntry.__struct_fields__}
    # The number is none yet: SQLAlchemy wants to be given whatever is part of a primary key.
    await tx.execute(sa.insert(audit).values(tenant_id=tx.tenant, seq=0, **values))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window) -> Page[Entry]:
    """One page of entries.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, ENTRY, where=wanted.clauses(), order=order, window=window, key="seq")


async def how_many(tx: Transaction, wanted: Filter) -> int:
    """How many entries a filter selects."""
    return await total(tx, ENTRY, wanted.clauses())


async def links(tx: Transaction, tenant: str, *, after: int, most: int) -> list[Link]:
    """The entries that follow a number, in the order of the line."""
    where = audit.c.tenant_id == tenant, audit.c.seq > after
    return await LINK.all(tx, LINK.select().where(*where).order_by(audit.c.seq, audit.c.at).limit(most))


async def span(tx: Transaction, tenant: str, since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
    """The first and the last number between two times (`since` inclusive, `until` exclusive), or None."""
    where = [audit.c.tenant_id == tenant, *during(audit.c.at, since, until)]
    [(first, last)] = await tx.rows(sa.select(sa.func.min(audit.c.seq), sa.func.max(audit.c.seq)).where(*where))
    return None if first is None else (first, last)


async def tenants(tx: Transaction) -> list[str]:
    """Whoever has an entry, a head or an anchor; for the system alone."""
    found = sa.union(*(sa.select(table.c.tenant_id) for table in (audit, heads, anchors)))
    return sorted(name for (name,) in await tx.rows(found))


async def head(tx: Transaction, tenant: str) -> Head | None:
    """Where the line of a tenant ends, or None when it never began; for the system alone."""
    return await HEAD.first(tx, HEAD.select().where(heads.c.tenant_id == tenant))


async def anchored(tx: Transaction, tenant: str) -> list[Anchor]:
    """What was said of a tenant's entries, by number; for the system alone."""
    return await ANCHOR.all(tx, ANCHOR.select().where(anchors.c.tenant_id == tenant).order_by(anchors.c.seq))


async def unanchored(tx: Transaction, *, age: timedelta, rows: int) -> list[Head]:
    """Heads whose last anchor is older than `age` or more than `rows` entries ago; for the system alone."""
    return [Head(*row) for row in await tx.rows(_DUE, {"age": age.total_seconds(), "rows": rows})]


async def anchor(tx: Transaction, said: Sequence[Anchor]) -> None:
    """Keep what was said of some entries; for the system alone."""
    for each in said:
        await tx.execute(sa.insert(anchors).values({n: getattr(each, n) for n in Anchor.__struct_fields__}))


async def prepare(tx: Transaction, *, months: int) -> int:
    """Make room for this month and `months` more; how many were wanting. For the system alone."""
    made: int = await tx.scalar(sa.text("SELECT audit_trail.prepare(:months)"), {"months": months})
    return made


async def months(tx: Transaction) -> list[date]:
    """The months there is room for, the oldest first, each by its first day."""
    return [month for (month,) in await tx.rows(_PARTS)]


async def lasts(tx: Transaction, month: date) -> list[Head]:
    """Where the line of each tenant stood at the end of a month; for the system alone."""
    return [Head(*row) for row in await tx.rows(_LASTS, {"month": month})]


async def retire(tx: Transaction, month: date) -> None:
    """Drop a whole month that nobody has to keep any more and that has its checkpoints; for the system alone."""
    await tx.execute(sa.text("SELECT audit_trail.retire(:month)"), {"month": month})
