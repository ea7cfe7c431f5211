"""Caches are emptied key by key, ours alone, and filled again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from db import keys
from db.caches import Scope
from db.database import Database
from db.models.identity import Role
from db.redis import Redis, connect
from guards.errors import BadInput, Unavailable
from resolvers.context import Context
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of, services_over

FOREIGN = (
    "somebody:else",
    "admin:dashboard:v45",
    "arq:queue",
    keys.DOORBELL,
    # Of another tenant: whoever builds waits three seconds for somebody who builds the same.
    keys.snapshot_lock(keys.snapshot("other")),
)
SNAPSHOTS = (
    keys.snapshot("default"),
    keys.snapshot("other"),
    keys.snapshot_range("default", "7d"),
    keys.snapshot_read("other"),
    keys.snapshot_announced("other"),
)
COUNTERS = tuple(keys.rate("sliding", "default", f"user:{number}") for number in range(1200))


@pytest_asyncio.fixture
async def filled(redis: Redis) -> AsyncIterator[Redis]:
    await redis.mset({key: "x" for key in (*FOREIGN, *SNAPSHOTS, *COUNTERS)})
    yield redis


async def there(redis: Redis) -> set[str]:
    return {key.decode() async for key in redis.scan_iter(count=5000)}


async def test_one_scope_goes_and_nothing_else(admin: Context, filled: Redis) -> None:
    cleared = await act(admin, "system.clear_cache", scopes=["rate_limit"])

    assert (1200, {"rate_limit": 1200}, None) == (cleared.keys_deleted, cleared.by_scope, cleared.rebuilt_ms)
    assert {*FOREIGN, *SNAPSHOTS} == await there(filled)


async def test_snapshots_go_and_the_callers_is_built_anew(admin: Context, filled: Redis) -> None:
    cleared = await act(admin, "system.clear_cache")

    assert {"snapshot": len(SNAPSHOTS)} == cleared.by_scope
    assert cleared.rebuilt_ms > 0
    left = await there(filled)
    assert {*FOREIGN, *COUNTERS} <= left
    assert {keys.snapshot("other"), keys.snapshot_range("default", "7d")}.isdisjoint(left)
    built = await filled.get(keys.snapshot("default"))
    assert built.startswith(b'{"envelope":')


async def test_what_lies_nowhere_in_redis_is_said_so(admin: Context, filled: Redis) -> None:
    scopes = ["idempotency", "breaker"]

    cleared = await act(admin, "system.clear_cache", scopes=scopes)

    assert {"idempotency": 0, "breaker": 0} == cleared.by_scope
    assert {*FOREIGN, *SNAPSHOTS, *COUNTERS} == await there(filled)


async def test_a_pattern_narrows(admin: Context, filled: Redis) -> None:
    pattern = keys.rate("sliding", "default", "user:11??")

    cleared = await act(admin, "system.clear_cache", scopes=list(Scope), pattern=pattern)

    assert {"snapshot": 0, "rate_limit": 100, "idempotency": 0, "breaker": 0} == cleared.by_scope


@pytest.mark.parametrize("pattern", ["*", "somebody:*", "?gentos:*", "[a]gentos:*", "arq:*", "admin:*"])
@pytest.mark.parametrize("name", ["system.clear_cache", "cache.clear"])
async def test_no_pattern_reaches_beyond_our_keys(admin: Context, filled: Redis, name: str, pattern: str) -> None:
    with pytest.raises(BadInput, match="pattern: it must begin with agentos: or admin:dashboard:v4"):
        await act(admin, name, pattern=pattern)

    assert {*FOREIGN, *SNAPSHOTS, *COUNTERS} == await there(filled)


async def test_clearing_the_caches_forgets_no_limit(admin: Context, filled: Redis) -> None:
    cleared = await act(admin, "cache.clear")

    assert {"snapshot": len(SNAPSHOTS)} == cleared.by_scope
    assert {*FOREIGN, *COUNTERS} <= await there(filled)
    assert cleared.rebuilt_ms > 0


async def test_warming_builds_once_and_only_what_is_not_fresh(admin: Context, redis: Redis) -> None:
    first = await act(admin, "cache.warm")
    second = await act(admin, "cache.warm")
    third = await act(admin, "cache.warm", force=True)

    assert (True, False, True) == (first.rebuilt, second.rebuilt, third.rebuilt)
    assert first.snapshot_version == second.snapshot_version != third.snapshot_version
    assert (None, True) == (second.duration_ms, third.duration_ms > 0)
    stored = await redis.get(keys.snapshot("default"))
    assert third.snapshot_version.encode() in stored[:400]


@pytest.mark.parametrize("name", ["system.clear_cache", "cache.clear", "cache.warm"])
async def test_without_redis_they_say_so(database: Database, people: People, tmp_path: Path, name: str) -> None:
    async with connect("redis://127.0.0.1:1") as nowhere:
        context = context_of(services_over(database, nowhere, tmp_path), people[Role.ADMIN])

        with pytest.raises(Unavailable, match="redis does not answer"):
            await act(context, name)
