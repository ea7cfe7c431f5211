"""Where the sections take their figures from, and whose they are to collect."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dataloaders.snapshot.about import About
from dataloaders.snapshot.host import Host
from dataloaders.snapshot.ranges import TimeRange
from db.database import Database
from db.health import PoolWatch
from db.redis import Redis

if TYPE_CHECKING:
    from dataloaders.snapshot.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What this process can ask."""

    database: Database
    redis: Redis
    pool: PoolWatch
    host: Host
    about: About


@dataclass(slots=True, kw_only=True)
class Frame:
    """One build of a snapshot; the same for all of its sections."""

    tenant: str
    time_range: TimeRange
    now: datetime
    counting: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    counted: "Work | None" = field(default=None, repr=False)
    """What several sections show; read once, by `work.counted`."""

    @property
    def hour(self) -> datetime:
        """When the present clock hour began."""
        return self.now.replace(minute=0, second=0, microsecond=0)

    @property
    def today(self) -> datetime:
        """When the present day began, in UTC."""
        return self.hour.replace(hour=0)

    @property
    def yesterday(self) -> datetime:
        """A day ago, as the clock hour it lies in."""
        return self.hour - timedelta(days=1)

    @property
    def since(self) -> datetime:
        """When the asked stretch of time begins, as the clock hour it lies in."""
        return self.hour - self.time_range.span
