"""Counting calls without a store: three ways to say whether some more still fit, told the time from outside.

All times are whole microseconds, so nothing is lost to rounding. `db.rates` has the same three as scripts for Redis.
"""

from collections.abc import Sequence
from enum import StrEnum

from db.rows import Row

SECOND: int = 1_000_000


class Algorithm(StrEnum):
    """How calls are counted."""

    SLIDING_WINDOW = "sliding_window"
    """At most the limit in any stretch of the window's length; exact."""

    TOKEN_BUCKET = "token_bucket"
    """The limit at once, coming back evenly over the window."""

    FIXED_WINDOW = "fixed_window"
    """The limit from one full window of the clock to the next; up to twice of it around their border."""


class Counter(Row, frozen=True):
    """One limit that a call counts against, and how much of it the call wants."""

    key: str
    algorithm: Algorithm
    limit: int
    window_us: int
    units: int


class Level(Row, frozen=True):
    """How one counter stands."""

    fits: bool
    """Whether what was wanted is to be had."""

    remaining: int
    reset_us: int
    """In how long there is more than now; 0 when nothing is used."""

    wait_us: int | None
    """In how long what was wanted fits; None when it never does."""


def sliding(taken: Sequence[int], now: int, counter: Counter) -> Level:
    """How a sliding window stands, by the moments of its units, oldest first; those it has left behind do not count."""
    fresh = [at for at in taken if at > now - counter.window_us]
    over = len(fresh) + counter.units - counter.limit
    reset = fresh[0] + counter.window_us - now if fresh else 0
    wait: int | None = 0
    if over > 0:
        wait = fresh[over - 1] + counter.window_us - now if counter.units <= counter.limit else None
    return Level(over <= 0, max(counter.limit - len(fresh), 0), reset, wait)


def refilled(level: int, at: int, now: int, counter: Counter) -> int:
    """A bucket's level, in units times microseconds of the window, once it has run in since `at`."""
    return min(level + min(max(now - at, 0), counter.window_us) * counter.limit, counter.limit * counter.window_us)


def bucket(level: int, counter: Counter) -> Level:
    """How a token bucket stands at a level that has been refilled just now."""
    short = counter.units * counter.window_us - level
    whole = level // counter.window_us
    reset = 0
    if whole < counter.limit:
        reset = -(-((whole + 1) * counter.window_us - level) // counter.limit)
    wait: int | None = 0
    if short > 0:
        wait = -(-short // counter.limit) if counter.units <= counter.limit else None
    return Level(short <= 0, whole, reset, wait)


def fixed(count: int, now: int, counter: Counter) -> Level:
    """How a fixed window stands that has counted so many since it began."""
    ends = counter.window_us - now % counter.window_us
    fits = count + counter.units <= counter.limit
    wait = 0 if fits else ends if counter.units <= counter.limit else None
    return Level(fits, max(counter.limit - count, 0), ends if count else 0, wait)
