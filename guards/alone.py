"""Counting calls in this process alone, for as long as Redis does not answer.

The same three algorithms by this process's own clock; what it counted is forgotten with it, and when Redis is back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from db.levels import Algorithm, Counter, Level, bucket, fixed, refilled, sliding
from db.rates import Reading

REMEMBERED: Final = 20_000
"""Counters at once; the one not used for longest is forgotten first, which only matters to who is counted on it."""


class _State(msgspec.Struct):
    """What is known of one counter; which part is used depends on its algorithm."""

    taken: list[int]
    at: int = 0
    level: int | None = None
    count: int = 0


class Alone:
    """Counts calls of one process."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._states: OrderedDict[str, _State] = OrderedDict()

    def charge(self, counters: Sequence[Counter]) -> Reading:
        """Count a call on all of its counters, or on none when one of them has no room for it."""
        now = self._clock_ns() // 1000
        states = [self._state(counter.key) for counter in counters]
        levels = [_seen(state, now, counter) for state, counter in zip(states, counters, strict=True)]
        if not all(level.fits for level in levels):
            return Reading(False, now, tuple(levels))
        for state, counter in zip(states, counters, strict=True):
            _take(state, now, counter)
        left = (_seen(state, now, counter) for state, counter in zip(states, counters, strict=True))
        return Reading(True, now, tuple(Level(True, level.remaining, level.reset_us, 0) for level in left))

    def look(self, counters: Sequence[Counter]) -> Reading:
        """How counters stand."""
        now = self._clock_ns() // 1000
        return Reading(False, now, tuple(_seen(self._state(counter.key), now, counter) for counter in counters))

    def give_back(self, counters: Sequence[Counter]) -> Reading:
        """Take off counters what was put on them last."""
        now = self._clock_ns() // 1000
        for counter in counters:
            _give(self._state(counter.key), now, counter)
        return self.look(counters)

    def forget(self) -> None:
        """Begin anew."""
        self._states.clear()

    def _state(self, key: str) -> _State:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State([])
            if len(self._states) > REMEMBERED:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(key)
        return state


def _seen(state: _State, now: int, counter: Counter) -> Level:
    match counter.algorithm:
        case Algorithm.SLIDING_WINDOW:
            return sliding(state.taken, now, counter)
        case Algorithm.TOKEN_BUCKET:
            return bucket(_level(state, now, counter), counter)
        case Algorithm.FIXED_WINDOW:
            return fixed(_count(state, now, counter), now, counter)


def _take(state: _State, now: int, counter: Counter) -> None:
    match counter.algorithm:
        case Algorithm.SLIDING_WINDOW:
            fresh = [at for at in state.taken if at > now - counter.window_us]
            state.taken = [*fresh, *[now] * counter.units]
        case Algorithm.TOKEN_BUCKET:
            state.level = _level(state, now, counter) - counter.units * counter.window_us
        case Algorithm.FIXED_WINDOW:
            state.count = _count(state, now, counter) + counter.units
    state.at = now


def _give(state: _State, now: int, counter: Counter) -> None:
    match counter.algorithm:
        case Algorithm.SLIDING_WINDOW:
            del state.taken[max(len(state.taken) - counter.units, 0) :]
        case Algorithm.TOKEN_BUCKET:
            full = counter.limit * counter.window_us
            state.level = min(_level(state, now, counter) + counter.units * counter.window_us, full)
        case Algorithm.FIXED_WINDOW:
            state.count = max(_count(state, now, counter) - counter.units, 0)
    state.at = now


def _level(state: _State, now: int, counter: Counter) -> int:
    if state.level is None:
        return counter.limit * counter.window_us
    return refilled(state.level, state.at, now, counter)


def _count(state: _State, now: int, counter: Counter) -> int:
    """How many since the window began that is now."""
    return state.count if state.at // counter.window_us == now // counter.window_us else 0
