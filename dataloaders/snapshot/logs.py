"""The newest log lines, and what they can be filtered by."""

from datetime import datetime
from typing import Final

import msgspec

from dataloaders.snapshot.sources import Frame, Sources
from db import logs
from db.models.records import Severity

LINES_SHOWN: Final = 100


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One log line."""

    timestamp: datetime
    level: Severity
    message: str
    source: str
    category: str


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines these are."""

    limit: int = LINES_SHOWN
    offset: int = 0
    level: str = "all"


class Filtered(Applied, frozen=True, kw_only=True):
    """Which lines these are when somebody has asked for certain ones."""

    source: str = "all"
    category: str = "all"
    search: str = ""


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """The newest log lines first."""

    timestamp: datetime
    logs: list[Line]
    available_sources: list[str]
    available_levels: tuple[Severity, ...] = tuple(Severity)
    applied_filters: Applied = Applied()
    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> Logs:
    """The newest log lines, from one transaction."""
    async with sources.database.transaction(frame.tenant) as tx:
        newest = await logs.newest(tx, most=LINES_SHOWN)
        known = await logs.sources(tx)
    return Logs(timestamp=frame.now, logs=[_shown(line) for line in newest], available_sources=known)


async def filtered(sources: Sources, tenant: str, wanted: logs.Filter, applied: Filtered) -> Logs:
    """The newest of certain log lines, as they are now, from one transaction.

    Args:
        wanted: which; `applied` says the same in the words of who asked, with how many and from where on.
    """
    async with sources.database.transaction(tenant) as tx:
        newest = await logs.stretch(tx, wanted, most=applied.offset + applied.limit)
        known, now = await logs.sources(tx), await logs.moment(tx)
    shown = [_shown(line) for line in newest[applied.offset :]]
    return Logs(timestamp=now, logs=shown, available_sources=known, applied_filters=applied)


def _shown(line: logs.LogLine) -> Line:
    return Line(
        timestamp=line.created_at,
        level=line.level,
        message=line.message,
        source=line.source,
        category=line.category,
    )
