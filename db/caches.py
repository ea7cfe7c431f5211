"""What is kept in Redis to be quick, by what it is for; emptied key by key, and never anything that is not ours.

Keys are found by SCAN and removed by UNLINK, so that Redis answers everybody else meanwhile. Doorbells, locks of
whoever builds just now and other people's keys are no caches and are never touched. Every function raises what is in
`REDIS_AWAY` when Redis is.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from db import keys
from db.models.identity import DEFAULT_TENANT
from db.redis import Redis

AT_ONCE: Final = 500

OWN: Final = (keys.PREFIX, keys.snapshot(DEFAULT_TENANT))
"""How every key of ours begins."""


class Scope(StrEnum):
    """What is kept in Redis, or could be."""

    SNAPSHOT = "snapshot"
    """The admin snapshots of all tenants, and what is noted about them."""

    RATE_LIMIT = "rate_limit"
    """Counters of ordinary calls; critical ones are counted in the database and stay."""

    IDEMPOTENCY = "idempotency"
    """Nothing: answers are kept in the database alone."""

    BREAKER = "breaker"
    """Hints between processes, should there be any; what people decided is in the database."""


_PATTERNS: Final[Mapping[Scope, tuple[str, ...]]] = {
    Scope.SNAPSHOT: (f"{keys.snapshot(DEFAULT_TENANT)}*", f"{keys.PREFIX}snapshot:*"),
    Scope.RATE_LIMIT: (f"{keys.PREFIX}{{rates}}:*",),
    Scope.IDEMPOTENCY: (f"{keys.PREFIX}replay:*",),
    Scope.BREAKER: (f"{keys.PREFIX}breaker:*",),
}
_LOCKS: Final = keys.snapshot_lock("")


def ours(pattern: str) -> bool:
    """Whether a pattern can only ever match keys of ours."""
    return pattern.startswith(OWN)


async def clear(redis: Redis, scopes: Collection[Scope], *, pattern: str | None = None) -> dict[Scope, int]:
    """Remove what is kept in some scopes; how many keys those were, by scope.

    Args:
        pattern: only keys that it matches, with `*`, `?` and `[…]`; must be `ours`.
    """
    return {scope: await _cleared(redis, _PATTERNS[scope], pattern) for scope in scopes}


async def _cleared(redis: Redis, patterns: Collection[str], narrowed: str | None) -> int:
    removed = 0
    for pattern in patterns:
        cursor = 0
        while True:
            cursor, found = await redis.scan(cursor, match=pattern, count=AT_ONCE)
            wanted = [key for key in found if _wanted(key.decode(), narrowed)]
            if wanted:
                removed += await redis.unlink(*wanted)
            if cursor == 0:
                break
    return removed


def _wanted(key: str, narrowed: str | None) -> bool:
    dashboard = keys.snapshot(DEFAULT_TENANT)
    if key.startswith(_LOCKS) or (key.startswith(dashboard) and key[len(dashboard) :][:1] not in ("", ":", "@")):
        return False
    return narrowed is None or fnmatchcase(key, narrowed)
