"""Rate limits: how often one caller may do one thing, counted by one clock for all processes.

All buckets of a call are charged together or not at all, and what is refused uses nothing up. Redis away: each process
counts alone, by its share of the limit, and says so; only calls that find out wait for it, a twentieth of a second, and
one each time it is asked whether it is back. What is critical is counted in PostgreSQL in any case. PostgreSQL away:
nothing critical is let through.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import ceil
from typing import Final
from uuid import uuid4

import msgspec

from db import keys, rates
from db.database import Database, DatabaseUnavailable
from db.levels import SECOND, Counter
from db.lines import Line
from db.rates import Reading
from db.redis import REDIS_AWAY, Redis
from guards.allowances import Bucket, Left, Spent, merged
from guards.alone import Alone
from guards.errors import RateLimited, unanswered

EVERYWHERE: Final = "*"
"""Stands for the tenant of what is counted over all of them; no tenant is called so."""

ASKED_AGAIN_S: Final = 1.0
"""How long Redis is left alone once it did not answer."""

log = logging.getLogger(__name__)

Counters = dict[Bucket, Counter]
"""What is counted for each bucket, in one store."""

NOTHING: Final = Reading(True, 0, ())


class Rates:
    """Counts calls; one object for a process."""

    def __init__(
        self,
        redis: Redis,
        database: Database,
        *,
        replicas: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count in these stores.

        Args:
            replicas: how many processes share the limits when each has to count alone.
        """
        self._line = Line(redis)
        self._database = database
        self._replicas = replicas
        self._monotonic = monotonic
        self._alone = Alone()
        self._ask_at: float | None = None

    async def close(self) -> None:
        """Count nothing more."""
        await self._line.close()

    @property
    def degraded(self) -> bool:
        """Whether this process counts alone just now."""
        return self._ask_at is not None

    async def charge(self, tenant: str, buckets: Iterable[Bucket]) -> Spent:
        """Count a call on all of its buckets.

        Raises:
            RateLimited: one has no room for it, and none was charged; it says which, and when there will be.
            Unavailable: something critical cannot be counted just now.
        """
        wanted = merged(tuple(buckets))
        ordinary, critical = _parted(tenant, wanted)
        ticket = uuid4().hex
        # First what costs less: a flood of calls that are too many does not get as far as PostgreSQL.
        first, degraded = await self._shared(
            ordinary, lambda counters: rates.charge(self._line, ticket, counters), self._alone.charge
        )
        spent = Spent((), degraded=degraded, ticket=ticket)
        if not first.taken:
            raise _refusal(ordinary, first, _told(spent, wanted, (ordinary, first)))
        if not critical:
            return _told(spent, wanted, (ordinary, first))
        try:
            async with self._database.transaction(tenant) as tx:
                second = await rates.charge_critical(tx, list(critical.values()))
        except DatabaseUnavailable as error:
            await self._give_back(spent, ordinary)
            raise unanswered(error) from error
        if not second.taken:
            first = await self._give_back(spent, ordinary)
            raise _refusal(critical, second, _told(spent, wanted, (ordinary, first), (critical, second)))
        return _told(spent, wanted, (ordinary, first), (critical, second))

    async def left(self, tenant: str, buckets: Iterable[Bucket]) -> Spent:
        """What is left of buckets; nothing is charged.

        Raises:
            DatabaseUnavailable: one is critical, and PostgreSQL does not answer.
        """
        wanted = merged(tuple(buckets))
        ordinary, critical = _parted(tenant, wanted)
        first, degraded = await self._shared(
            ordinary, lambda counters: rates.look(self._line, counters), self._alone.look
        )
        second = NOTHING
        if critical:
            async with self._database.transaction(tenant) as tx:
                second = await rates.look_critical(tx, list(critical.values()))
        return _told(Spent((), degraded=degraded), wanted, (ordinary, first), (critical, second))

    async def _give_back(self, spent: Spent, counters: Counters) -> Reading:
        if spent.degraded:
            return self._alone.give_back(self._shares(counters)) if counters else NOTHING
        # Redis went away since: then all that it had counted is gone, too.
        reading, _ = await self._shared(
            counters, lambda found: rates.give_back(self._line, spent.ticket, found), self._alone.look
        )
        return reading

    async def _shared(
        self,
        counters: Counters,
        ask: Callable[[Sequence[Counter]], Awaitable[Reading]],
        alone: Callable[[Sequence[Counter]], Reading],
    ) -> tuple[Reading, bool]:
        """What Redis answers, or else what this process finds alone, and which of them it was."""
        if not counters:
            return NOTHING, False
        if self._worth_asking():
            try:
                reading = await ask(list(counters.values()))
            except REDIS_AWAY as error:
                self._lost(error)
            else:
                self._found()
                return reading, False
        return alone(self._shares(counters)), True

    def _worth_asking(self) -> bool:
        if self._ask_at is None:
            return True
        if self._monotonic() < self._ask_at:
            return False
        # One call asks whether Redis is back; the others do not wait for what it hears.
        self._ask_at = self._monotonic() + ASKED_AGAIN_S
        return True

    def _lost(self, error: Exception) -> None:
        if self._ask_at is None:
            log.warning("calls are counted by this process alone: %s", error)
        self._ask_at = self._monotonic() + ASKED_AGAIN_S

    def _found(self) -> None:
        if self._ask_at is not None:
            log.warning("calls are counted in Redis again")
            self._ask_at = None
            self._alone.forget()

    def _shares(self, counters: Counters) -> list[Counter]:
        """The counters with this process's part of each limit."""
        return [
            msgspec.structs.replace(counter, limit=ceil(counter.limit / self._replicas))
            for counter in counters.values()
        ]


def _parted(tenant: str, buckets: Sequence[Bucket]) -> tuple[Counters, Counters]:
    """What is counted in Redis, and what in PostgreSQL."""
    ordinary = {
        bucket: _counter(
            bucket, keys.rate(bucket.rate.algorithm, EVERYWHERE if bucket.everywhere else tenant, bucket.key)
        )
        for bucket in buckets
        if not bucket.rate.critical
    }
    return ordinary, {bucket: _counter(bucket, bucket.key) for bucket in buckets if bucket.rate.critical}


def _counter(bucket: Bucket, key: str) -> Counter:
    rate = bucket.rate
    return Counter(key, rate.algorithm, rate.limit, rate.window_s * SECOND, bucket.units)


def _told(spent: Spent, wanted: Sequence[Bucket], *found: tuple[Counters, Reading]) -> Spent:
    """What clients are told of all buckets that were looked at, in the order in which they were asked for."""
    levels = {
        bucket: level for counters, reading in found for bucket, level in zip(counters, reading.levels, strict=False)
    }
    left = (
        Left(
            bucket.name,
            bucket.rate.limit,
            bucket.rate.window_s,
            levels[bucket].remaining,
            levels[bucket].reset_us / SECOND,
        )
        for bucket in wanted
        if bucket in levels
    )
    return msgspec.structs.replace(spent, left=tuple(left))


def _refusal(counters: Counters, reading: Reading, spent: Spent) -> RateLimited:
    """What is said of the bucket that takes longest to have room."""
    full = [(bucket, level) for bucket, level in zip(counters, reading.levels, strict=True) if not level.fits]
    for bucket, level in full:
        if level.wait_us is None:
            message = f"{bucket.name}: {bucket.units} at once are more than there ever is room for; ask for fewer"
            return RateLimited(message, policy=bucket.name, spent=spent)
    bucket, level = max(full, key=lambda pair: pair[1].wait_us or 0)
    seconds = ceil((level.wait_us or 0) / SECOND)
    message = f"{bucket.name}: too many calls; try again in {seconds} s"
    return RateLimited(message, retry_after=seconds, policy=bucket.name, spent=spent)
