"""The log of a tenant: lines that processes wrote, in the order of time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.records import Severity, logs
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape


class LogLine(Row, frozen=True):
    """One line that a process wrote."""

    id: UUID
    level: Severity
    source: str
    """Which part of the house wrote it."""

    category: str
    message: str
    trace_id: str | None
    """The operation it belongs to."""

    data: dict[str, Any]
    created_at: datetime


class NewLine(Row, frozen=True, kw_only=True):
    """A line to be written."""

    level: Severity
    source: str
    message: str
    category: str = "application"
    trace_id: str | None = None
    data: Mapping[str, Any] = {}


class Filter(Row, frozen=True, kw_only=True):
    """Which lines; every part that is set must hold."""

    levels: Collection[Severity] = ()
    source: str | None = None
    category: str | None = None
    trace_id: str | None = None
    message_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = logs.c
        found = during(c.created_at, self.created_after, self.created_before)
        if self.levels:
            found.append(c.level.in_(self.levels))
        for column, value in ((c.source, self.source), (c.category, self.category), (c.trace_id, self.trace_id)):
            if value is not None:
                found.append(column == value)
        if self.message_contains:
            found.append(c.message.icontains(self.message_contains, autoescape=True))
        return found


LINE = Shape(LogLine, logs)

_NEWEST = LINE.select().order_by(logs.c.created_at.desc(), logs.c.id.desc()).limit(sa.bindparam("most"))

# From one source to the next along the index: as many steps as there are sources, however many lines there are.
_SOURCES = sa.text(
    "WITH RECURSIVE found AS ((SELECT source FROM logs WHERE tenant_id = :tenant ORDER BY source LIMIT 1) UNION ALL "
    "SELECT (SELECT logs.source FROM logs WHERE tenant_id = :tenant AND logs.source > found.source "
    "ORDER BY logs.source LIMIT 1) FROM found WHERE found.source IS NOT NULL) "
    "SELECT source FROM found WHERE source IS NOT NULL"
)


async def write(tx: Transaction, lines: Sequence[NewLine]) -> None:
    """Write lines in one statement; their time is the transaction's."""
    if not lines:
        return
    written = [{name: getattr(line, name) for name in NewLine.__struct_fields__} for line in lines]
    await tx.execute(sa.insert(logs), [{"tenant_id": tx.tenant, **values} for values in written])


async def by_id(tx: Transaction, line_id: UUID) -> LogLine | None:
    """One line, or None."""
    return await LINE.first(tx, LINE.select().where(logs.c.id == line_id))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window) -> Page[LogLine]:
    """One page of lines.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, LINE, where=wanted.clauses(), order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter) -> int:
    """How many lines a filter selects."""
    return await total(tx, LINE, wanted.clauses())


async def newest(tx: Transaction, *, most: int) -> list[LogLine]:
    """The newest lines first."""
    return [LogLine(*row) for row in await tx.rows(_NEWEST, {"most": most})]


async def sources(tx: Transaction) -> list[str]:
    """Who has written lines, in the order of the alphabet."""
    return [source for (source,) in await tx.rows(_SOURCES, {"tenant": tx.tenant})]
