"""Histograms: a figure is as close as promised, whatever was added to whatever."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.histograms import ERROR, GROWTH, LAST, LONGEST_US, bucket_of, quantile_us, us_of

DURATIONS = st.floats(min_value=1.0, max_value=LONGEST_US)
SHARES = st.floats(min_value=0.001, max_value=1.0)


def exact(durations: Sequence[float], share: float) -> float:
    """What a share of them took at most, by sorting them all."""
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


def spread(durations: Sequence[float]) -> Counter[int]:
    return Counter(map(bucket_of, durations))


@given(DURATIONS)
def test_a_class_tells_each_of_its_durations_within_five_percent(duration: float) -> None:
    assert abs(us_of(bucket_of(duration)) - duration) <= 0.05 * duration


def test_the_error_that_is_stated_is_that_of_the_ends_of_a_class() -> None:
    middle = us_of(100)

    assert math.isclose(ERROR, 1 - middle / GROWTH**100)
    assert math.isclose(ERROR, middle / GROWTH**99 - 1)
    assert 0.047 < ERROR < 0.048


@given(st.lists(st.lists(DURATIONS), min_size=1, max_size=4), SHARES)
def test_parts_added_up_tell_what_all_of_it_would(parts: list[list[float]], share: float) -> None:
    """The promise as a whole: merged over processes, a quantile is within the error of the exact one."""
    everything = [duration for part in parts for duration in part]
    merged = sum(map(spread, parts), Counter[int]())

    told = quantile_us(merged, share)

    if not everything:
        assert None is told
    else:
        assert told is not None
        assert abs(told - exact(everything, share)) <= 0.05 * exact(everything, share)


@given(st.lists(DURATIONS, min_size=1), SHARES, st.integers(2, 5))
def test_the_mean_of_quantiles_is_not_the_quantile_of_the_whole(
    durations: list[float], share: float, parts: int
) -> None:
    """Only classes are added; the same figure comes of the parts in any order, which no mean of figures gives."""
    split = [durations[number::parts] for number in range(parts)]

    assert quantile_us(spread(durations), share) == quantile_us(
        sum(map(spread, reversed(split)), Counter[int]()), share
    )


def test_control_averaging_the_quantiles_of_two_processes_misses_by_far() -> None:
    """The weakened twin: what adding classes is for."""
    quick, slow = [1_000.0] * 99, [100_000.0]
    averaged = ((quantile_us(spread(quick), 0.95) or 0) + (quantile_us(spread(slow), 0.95) or 0)) / 2

    merged = quantile_us(spread(quick) + spread(slow), 0.95)

    assert merged is not None
    assert abs(merged - 1_000) <= 50
    assert averaged > 40 * merged


@pytest.mark.parametrize(("us", "bucket"), [(-1.0, 0), (0.0, 0), (1.0, 0), (1.01, 1), (LONGEST_US * 9, LAST)])
def test_what_is_out_of_range_counts_in_the_class_at_that_end(us: float, bucket: int) -> None:
    assert bucket == bucket_of(us)


def test_an_hour_falls_into_the_last_class() -> None:
    assert LAST == bucket_of(LONGEST_US)
    assert abs(us_of(LAST) - LONGEST_US) <= 0.05 * LONGEST_US
