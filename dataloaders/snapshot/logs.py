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
    return Logs(
        timestamp=frame.now,
        logs=[
            Line(
                timestamp=line.created_at,
                level=line.level,
                message=line.message,
                source=line.source,
                category=line.category,
            )
            for line in newest
        ],
        available_sources=known,
    )
