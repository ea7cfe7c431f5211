"""Histograms of durations that add up: how long things took, in classes that are the same everywhere and for ever.

Each class ends a tenth later than the one before, and is told by the value that is equally far from both of its ends:
so a figure read from it is at most `ERROR` (4.8 %) off, whatever was added to whatever, in whichever order. Classes
begin at one microsecond and end at an hour; what took longer counts as an hour.
"""

import math
from collections.abc import Mapping
from typing import Final

GROWTH: Final = 1.1
ERROR: Final = (GROWTH - 1) / (GROWTH + 1)
"""By how much a figure may be off, as a share of the true one."""

LONGEST_US: Final = 3_600_000_000.0

_STEP: Final = math.log(GROWTH)
LAST: Final = math.ceil(math.log(LONGEST_US) / _STEP)
"""The class of what took longest; the first is 0."""


def bucket_of(us: float) -> int:
    """Into which class a duration in microseconds falls."""
    return 0 if us <= 1 else min(math.ceil(math.log(us) / _STEP), LAST)


def us_of(bucket: int) -> float:
    """The microseconds that stand for a class."""
    return 2 * GROWTH**bucket / (GROWTH + 1)


def quantile_us(counts: Mapping[int, int], share: float) -> float | None:
    """What `share` (0..1) of the durations took at most; None when there are none.

    Args:
        counts: how many fell into each class; absent ones had none.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank, seen = max(1, math.ceil(share * total)), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return us_of(bucket)
    raise AssertionError("the ranks of all durations are within their number")
