"""Caches: what is kept to be quick, emptied and filled again; for all tenants where it is emptied."""

import time
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from db import caches
from db.caches import Scope
from db.redis import REDIS_AWAY
from db.rows import Row
from guards.breakers import Dependency
from guards.errors import BadInput, Unavailable
from resolvers.actions.contract import Action, Call, Payload, View, action
from resolvers.snapshots import collected_anew
from resolvers.timing import ms_since

Pattern = Annotated[str, Meta(min_length=1, max_length=200)]


class CacheCleared(Row, frozen=True, kw_only=True):
    """What was taken out of the caches."""

    keys_deleted: int
    by_scope: dict[str, int]
    """How many keys of each scope."""

    rebuilt_ms: float | None
    """How long it took to collect the caller's snapshot again; null when no snapshot was cleared."""


class SystemClearCacheInput(Payload, frozen=True, kw_only=True):
    """What to clear."""

    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=4)] = msgspec.field(
        default_factory=lambda: [Scope.SNAPSHOT]
    )
    pattern: Pattern | None = None
    """Only keys that it matches; begins with `agentos:` or `admin:dashboard:v4`."""


@action("system.clear_cache", View.SYSTEM_CONTROLS, per_minute=5, destructive=True, depends_on=Dependency.REDIS)
async def system_clear_cache(call: Call[CacheCleared], asked: SystemClearCacheInput) -> CacheCleared:
    """Take what is kept in Redis out of it, scope by scope, and collect the snapshot again.

    Calls counted in the database, kept answers and what people decided about breakers are no cache and stay.

    Raises:
        BadInput: the pattern reaches beyond our own keys.
        Unavailable: Redis does not answer.
    """
    return await _cleared(call, asked.scopes, asked.pattern)


class CacheType(StrEnum):
    """Where something is kept."""

    REDIS = "redis"
    """The snapshots in Redis."""

    APPLICATION = "application"
    """The copies of processes, which follow what is in Redis within a second."""


class CacheClearInput(Payload, frozen=True, kw_only=True):
    """What to clear."""

    cache_types: Annotated[list[CacheType], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: list(CacheType)
    )
    pattern: Pattern | None = None
    """Only keys that it matches; begins with `agentos:` or `admin:dashboard:v4`."""


@action("cache.clear", View.EXTRA, per_minute=10, destructive=True, depends_on=Dependency.REDIS)
async def cache_clear(call: Call[CacheCleared], asked: CacheClearInput) -> CacheCleared:
    """Take the snapshots of all tenants out of the caches, and collect the caller's again; no limit is forgotten.

    Raises:
        BadInput: the pattern reaches beyond our own keys.
        Unavailable: Redis does not answer.
    """
    cleared = await _cleared(call, [Scope.SNAPSHOT] if CacheType.REDIS in asked.cache_types else [], asked.pattern)
    if CacheType.APPLICATION in asked.cache_types:
        call.afterwards(lambda result: _rebuilt(call, result))
    return cleared


class Warmed(StrEnum):
    """What can be collected ahead."""

    DASHBOARD = "dashboard"
    QUEUE = "queue"
    """A section of the same snapshot."""


class CacheWarmInput(Payload, frozen=True, kw_only=True):
    """What to collect."""

    cache_types: Annotated[list[Warmed], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: list(Warmed)
    )
    force: bool = False
    """Collect it also when what there is is fresh."""


class CacheWarmed(Row, frozen=True, kw_only=True):
    """The caller's snapshot, fresh."""

    snapshot_version: str | None
    """Another one for each build."""

    duration_ms: float | None
    """How long collecting it took; null when it was not needed."""

    rebuilt: bool


@action("cache.warm", View.EXTRA, natural=True, depends_on=Dependency.REDIS)
async def cache_warm(call: Call[CacheWarmed], asked: CacheWarmInput) -> CacheWarmed:
    """Collect the caller's snapshot now, or wait for whoever does already, so that the next reader finds it.

    Raises:
        Unavailable: Redis does not answer; what is collected could not be shared.
    """
    try:
        await call.services.redis.ping()
    except REDIS_AWAY as error:
        raise _away() from error
    call.afterwards(lambda _: _warmed(call, force=asked.force))
    return CacheWarmed(snapshot_version=None, duration_ms=None, rebuilt=False)


async def _warmed(call: Call[CacheWarmed], *, force: bool) -> CacheWarmed:
    snapshots, tenant = call.services.snapshots, call.caller.tenant
    state = snapshots.state(tenant)
    if state.fresh and not force:
        return CacheWarmed(snapshot_version=state.version, duration_ms=None, rebuilt=False)
    began = time.perf_counter()
    await snapshots.rebuild(tenant)
    return CacheWarmed(snapshot_version=snapshots.state(tenant).version, duration_ms=ms_since(began), rebuilt=True)


async def _cleared(call: Call[CacheCleared], scopes: Collection[Scope], pattern: str | None) -> CacheCleared:
    if pattern is not None and not caches.ours(pattern):
        raise BadInput(f"pattern: it must begin with {' or '.join(caches.OWN)}, so that no other key is matched")
    try:
        removed = await caches.clear(call.services.redis, scopes, pattern=pattern)
    except REDIS_AWAY as error:
        raise _away() from error
    if Scope.SNAPSHOT in scopes:
        call.afterwards(lambda result: _rebuilt(call, result))
    return CacheCleared(
        keys_deleted=sum(removed.values()),
        by_scope={str(scope): count for scope, count in removed.items()},
        rebuilt_ms=None,
    )


async def _rebuilt(call: Call[CacheCleared], result: CacheCleared) -> CacheCleared:
    """Tell every process that its copies are none any more, and collect the caller's snapshot."""
    began = time.perf_counter()
    await collected_anew(call.services, call.caller.tenant)
    return msgspec.structs.replace(result, rebuilt_ms=ms_since(began))


def _away() -> Unavailable:
    return Unavailable("redis does not answer: nothing was cleared or filled", retry_after=1)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (system_clear_cache, cache_clear, cache_warm)
