"""The snapshot in Redis: known by its first bytes, built by one at a time, replaced only by who may."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from db import snapshots
from db.database import Database
from db.redis import Redis
from db.snapshots import SCHEMA, Envelope, Slot

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SLOT = Slot("default")


def encoded(version: str = "v", *, schema: int = SCHEMA) -> bytes:
    envelope = Envelope(
        schema=schema,
        version=version,
        generated_at=NOW,
        fresh_until=NOW + snapshots.FRESH,
        expires_at=NOW + snapshots.TTL,
    )
    return msgspec.json.encode({"envelope": envelope, "dashboard": {"a": "x" * 2000}})


async def stored(redis: Redis, slot: Slot, body: bytes) -> None:
    token = await snapshots.lock(redis, slot)
    assert token is not None
    assert await snapshots.store(redis, slot, token, body)


def test_slots_do_not_meet() -> None:
    slots = [Slot("default"), Slot("other"), Slot("default", "7d"), Slot("7d"), Slot("other", "7d")]

    assert 5 == len({slot.key for slot in slots})
    assert "admin:dashboard:v4" == slots[0].key


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"null",
        b'{"dashboard":{}}',
        b'{"envelope":{"schema":1',
        b'{"envelope":{"schema":"one"}}',
        encoded(schema=SCHEMA + 1),
    ],
)
def test_anything_else_has_no_envelope(head: bytes) -> None:
    assert snapshots.envelope_of(head[:400]) is None


async def test_a_look_tells_the_version_without_fetching_the_rest(redis: Redis) -> None:
    nothing = await snapshots.look(redis, SLOT)
    await stored(redis, SLOT, encoded("v7"))

    seen = await snapshots.look(redis, SLOT)

    assert nothing.envelope is None
    assert seen.envelope is not None
    assert ("v7", NOW) == (seen.envelope.version, seen.envelope.generated_at)
    assert encoded("v7") == await snapshots.body(redis, SLOT)


async def test_another_schemas_body_is_not_there(redis: Redis) -> None:
    await redis.set(SLOT.key, encoded(schema=SCHEMA + 1))

    assert await snapshots.body(redis, SLOT) is None


async def test_one_builds_at_a_time(redis: Redis) -> None:
    first = await snapshots.lock(redis, SLOT)
    second = await snapshots.lock(redis, SLOT)
    other = await snapshots.lock(redis, Slot("other"))
    assert first is not None
    await snapshots.unlock(redis, SLOT, "somebody else's")
    still = await snapshots.lock(redis, SLOT)
    await snapshots.unlock(redis, SLOT, first)

    assert (None, None) == (second, still)
    assert other is not None
    assert await snapshots.lock(redis, SLOT) is not None


async def test_who_was_too_slow_overwrites_nothing(redis: Redis) -> None:
    slow = await snapshots.lock(redis, SLOT)
    assert slow is not None
    await snapshots.unlock(redis, SLOT, slow)
    await stored(redis, SLOT, encoded("newer"))

    assert not await snapshots.store(redis, SLOT, slow, encoded("older"))
    assert encoded("newer") == await snapshots.body(redis, SLOT)


async def test_storing_lets_others_build(redis: Redis) -> None:
    await stored(redis, SLOT, encoded())

    assert await snapshots.lock(redis, SLOT) is not None


async def test_readers_and_changes_leave_their_mark(redis: Redis) -> None:
    await snapshots.look(redis, SLOT)
    await snapshots.mark_expired(redis, "default", NOW + timedelta(seconds=1))

    assert ["default"] == await snapshots.read_lately(redis, ["default", "other"])
    assert [] == await snapshots.read_lately(redis, [])
    assert NOW + timedelta(seconds=1) == (await snapshots.look(redis, SLOT)).expired_at


async def test_what_was_announced_is_remembered(redis: Redis) -> None:
    before = await snapshots.announced(redis, "default")
    await snapshots.mark_announced(redis, "default", {"logs": "a", "queue": "b"})
    await snapshots.mark_announced(redis, "default", {"logs": "c"})

    assert {} == before
    assert {"logs": "c", "queue": "b"} == await snapshots.announced(redis, "default")


async def test_one_leads_for_each_tenant(database: Database) -> None:
    async with database.system() as first, database.system() as second:
        led = await snapshots.lead(first, "default")
        others = await snapshots.lead(second, "default"), await snapshots.lead(second, "other")
    async with database.system() as third:
        afterwards = await snapshots.lead(third, "default")

    assert (True, (False, True), True) == (led, others, afterwards)
