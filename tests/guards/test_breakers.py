"""One breaker by itself leaves alone what fails, and lets one call find out whether that is over."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from db.breakers import Decision
from guards.breakers import (
    RULES,
    Breaker,
    BreakerState,
    Dependency,
    Outcome,
    Permit,
    Rules,
)
from guards.errors import CircuitOpen
from tests.guards.breaking import SMALL, Clock, half


class Reference:
    """The same automaton, as one would write it on a blackboard."""

    def __init__(self) -> None:
        self.state, self.isolated, self.turn, self.trips = "closed", False, 0, 0
        self.until, self.serial = 0.0, 0
        self.ended: list[tuple[float, Outcome]] = []
        self.probe: tuple[int, float] | None = None

    def enter(self, now: float) -> tuple[int, int] | None:
        if self.isolated or (self.state == "open" and now < self.until):
            return None
        if self.state == "open":
            self.go("half_open")
        if self.state == "half_open" and self.probe is not None and self.probe[1] > now:
            return None
        self.serial += 1
        if self.state == "half_open":
            self.probe = self.serial, now + SMALL.lease_s
        return self.serial, self.turn

    def leave(self, call: tuple[int, int], now: float, outcome: Outcome) -> None:
        if call[1] != self.turn or (self.state == "half_open" and (self.probe is None or self.probe[0] != call[0])):
            return
        self.probe = None
        if outcome is Outcome.NEITHER:
            return
        if self.state == "half_open":
            self.go("closed", trips=0) if outcome is Outcome.DONE else self.trip(now)
            return
        self.ended.append((now, outcome))
        recent = [each for at, each in self.ended if at > now - SMALL.window_s]
        failed, slow = recent.count(Outcome.FAILED), recent.count(Outcome.SLOW)
        if len(recent) >= SMALL.least_calls and (failed >= 0.5 * len(recent) or slow >= 0.8 * len(recent)):
            self.trip(now)

    def trip(self, now: float) -> None:
        self.go("open", trips=self.trips + 1)
        self.until = now + 1 + 0.5 * (min(8, 2**self.trips) - 1)

    def go(self, state: str, *, trips: int | None = None) -> None:
        self.state, self.turn, self.ended, self.probe = state, self.turn + 1, [], None
        self.trips = self.trips if trips is None else trips


class Machine(RuleBasedStateMachine):
    """Both automata, told the same."""

    made: Callable[..., Breaker] = Breaker

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.model = Clock(), Reference()
        self.breaker = type(self).made("it", SMALL, clock=self.clock, chance=half)
        self.held: list[tuple[Permit, tuple[int, int], float]] = []
        self.version = 0

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        expected = self.model.enter(self.clock.now)
        try:
            permit = self.breaker.enter()
        except CircuitOpen:
            assert expected is None
        else:
            assert expected is not None
            self.held.append((permit, expected, self.clock.now))

    @rule(which=st.integers(0, 7), outcome=st.sampled_from((Outcome.DONE, Outcome.FAILED, Outcome.NEITHER)))
    def end(self, which: int, outcome: Outcome) -> None:
        if not self.held:
            return
        permit, call, began_at = self.held.pop(which % len(self.held))
        slow = outcome is Outcome.DONE and self.clock.now - began_at > SMALL.slow_after_s
        self.model.leave(call, self.clock.now, Outcome.SLOW if slow else outcome)
        self.breaker.leave(permit, outcome)

    @rule(outcome=st.sampled_from((Outcome.DONE, Outcome.FAILED, Outcome.FAILED, Outcome.NEITHER)))
    def call(self, outcome: Outcome) -> None:
        before = len(self.held)
        self.begin()
        if len(self.held) > before:
            self.end(before, outcome)

    @rule()
    def trouble(self) -> None:
        for _ in range(SMALL.least_calls):
            self.call(Outcome.FAILED)

    @rule()
    def try_without_end(self) -> None:
        self.trouble()
        self.time_passes(SMALL.longest_s)
        self.begin()
        self.time_passes(SMALL.lease_s)

    @rule(outcome=st.sampled_from((Outcome.DONE, Outcome.FAILED)))
    def late_news(self, outcome: Outcome) -> None:
        before = len(self.held)
        self.begin()
        self.trouble()
        self.time_passes(SMALL.longest_s)
        self.begin()
        if len(self.held) > before:
            self.end(before, outcome)

    @rule(isolated=st.sampled_from((True, False, False)))
    def by_hand(self, isolated: bool) -> None:
        self.version += 1
        self.breaker.obey(decision(isolated=isolated, version=self.version))
        self.model.isolated = isolated
        self.model.go("closed", trips=0)

    @invariant()
    def they_stand_alike(self) -> None:
        assert ("isolated" if self.model.isolated else self.model.state) == self.breaker.state


class Eager(Breaker):
    """Lets everybody try at once."""

    def enter(self) -> Permit:
        permit = super().enter()
        self._leases.clear()
        self._leases[permit.number] = 0.0
        return permit


class Faithful(Breaker):
    """Waits for ever for a try that never ends."""

    def __init__(self, name: str, rules: Rules, **given: Any) -> None:
        super().__init__(name, Rules(**{**as_given(rules), "lease_s": 1e9}), **given)


class Sensitive(Breaker):
    """Blames the dependency for whatever happens."""

    def leave(self, permit: Permit, outcome: Outcome) -> None:
        super().leave(permit, Outcome.FAILED if outcome is Outcome.NEITHER else outcome)


class Forgetful(Breaker):
    """Takes the end of a call for news of a time it does not come from."""

    def leave(self, permit: Permit, outcome: Outcome) -> None:
        permit.era = self._era
        super().leave(permit, outcome)


def as_given(rules: Rules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in Rules.__slots__}


def decision(*, isolated: bool, version: int) -> Decision:
    return Decision("it", isolated, None, None, version, datetime.now(UTC))


THOROUGH = settings(max_examples=100, stateful_step_count=30, derandomize=True, database=None)


def test_a_breaker_does_what_the_reference_does() -> None:
    run_state_machine_as_test(Machine, settings=THOROUGH)


@pytest.mark.parametrize("weak", [Eager, Faithful, Sensitive, Forgetful])
def test_a_weaker_breaker_is_told_from_the_reference(weak: type[Breaker]) -> None:
    class Weakened(Machine):
        made = weak

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Weakened, settings=settings(THOROUGH, max_examples=5_000, phases=[Phase.generate]))


def tripped(made: type[Breaker] = Breaker, rules: Rules = SMALL) -> tuple[Breaker, Clock]:
    """A breaker that has opened and may be tried."""
    clock = Clock()
    breaker = made("it", rules, clock=clock, chance=half)
    for _ in range(rules.least_calls):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    assert BreakerState.OPEN is breaker.state
    clock.now += rules.longest_s
    return breaker, clock


async def reached(breaker: Breaker, callers: int) -> int:
    """How many of many callers at once reach a dependency that does not answer for a while."""
    arrived, answers = 0, asyncio.Event()

    async def call() -> None:
        nonlocal arrived
        try:
            permit = breaker.enter()
        except CircuitOpen:
            return
        arrived += 1
        await answers.wait()
        breaker.leave(permit, Outcome.FAILED)

    async def last() -> None:
        # Begun after all the others, so each of them has come as far as it can.
        answers.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
        group.create_task(last())
    return arrived


async def test_one_of_a_hundred_callers_finds_out_whether_it_is_over() -> None:
    breaker, _ = tripped()

    assert 1 == await reached(breaker, 100)


class Naive(Breaker):
    """Half open is a state like any other: whoever sees it goes through."""

    def enter(self) -> Permit:
        if self._state is not BreakerState.HALF_OPEN:
            return super().enter()
        self._numbers += 1
        self._leases[self._numbers] = 1e9
        return Permit(self._era, self._numbers, self._clock())


async def test_of_a_naive_breaker_all_hundred_do() -> None:
    breaker, _ = tripped(Naive)

    assert 100 == await reached(breaker, 100)


def test_a_try_that_hangs_makes_room_when_its_lease_is_over_and_its_end_is_no_news() -> None:
    breaker, clock = tripped()
    hanging = breaker.enter()
    clock.now += SMALL.lease_s

    breaker.enter()
    breaker.leave(hanging, Outcome.DONE)

    assert BreakerState.HALF_OPEN is breaker.state


@pytest.mark.parametrize("seed", range(5))
def test_after_two_seconds_of_trouble_it_is_used_again_within_twice_the_time_it_was_left_alone(seed: int) -> None:
    clock = Clock()
    breaker = Breaker("it", RULES[Dependency.WORKERS], clock=clock, chance=random.Random(seed).random)
    left_alone = 0.0
    for _ in range(100_000):
        clock.now += 0.01
        try:
            permit = breaker.enter()
        except CircuitOpen:
            left_alone = max(left_alone, breaker.open_for_s or 0.0)
            continue
        breaker.leave(permit, Outcome.FAILED if clock.now < 2 else Outcome.DONE)
        if clock.now >= 2 and breaker.state is BreakerState.CLOSED:
            break

    assert BreakerState.CLOSED is breaker.state
    assert 0 < left_alone
    assert clock.now - 2 < 2 * left_alone


def tries(rules: Rules) -> int:
    """How often a dependency that is down is reached in ten seconds of a thousand calls each, with bad luck."""
    clock, found = Clock(), 0
    breaker = Breaker("it", rules, clock=clock, chance=lambda: 0.0)
    for _ in range(rules.least_calls):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    for _ in range(10_000):
        clock.now += 0.001
        try:
            permit = breaker.enter()
        except CircuitOpen:
            continue
        found += 1
        breaker.leave(permit, Outcome.FAILED)
    return found


def test_what_is_down_is_tried_ten_times_in_ten_seconds_at_most() -> None:
    assert 10 >= tries(RULES[Dependency.REDIS]) > 0


def test_with_jitter_down_to_nothing_it_would_be_tried_by_everybody() -> None:
    assert 10_000 == tries(Rules(shortest_s=0.0))


def test_it_is_left_alone_for_longer_each_time_but_not_for_ever() -> None:
    clock, waits = Clock(), []
    breaker = Breaker("it", Rules(), clock=clock, chance=lambda: 1.0)
    for _ in range(10):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    for _ in range(7):
        waits.append(breaker.open_for_s)
        clock.now += breaker.open_for_s or 0.0
        breaker.leave(breaker.enter(), Outcome.FAILED)

    assert [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] == waits


def test_what_is_down_for_days_is_still_tried() -> None:
    breaker, clock = tripped()
    for _ in range(2_000):
        breaker.leave(breaker.enter(), Outcome.FAILED)
        clock.now += SMALL.longest_s

    assert BreakerState.OPEN is breaker.state


def test_whoever_is_refused_is_told_when_to_come_back() -> None:
    clock = Clock()
    breaker = Breaker("it", SMALL, clock=clock, chance=half)
    for _ in range(4):
        breaker.leave(breaker.enter(), Outcome.FAILED)

    with pytest.raises(CircuitOpen) as refused:
        breaker.enter()

    assert 2 == refused.value.retry_after
    assert 1 == breaker.totals[Outcome.REFUSED]


def test_few_calls_tell_nothing_and_old_ones_no_more() -> None:
    clock = Clock()
    breaker = Breaker("it", SMALL, clock=clock, chance=half)
    for _ in range(20):
        breaker.leave(breaker.enter(), Outcome.FAILED)
        clock.now += 4

    assert (BreakerState.CLOSED, 2, 1.0) == (breaker.state, breaker.calls, breaker.share(Outcome.FAILED))
