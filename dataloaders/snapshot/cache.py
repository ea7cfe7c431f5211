"""The admin snapshot's way through Redis to every reader."""

from collections.abc import Callable
from datetime import UTC, datetime

from dataloaders.snapshot.about import About
from dataloaders.snapshot.ranges import TimeRange
from dataloaders.snapshot.whole import Snapshot
from db.database import Database
from db.redis import Redis


def _utc() -> datetime:
    return datetime.now(UTC)


class Snapshots:
    """The snapshots of all tenants, as one process reads and builds them."""

    def __init__(
        self, database: Database, redis: Redis, about: About, *, clock: Callable[[], datetime] = _utc
    ) -> None:
        self._database, self._redis, self._about, self._clock = database, redis, about, clock

    async def current(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> Snapshot:
        """A tenant's snapshot, at most a few seconds old."""
        raise LookupError(tenant)

    async def encoded(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> bytes:
        """The same as JSON, byte for byte as it is stored."""
        raise LookupError(tenant)

    async def rebuild(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> Snapshot:
        """Collect a tenant's snapshot anew and put it in the cache."""
        raise LookupError(tenant)

    async def expire(self, tenant: str) -> None:
        """Have the next reader start a rebuild, because something has changed."""

    async def warm_all(self) -> None:
        """Rebuild the snapshots that are being read; for a cron every few seconds."""

    async def close(self) -> None:
        """Cancel what is still being built here."""
