"""Counting alone: the same limits by a process's own clock, to be told from outside here."""

from hypothesis import given, settings
from hypothesis import strategies as st

from db.levels import Algorithm, Counter
from guards import alone
from guards.alone import Alone
from tests.reckoning import EXACT, Taken

WINDOW_US = 1_000
CALLS = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 4)), max_size=40)
"""How long after the one before, and how many units."""


class Clock:
    """A clock that tests set, in nanoseconds as the system's."""

    def __init__(self) -> None:
        self.us = 1_000_000_000

    def __call__(self) -> int:
        return self.us * 1000


def counter(algorithm: Algorithm, limit: int, units: int = 1, key: str = "it") -> Counter:
    return Counter(key, algorithm, limit, WINDOW_US, units)


@settings(max_examples=300, database=None, derandomize=True)
@given(calls=CALLS, limit=st.integers(1, 10), algorithm=st.sampled_from(Algorithm))
def test_what_is_admitted_is_what_an_exact_reckoning_admits(
    calls: list[tuple[int, int]], limit: int, algorithm: Algorithm
) -> None:
    clock = Clock()
    counts = Alone(clock)
    taken: Taken = []
    for later, units in calls:
        clock.us += later
        expected = EXACT[algorithm](taken, clock.us, units, limit, WINDOW_US)

        assert expected is counts.charge([counter(algorithm, limit, units)]).taken

        if expected:
            taken.append((clock.us, units))


@settings(max_examples=200, database=None, derandomize=True)
@given(calls=CALLS, limit=st.integers(1, 10), algorithm=st.sampled_from(Algorithm))
def test_who_waits_as_long_as_told_is_admitted_and_a_moment_earlier_is_not(
    calls: list[tuple[int, int]], limit: int, algorithm: Algorithm
) -> None:
    clock = Clock()
    counts = Alone(clock)
    for later, units in calls:
        clock.us += later
        it = counter(algorithm, limit, units)
        reading = counts.charge([it])
        if reading.taken:
            continue
        wait = reading.levels[0].wait_us
        assert (wait is None) is (units > limit)
        if wait is not None:
            clock.us += wait - 1
            assert not counts.charge([it]).taken
            clock.us += 1
            assert counts.charge([it]).taken


def test_all_are_charged_or_none() -> None:
    counts = Alone(Clock())
    full, free = counter(Algorithm.SLIDING_WINDOW, 1, key="full"), counter(Algorithm.SLIDING_WINDOW, 5, key="free")
    counts.charge([full])

    assert not counts.charge([free, full]).taken
    assert 5 == counts.look([free]).levels[0].remaining


def test_what_is_given_back_is_there_again() -> None:
    for algorithm in Algorithm:
        counts = Alone(Clock())
        it = counter(algorithm, 5, 3)
        counts.charge([it])

        assert 5 == counts.give_back([it]).levels[0].remaining


def test_it_holds_so_many_counters_and_forgets_the_one_not_used_for_longest() -> None:
    counts = Alone(Clock())
    first, second = (counter(Algorithm.SLIDING_WINDOW, 1, key=name) for name in ("first", "second"))
    for it in (first, second, first):
        counts.charge([it])

    for number in range(alone.REMEMBERED - 1):
        counts.look([counter(Algorithm.SLIDING_WINDOW, 1, key=str(number))])

    assert 0 == counts.look([first]).levels[0].remaining
    assert 1 == counts.look([second]).levels[0].remaining
