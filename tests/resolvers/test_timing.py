"""Lengths of time are positive numbers of a sensible precision."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from resolvers import timing

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_what_something_took_is_told_to_the_microsecond() -> None:
    took_ms = timing.ms_since(time.perf_counter() - 0.25)

    assert 250 <= took_ms < 60_000
    assert round(took_ms, 3) == took_ms


@pytest.mark.parametrize(
    ("ago", "told"),
    [(timedelta(seconds=90, milliseconds=49), 90.0), (timedelta(milliseconds=60), 0.1), (timedelta(seconds=-3), 0.0)],
)
def test_an_age_is_never_below_zero_however_clocks_differ(ago: timedelta, told: float) -> None:
    assert told == timing.age_s(NOW - ago, NOW)
