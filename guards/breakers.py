"""Circuit breakers: what has just failed too often is left alone for a while.

Each process has one for each dependency and decides in memory, so no store has to be up for a decision. By itself a
breaker opens when too many calls of the last half minute failed or were slow, lets one call try again after a while,
and closes when that goes well. Only what is the dependency's fault counts: a refusal, a caller who went away and
whatever PostgreSQL said are no news of it.

What people decide by hand is a row in PostgreSQL, which a process looks at twice a second at most, when it is about to
use the dependency. PostgreSQL away: what was decided last holds.
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from db import breakers
from db.breakers import Decision
from db.database import Database, DatabaseUnavailable
from db.health import DATABASE_FAILED
from db.redis import REDIS_AWAY
from db.rows import Row
from guards.errors import CircuitOpen, Unavailable

LOOK_EVERY_S: Final = 0.5

log = logging.getLogger(__name__)


class Dependency(StrEnum):
    """What actions need beside the database."""

    REDIS = "redis"
    FILES = "files"
    """The disk with uploads, clips, reports and backups."""

    SUPERVISOR = "supervisor"
    """Whoever starts and stops processes here."""

    WORKERS = "workers"
    """Worker processes that are asked to do something at once."""


class BreakerState(StrEnum):
    """How a breaker stands."""

    CLOSED = "closed"
    """Calls pass and are counted."""

    OPEN = "open"
    """None passes until its time is over."""

    HALF_OPEN = "half_open"
    """One call may try whether it is over."""

    ISOLATED = "isolated"
    """None passes until somebody closes it."""


class Outcome(StrEnum):
    """How a call of the dependency ended, as far as that tells of it."""

    DONE = "done"
    SLOW = "slow"
    FAILED = "failed"
    NEITHER = "neither"
    """It was not the dependency that ended it."""

    REFUSED = "refused"
    """It was not let pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a breaker opens, and for how long."""

    window_s: float = 30.0
    least_calls: int = 10
    """So many calls of the window have to have ended before any share of them tells something."""

    failed_share: float = 0.5
    slow_share: float = 0.8
    slow_after_s: float = 5.0
    shortest_s: float = 1.0
    longest_s: float = 30.0
    probes: int = 1
    """Calls that may try at once whether it is over."""

    lease_s: float = 30.0
    """After which a try that has not ended makes room for another."""


RULES: Final[Mapping[Dependency, Rules]] = MappingProxyType(
    {
        Dependency.REDIS: Rules(slow_after_s=0.5),
        Dependency.FILES: Rules(slow_after_s=30.0, lease_s=120.0),
        # Calls wait seven seconds for processes to begin and end, which is no illness.
        Dependency.SUPERVISOR: Rules(slow_after_s=15.0),
        Dependency.WORKERS: Rules(),
    }
)


@dataclass(slots=True)
class Permit:
    """One call that was let pass."""

    era: int
    number: int
    began_at: float
    lasting: bool = False
    """Whether it tells nothing that it takes long."""

    failed: bool = False
    """To be set by who catches a failure and goes on."""


class Breaker:
    """The breaker of one dependency: it counts and decides, and waits for nothing."""

    def __init__(
        self, name: str, rules: Rules, *, clock: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self.name = name
        self.decision: Decision | None = None
        """What was decided by hand, as far as this process knows."""

        self.totals: Counter[Outcome] = Counter()
        self._rules = rules
        self._clock = clock
        self._chance = chance
        self._state = BreakerState.CLOSED
        self._era = 0
        self._ended: deque[tuple[float, Outcome]] = deque()
        self._shares: Counter[Outcome] = Counter()
        self._trips = 0
        self._open_until = 0.0
        self._numbers = 0
        self._leases: dict[int, float] = {}

    @property
    def state(self) -> BreakerState:
        """How it stands."""
        isolated = self.decision is not None and self.decision.isolated
        return BreakerState.ISOLATED if isolated else self._state

    @property
    def calls(self) -> int:
        """Calls of the window that tell something."""
        self._forget(self._clock())
        return len(self._ended)

    def share(self, outcome: Outcome) -> float | None:
        """Share of the window's calls that ended so, in 0.0..1.0; None without calls."""
        calls = self.calls
        return self._shares[outcome] / calls if calls else None

    @property
    def open_for_s(self) -> float | None:
        """Seconds until a call may try again; None when it is not open."""
        return max(0.0, self._open_until - self._clock()) if self.state is BreakerState.OPEN else None

    def require(self) -> None:
        """Make sure that a call would pass.

        Raises:
            CircuitOpen: it would not.
        """
        if refusal := self._refusal(self._clock()):
            self.totals[Outcome.REFUSED] += 1
            raise refusal

    def enter(self) -> Permit:
        """Let a call pass; `leave` has to follow.

        Raises:
            CircuitOpen: it does not pass.
        """
        self.require()
        now = self._clock()
        if self._state is BreakerState.OPEN:
            self._turn(BreakerState.HALF_OPEN)
        self._numbers += 1
        if self._state is BreakerState.HALF_OPEN:
            self._leases = {number: until for number, until in self._leases.items() if until > now}
            self._leases[self._numbers] = now + self._rules.lease_s
        return Permit(self._era, self._numbers, now)

    def leave(self, permit: Permit, outcome: Outcome) -> None:
        """Take note of how a call ended; of one from before the last turn, only in the totals."""
        now = self._clock()
        if outcome is Outcome.DONE and not permit.lasting and now - permit.began_at > self._rules.slow_after_s:
            outcome = Outcome.SLOW
        self.totals[outcome] += 1
        if permit.era != self._era:
            return
        if self._state is BreakerState.CLOSED:
            self._count(now, outcome)
        elif self._leases.pop(permit.number, None) is not None:
            self._learn(now, outcome)

    def obey(self, decision: Decision) -> None:
        """Do as was decided by hand; what was counted before is no longer true."""
        if self.decision is not None and decision.version == self.decision.version:
            return
        self.decision = decision
        self._close()

    def _refusal(self, now: float) -> CircuitOpen | None:
        if self.state is BreakerState.ISOLATED:
            return CircuitOpen(f"{self.name} was isolated by an administrator: nothing was done")
        waits = 0.0
        if self._state is BreakerState.OPEN:
            waits = self._open_until - now
        elif self._state is BreakerState.HALF_OPEN:
            taken = sum(until > now for until in self._leases.values())
            waits = self._rules.shortest_s if taken >= self._rules.probes else 0.0
        if waits <= 0:
            return None
        told = f"{self.name} has failed too often just now and is left alone for a while: nothing was done"
        return CircuitOpen(told, retry_after=math.ceil(waits))

    def _count(self, now: float, outcome: Outcome) -> None:
        if outcome is Outcome.NEITHER:
            return
        self._ended.append((now, outcome))
        self._shares[outcome] += 1
        self._forget(now)
        calls, rules = len(self._ended), self._rules
        if calls >= rules.least_calls and (
            self._shares[Outcome.FAILED] >= rules.failed_share * calls
            or self._shares[Outcome.SLOW] >= rules.slow_share * calls
        ):
            self._open(now)

    def _learn(self, now: float, outcome: Outcome) -> None:
        if outcome is Outcome.DONE:
            log.info("%s is well again", self.name)
            self._close()
        elif outcome is not Outcome.NEITHER:
            self._open(now)

    def _open(self, now: float) -> None:
        self._trips += 1
        rules = self._rules
        # Bounded, for what is down over night trips a thousand times, and a number that large is none any more.
        longest = min(rules.longest_s, rules.shortest_s * 2.0 ** min(self._trips, 16))
        # Never less than the shortest: a lucky throw must not let every call be the one that tries.
        waits = rules.shortest_s + self._chance() * (longest - rules.shortest_s)
        self._open_until = now + waits
        self._turn(BreakerState.OPEN)
        log.warning("%s has failed too often and is left alone for %.1f s", self.name, waits)

    def _close(self) -> None:
        self._trips = 0
        self._turn(BreakerState.CLOSED)

    def _turn(self, state: BreakerState) -> None:
        self._state = state
        self._era += 1
        self._leases.clear()
        self._ended.clear()
        self._shares.clear()

    def _forget(self, now: float) -> None:
        while self._ended and self._ended[0][0] <= now - self._rules.window_s:
            _, outcome = self._ended.popleft()
            self._shares[outcome] -= 1


class Standing(Row, frozen=True, kw_only=True):
    """How the breaker of one dependency stands in the process that is asked."""

    dependency: Dependency
    state: BreakerState
    calls: int
    """Calls of the last half minute that tell something."""

    failure_rate: float | None
    """Share of them that failed, in 0.0..1.0; null without any."""

    slow_rate: float | None
    """Share of them that went well but took too long, in 0.0..1.0; null without any."""

    open_until: datetime | None
    """When a call may try again; null when it is not open."""

    isolated: bool
    """Whether somebody decided that nothing passes."""

    reason: str | None
    """Why, as they said."""

    decided_at: datetime | None
    """When somebody decided last, either way."""


class Breakers:
    """The breakers of one process."""

    def __init__(
        self,
        database: Database,
        *,
        rules: Mapping[Dependency, Rules] = RULES,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.of: Final = {
            dependency: Breaker(dependency, rules[dependency], clock=clock, chance=chance) for dependency in Dependency
        }
        self._database = database
        self._clock = clock
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    @asynccontextmanager
    async def through(self, dependency: Dependency | None, *, lasting: bool = False) -> AsyncIterator[Permit]:
        """Use a dependency in the block; how that goes is counted. What needs none always passes.

        Args:
            lasting: it may well take long, which then tells nothing.

        Raises:
            CircuitOpen: it is left alone just now.
        """
        if dependency is None:
            yield Permit(0, 0, 0.0)
            return
        await self.look()
        breaker = self.of[dependency]
        permit, outcome = breaker.enter(), Outcome.NEITHER
        permit.lasting = lasting
        try:
            yield permit
            outcome = Outcome.FAILED if permit.failed else Outcome.DONE
        except BaseException as error:
            outcome = Outcome.FAILED if at_fault(error) else Outcome.NEITHER
            raise
        finally:
            breaker.leave(permit, outcome)

    async def require(self, dependency: Dependency | None) -> None:
        """Make sure that a dependency is not left alone just now, before what will use it is begun.

        Raises:
            CircuitOpen: it is.
        """
        if dependency is not None:
            await self.look()
            self.of[dependency].require()

    async def standings(self) -> list[Standing]:
        """How each stands."""
        await self.look()
        return [_standing(dependency, breaker) for dependency, breaker in self.of.items()]

    async def look(self, *, again: bool = False) -> None:
        """See what was decided by hand, unless that was seen a moment ago.

        Args:
            again: something was just decided here.
        """
        async with self._looking:
            if not again and self._clock() - self._looked_at < LOOK_EVERY_S:
                return
            self._looked_at = self._clock()
            try:
                async with self._database.system() as tx:
                    decided = await breakers.decisions(tx)
            except DATABASE_FAILED as error:
                log.warning("what was decided about the breakers cannot be read: %s", error)
                return
        for decision in decided:
            if decision.dependency in self.of:
                self.of[Dependency(decision.dependency)].obey(decision)


def at_fault(error: BaseException) -> bool:
    """Whether an error says that a dependency is in trouble, rather than the caller, the action or PostgreSQL."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(at_fault, error.exceptions))
    if isinstance(error.__cause__, DatabaseUnavailable):
        return False
    # A file that is not there is no fault of the disk.
    return isinstance(error, (*REDIS_AWAY, Unavailable)) and not isinstance(error, FileNotFoundError | FileExistsError)


def _standing(dependency: Dependency, breaker: Breaker) -> Standing:
    decision, wait_s = breaker.decision, breaker.open_for_s
    return Standing(
        dependency=dependency,
        state=breaker.state,
        calls=breaker.calls,
        failure_rate=breaker.share(Outcome.FAILED),
        slow_rate=breaker.share(Outcome.SLOW),
        open_until=None if wait_s is None else datetime.now(UTC) + timedelta(seconds=wait_s),
        isolated=breaker.state is BreakerState.ISOLATED,
        reason=decision.reason if decision is not None and decision.isolated else None,
        decided_at=None if decision is None else decision.changed_at,
    )
