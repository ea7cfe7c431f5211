"""The stretches of time that analytics can be asked for."""

from datetime import datetime, timedelta
from enum import StrEnum


class TimeRange(StrEnum):
    """How far back a figure looks; the value is what clients send."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def span(self) -> timedelta:
        """Its length."""
        return _SPANS[self]

    def since(self, now: datetime) -> datetime:
        """Where it begins when it ends at `now`."""
        return now - self.span


_SPANS = {
    TimeRange.HOUR: timedelta(hours=1),
    TimeRange.DAY: timedelta(days=1),
    TimeRange.WEEK: timedelta(days=7),
    TimeRange.MONTH: timedelta(days=30),
}
