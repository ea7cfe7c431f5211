"""The snapshot in Redis: known by its first bytes, built by one at a time, replaced only by who may."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from db import keys, snapshots
from db.database import Database
from db.redis import Redis
from db.snapshots import SCHEMA, Envelope, Slot

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SLOT = Slot("default")


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder is too slow when a test has it be, and not because the machine paused."""
    monkeypatch.setattr(snapshots, "LOCK", timedelta(minutes=1))


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

    assert [SLOT] == await snapshots.read_lately(redis, [SLOT, Slot("default", "7d"), Slot("other")])
    assert [] == await snapshots.read_lately(redis, [])
    assert NOW + timedelta(seconds=1) == (await snapshots.look(redis, SLOT)).expired_at


async def test_who_follows_a_stretch_of_time_has_it_kept_warm_and_no_other(redis: Redis) -> None:
    await snapshots.mark_read(redis, Slot("other", "7d"))

    slots = [Slot("other"), Slot("other", "7d"), Slot("default", "7d")]
    assert [slots[1]] == await snapshots.read_lately(redis, slots)


async def test_what_was_announced_is_remembered(redis: Redis) -> None:
    before = await snapshots.digests(redis, SLOT)
    await snapshots.mark_digests(redis, SLOT, {"logs": "a", "queue": "b"})
    await snapshots.mark_digests(redis, SLOT, {"logs": "c"})

    assert {} == before == await snapshots.digests(redis, Slot("default", "7d"))
    assert {"logs": "c", "queue": "b"} == await snapshots.digests(redis, SLOT)


async def test_versions_are_kept_with_what_they_told_of(redis: Redis) -> None:
    first = await snapshots.keep(redis, SLOT, "v1", b"one", ["logs", "queue", "dashboard"])
    second = await snapshots.keep(redis, SLOT, "v2", b"two", ["queue"])
    third = await snapshots.keep(redis, SLOT, "v3", b"three", ["queue", "dashboard"])
    now = await snapshots.announced(redis, SLOT)

    assert [] == first.before()
    assert [("v1", ["dashboard", "logs", "queue"])] == second.before()
    assert [("v2", ["queue"]), ("v1", ["dashboard", "logs"])] == third.before()
    assert [("v3", ["dashboard", "queue"]), ("v1", ["logs"])] == now.before()
    assert b"two" == await snapshots.packed(redis, SLOT, "v2")


async def test_a_version_is_no_other_tenants_and_of_no_other_stretch_of_time(redis: Redis) -> None:
    await snapshots.keep(redis, SLOT, "v1", b"one", ["logs"])

    for slot in (Slot("other"), Slot("default", "7d")):
        assert await snapshots.packed(redis, slot, "v1") is None
        assert [] == (await snapshots.announced(redis, slot)).before()


async def test_the_oldest_versions_make_room(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by size; what told of a section last may be gone, and is not named any more."""
    monkeypatch.setattr(snapshots, "VERSIONS", 3)
    monkeypatch.setattr(snapshots, "VERSIONS_BYTES", 10)
    await snapshots.keep(redis, SLOT, "v1", b"1", ["logs"])
    for name in ("v2", "v3", "v4"):
        await snapshots.keep(redis, SLOT, name, b"1", ["queue"])
    by_number = await snapshots.announced(redis, SLOT)
    await snapshots.keep(redis, SLOT, "v5", b"1" * 9, ["queue"])
    by_size = await snapshots.announced(redis, SLOT)
    await snapshots.keep(redis, SLOT, "v6", b"1" * 11, ["queue"])

    assert (("v2", "v3", "v4"), ("v4", "v5")) == (by_number.kept, by_size.kept)
    assert ("v6",) == (await snapshots.announced(redis, SLOT)).kept
    assert [("v4", ["queue"])] == by_number.before()
    assert await snapshots.packed(redis, SLOT, "v5") is None


async def test_a_version_that_is_kept_twice_is_there_once(redis: Redis) -> None:
    await snapshots.keep(redis, SLOT, "v1", b"one", ["logs"])
    again = await snapshots.keep(redis, SLOT, "v1", b"one", ["logs"])

    assert [] == again.before()
    assert ("v1",) == (await snapshots.announced(redis, SLOT)).kept


async def test_versions_nobody_announces_any_more_go_by_themselves(redis: Redis) -> None:
    await snapshots.keep(redis, SLOT, "v1", b"one", ["logs"])

    left = [await redis.pttl(key) for key in keys.snapshot_versions(SLOT.about)]
    assert all(0 < each <= snapshots.VERSIONS_FOR / timedelta(milliseconds=1) for each in left)


async def test_no_version_has_so_long_a_name(redis: Redis) -> None:
    name = "v" * (snapshots.LONGEST_VERSION + 1)
    await snapshots.keep(redis, SLOT, name, b"one", ["logs"])

    assert await snapshots.packed(redis, SLOT, name) is None


async def test_one_leads_for_each_snapshot(database: Database) -> None:
    async with database.system() as first, database.system() as second:
        led = await snapshots.lead(first, SLOT)
        others = await snapshots.lead(second, SLOT), await snapshots.lead(second, Slot("other"))
    async with database.system() as third:
        afterwards = await snapshots.lead(third, SLOT)

    assert (True, (False, True), True) == (led, others, afterwards)
