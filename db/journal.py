"""The journal of a tenant: log lines, and the system events that people should know of."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.records import Severity, logs, system_events
from db.pages import Order, Page, Window, page, total
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


class SystemEvent(Row, frozen=True):
    """Something about the system itself that people should know of."""

    id: UUID
    kind: str
    severity: Severity
    source: str
    message: str
    data: dict[str, Any]
    created_at: datetime


class LogFilter(Row, frozen=True, kw_only=True):
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
        found: list[sa.ColumnElement[bool]] = _during(logs, self.created_after, self.created_before)
        if self.levels:
            found.append(c.level.in_(self.levels))
        for column, value in ((c.source, self.source), (c.category, self.category), (c.trace_id, self.trace_id)):
            if value is not None:
                found.append(column == value)
        if self.message_contains:
            found.append(c.message.icontains(self.message_contains, autoescape=True))
        return found


class EventFilter(Row, frozen=True, kw_only=True):
    """Which system events; every part that is set must hold."""

    severities: Collection[Severity] = ()
    kind: str | None = None
    source: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = system_events.c
        found: list[sa.ColumnElement[bool]] = _during(system_events, self.created_after, self.created_before)
        if self.severities:
            found.append(c.severity.in_(self.severities))
        for column, value in ((c.kind, self.kind), (c.source, self.source)):
            if value is not None:
                found.append(column == value)
        return found


LINE = Shape(LogLine, logs)
EVENT = Shape(SystemEvent, system_events)


async def line(tx: Transaction, line_id: UUID) -> LogLine | None:
    """One log line, or None."""
    return await LINE.first(tx, LINE.select().where(logs.c.id == line_id))


async def lines(tx: Transaction, wanted: LogFilter, order: Order, window: Window) -> Page[LogLine]:
    """One page of log lines.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, LINE, where=wanted.clauses(), order=order, window=window)


async def how_many_lines(tx: Transaction, wanted: LogFilter) -> int:
    """How many log lines a filter selects."""
    return await total(tx, LINE, wanted.clauses())


async def event(tx: Transaction, event_id: UUID) -> SystemEvent | None:
    """One system event, or None."""
    return await EVENT.first(tx, EVENT.select().where(system_events.c.id == event_id))


async def events(tx: Transaction, wanted: EventFilter, order: Order, window: Window) -> Page[SystemEvent]:
    """One page of system events.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, EVENT, where=wanted.clauses(), order=order, window=window)


async def how_many_events(tx: Transaction, wanted: EventFilter) -> int:
    """How many system events a filter selects."""
    return await total(tx, EVENT, wanted.clauses())


def _during(table: sa.Table, after: datetime | None, before: datetime | None) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if after:
        found.append(table.c.created_at >= after)
    if before:
        found.append(table.c.created_at < before)
    return found
