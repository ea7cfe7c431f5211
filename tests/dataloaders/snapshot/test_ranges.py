"""The stretches of time that clients may ask for."""

from datetime import UTC, datetime, timedelta

import pytest

from dataloaders.snapshot import TimeRange


@pytest.mark.parametrize(("value", "hours"), [("1h", 1), ("24h", 24), ("7d", 168), ("30d", 720)])
def test_each_is_as_long_as_it_is_called(value: str, hours: int) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)

    assert timedelta(hours=hours) == TimeRange(value).span == now - TimeRange(value).since(now)
