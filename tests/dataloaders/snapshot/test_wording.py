"""Sizes and spans as a person reads them."""

from datetime import timedelta

import pytest

from dataloaders.snapshot.wording import size, span


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=59), "0m"),
        (timedelta(minutes=10), "10m"),
        (timedelta(hours=2, minutes=5), "2h 5m"),
        (timedelta(days=3, hours=4, minutes=5), "3d 4h"),
        (timedelta(seconds=-5), "0m"),
    ],
)
def test_a_span_has_at_most_two_parts(passed: timedelta, said: str) -> None:
    assert said == span(passed)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (3 * 1024**3, "3.0 GB"), (2 * 1024**4, "2.0 TB")],
)
def test_a_size_is_in_the_unit_that_fits(count: int, said: str) -> None:
    assert said == size(count)
