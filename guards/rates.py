"""Rate limits: how often one caller may do one thing, counted by one clock for all processes.

All buckets of a call are charged together or not at all, and what is refused uses nothing up.
"""

from collections.abc import Iterable
from math import ceil
from typing import Final
from uuid import uuid4

from db import keys, rates
from db.database import Database
from db.levels import SECOND, Algorithm, Counter, Level
from db.redis import Redis
from guards.allowances import (
    Bucket,
    Class,
    Left,
    Rate,
    Spent,
    merged,
    of_action,
    of_address,
    of_denials,
    of_user,
    window_us,
)
from guards.errors import RateLimited

__all__ = [
    "Algorithm",
    "Bucket",
    "Class",
    "Left",
    "Rate",
    "Rates",
    "Spent",
    "of_action",
    "of_address",
    "of_denials",
    "of_user",
]

EVERYWHERE: Final = "*"
"""Stands for the tenant of what is counted over all of them; no tenant is called so."""


class Rates:
    """Counts calls; one object for a process."""

    def __init__(self, redis: Redis, database: Database, *, replicas: int = 1) -> None:
        """Count in these stores.

        Args:
            replicas: how many processes share the limits when each has to count alone.
        """
        self._redis = redis
        self._database = database
        self._replicas = replicas

    async def charge(self, tenant: str, buckets: Iterable[Bucket]) -> Spent:
        """Count a call on all of its buckets.

        Raises:
            RateLimited: one has no room for it, and none was charged; it says which, and when there will be.
        """
        wanted = merged(tuple(buckets))
        if not wanted:
            return Spent(())
        ticket = uuid4().hex
        reading = await rates.charge(self._redis, ticket, _counters(tenant, wanted))
        spent = _spent(wanted, reading.levels, ticket)
        if not reading.taken:
            raise _refusal(wanted, reading.levels, spent)
        return spent

    async def left(self, tenant: str, buckets: Iterable[Bucket]) -> Spent:
        """What is left of buckets; nothing is charged."""
        wanted = merged(tuple(buckets))
        if not wanted:
            return Spent(())
        return _spent(wanted, (await rates.look(self._redis, _counters(tenant, wanted))).levels, "")

    async def refund(self, tenant: str, spent: Spent, buckets: Iterable[Bucket]) -> None:
        """Give back units of a call that turned out to need less; each bucket has how many in its `units`."""
        if wanted := merged(tuple(buckets)):
            await rates.give_back(self._redis, spent.ticket, _counters(tenant, wanted))


def _counters(tenant: str, buckets: tuple[Bucket, ...]) -> list[Counter]:
    return [
        Counter(
            keys.rate(bucket.rate.algorithm, EVERYWHERE if bucket.everywhere else tenant, bucket.key),
            bucket.rate.algorithm,
            bucket.rate.limit,
            window_us(bucket.rate),
            bucket.units,
        )
        for bucket in buckets
    ]


def _spent(buckets: tuple[Bucket, ...], levels: tuple[Level, ...], ticket: str) -> Spent:
    left = (
        Left(bucket.name, bucket.rate.limit, bucket.rate.window_s, level.remaining, level.reset_us / SECOND)
        for bucket, level in zip(buckets, levels, strict=True)
    )
    return Spent(tuple(left), ticket=ticket)


def _refusal(buckets: tuple[Bucket, ...], levels: tuple[Level, ...], spent: Spent) -> RateLimited:
    """What is said of the bucket that takes longest to have room."""
    full = [(bucket, level) for bucket, level in zip(buckets, levels, strict=True) if not level.fits]
    for bucket, level in full:
        if level.wait_us is None:
            message = f"{bucket.name}: {bucket.units} at once are more than the {bucket.rate.limit} that are allowed"
            return RateLimited(message, policy=bucket.name, spent=spent)
    bucket, level = max(full, key=lambda pair: pair[1].wait_us or 0)
    seconds = ceil((level.wait_us or 0) / SECOND)
    message = f"{bucket.name}: more than {bucket.rate.limit} in {bucket.rate.window_s} s; try again in {seconds} s"
    return RateLimited(message, retry_after=seconds, policy=bucket.name, spent=spent)
