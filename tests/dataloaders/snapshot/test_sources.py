"""A build's frame: the hours that its figures are counted from."""

from datetime import UTC, datetime

import pytest

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.sources import Frame

NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time_range", "since"),
    [
        (TimeRange.HOUR, datetime(2026, 3, 1, 11, tzinfo=UTC)),
        (TimeRange.DAY, datetime(2026, 2, 28, 12, tzinfo=UTC)),
        (TimeRange.WEEK, datetime(2026, 2, 22, 12, tzinfo=UTC)),
        (TimeRange.MONTH, datetime(2026, 1, 30, 12, tzinfo=UTC)),
    ],
)
def test_a_stretch_of_time_begins_with_a_whole_hour(time_range: TimeRange, since: datetime) -> None:
    assert since == Frame(tenant="default", time_range=time_range, now=NOW).since


def test_days_are_those_of_utc() -> None:
    frame = Frame(tenant="default", time_range=TimeRange.HOUR, now=NOW)

    assert datetime(2026, 3, 1, tzinfo=UTC) == frame.today
    assert datetime(2026, 2, 28, 12, tzinfo=UTC) == frame.yesterday
