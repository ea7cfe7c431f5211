"""The log of a tenant: lines that processes wrote, in the order of time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa
from uuid_utils.compat import uuid7

from db import events
from db.database import Transaction
from db.events import Event, Kind
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


class Mention(Row, frozen=True, kw_only=True):
    """A line as the event of its writing names it: by all that takes little room."""

    id: UUID
    level: Severity
    source: str
    category: str
    trace_id: str | None


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

    def may_select(self, line: Mention, at: datetime) -> bool:
        """Whether a line that was written then is one of them, as far as that shows without its message."""
        return (
            (not self.levels or line.level in self.levels)
            and self.source in (None, line.source)
            and self.category in (None, line.category)
            and self.trace_id in (None, line.trace_id)
            and (self.created_after is None or at >= self.created_after)
            and (self.created_before is None or at < self.created_before)
        )


class Counted(Row, frozen=True):
    """How many lines there are, counted no further than `MOST_COUNTED`."""

    lines: int
    more: bool
    """Whether there are more than were counted."""


class Written(Row, frozen=True):
    """How many lines of one level a source wrote in one clock hour."""

    hour: datetime
    level: Severity
    source: str
    lines: int


class Minute(Row, frozen=True):
    """What was written within one minute."""

    minute: datetime
    lines: int
    errors: int
    """Of these, errors and worse."""


MOST_COUNTED: Final = 10_000
"""How far lines are counted where somebody waits for the number."""

MOST_ADDED_UP: Final = 200_000
"""How many of the newest lines figures over time are made of."""

LINE = Shape(LogLine, logs)

_NEWEST_FIRST = (logs.c.created_at.desc(), logs.c.id.desc())
_OLDEST_FIRST = (logs.c.created_at, logs.c.id)

_NEWEST = LINE.select().order_by(*_NEWEST_FIRST).limit(sa.bindparam("most"))

# From one source to the next along the index: as many steps as there are sources, however many lines there are.
_SOURCES = sa.text(
    "WITH RECURSIVE found AS ((SELECT source FROM logs WHERE tenant_id = :tenant ORDER BY source LIMIT 1) UNION ALL "
    "SELECT (SELECT logs.source FROM logs WHERE tenant_id = :tenant AND logs.source > found.source "
    "ORDER BY logs.source LIMIT 1) FROM found WHERE found.source IS NOT NULL) "
    "SELECT source FROM found WHERE source IS NOT NULL"
)

_WRITTEN = sa.text(
    "WITH newest AS (SELECT created_at, level, source FROM logs WHERE created_at >= :since AND created_at < :until "
    "ORDER BY created_at DESC LIMIT :most) "
    "SELECT date_trunc('hour', created_at), level, source, count(*) FROM newest GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
_MINUTES = sa.text(
    "WITH newest AS (SELECT created_at, level FROM logs WHERE created_at >= :since "
    "ORDER BY created_at DESC LIMIT :most) "
    "SELECT date_trunc('minute', created_at), count(*), count(*) FILTER (WHERE level IN ('error', 'critical')) "
    "FROM newest GROUP BY 1 ORDER BY 1"
)


async def write(tx: Transaction, lines: Sequence[NewLine]) -> None:
    """Write lines in one statement, and tell of them with one event; their time is the transaction's."""
    if not lines:
        return
    written = [{"id": uuid7(), **{name: getattr(line, name) for name in NewLine.__struct_fields__}} for line in lines]
    await tx.execute(sa.insert(logs), [{"tenant_id": tx.tenant, **values} for values in written])
    named = [{name: values[name] for name in Mention.__struct_fields__} for values in written]
    await events.record(tx, Kind.LOG_APPENDED, str(written[0]["id"]), msgspec.to_builtins({"lines": named}))


def mentioned(told: Event) -> list[Mention]:
    """The lines that an event tells of."""
    return msgspec.convert(told.payload["lines"], list[Mention])


async def chosen(tx: Transaction, ids: Collection[UUID], wanted: Filter) -> list[LogLine]:
    """Those of some lines that a filter selects and that are still there, the oldest first."""
    return await LINE.all(tx, LINE.select().where(logs.c.id.in_(ids), *wanted.clauses()).order_by(*_OLDEST_FIRST))


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


async def stretch(
    tx: Transaction, wanted: Filter, *, beyond: LogLine | None = None, most: int, oldest_first: bool = False
) -> list[LogLine]:
    """The first lines that a filter selects, or those behind one that was read before; the newest come first.

    Args:
        oldest_first: the other way round.
    """
    statement = LINE.select().where(*wanted.clauses())
    if beyond is not None:
        here = sa.tuple_(logs.c.created_at, logs.c.id)
        there = sa.tuple_(sa.literal(beyond.created_at, logs.c.created_at.type), sa.literal(beyond.id, sa.Uuid()))
        statement = statement.where(here > there if oldest_first else here < there)
    return await LINE.all(tx, statement.order_by(*(_OLDEST_FIRST if oldest_first else _NEWEST_FIRST)).limit(most))


async def counted(tx: Transaction, wanted: Filter) -> Counted:
    """How many lines a filter selects, as far as they are counted; costs no more when there are more."""
    some = sa.select(logs.c.id).where(*wanted.clauses()).limit(MOST_COUNTED + 1).subquery()
    lines: int = await tx.scalar(sa.select(sa.func.count()).select_from(some))
    return Counted(min(lines, MOST_COUNTED), lines > MOST_COUNTED)


async def written(tx: Transaction, since: datetime, until: datetime) -> list[Written]:
    """What was written in each clock hour, by level and source, of the newest `MOST_ADDED_UP` lines of that time."""
    rows = await tx.rows(_WRITTEN, {"since": since, "until": until, "most": MOST_ADDED_UP})
    return [Written(hour, Severity(level), *rest) for hour, level, *rest in rows]


async def minutes(tx: Transaction, since: datetime) -> list[Minute]:
    """What was written in each minute since then, of the newest `MOST_ADDED_UP` lines."""
    return [Minute(*row) for row in await tx.rows(_MINUTES, {"since": since, "most": MOST_ADDED_UP})]


async def moment(tx: Transaction, *, ago: timedelta = timedelta(0)) -> datetime:
    """The time of the database, by which lines are dated, so long ago."""
    at: datetime = await tx.scalar(sa.select(sa.func.now() - ago))
    return at


async def clear(tx: Transaction, wanted: Filter, *, most: int) -> int:
    """Remove some of the lines that a filter selects, the oldest first; how many those were."""
    some = sa.select(logs.c.id).where(*wanted.clauses()).order_by(*_OLDEST_FIRST).limit(most)
    return await tx.changed(sa.delete(logs).where(logs.c.id.in_(some)))
