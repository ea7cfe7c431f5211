"""Streams: what is added once and in order, and what tells a reader that something may be missing."""

from datetime import UTC, datetime, timedelta

import pytest

from db import keys, streams
from db.events import START, Cursor, Event, Kind
from db.redis import Redis


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch ends when a test has it end, and not because the machine paused."""
    monkeypatch.setattr(streams, "EPOCH_LASTS", timedelta(minutes=1))


def event(number: int, tenant: str = "default") -> Event:
    return Event(
        cursor=Cursor(number, number + 1),
        tenant_id=tenant,
        kind=Kind.JOB_CHANGED,
        entity_id=f"job {number}",
        owner_id=None,
        payload={"status": "queued", "number": number},
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
    )


async def test_what_is_added_is_read_after_a_position_in_its_tenant(redis: Redis) -> None:
    assert await streams.taken(redis, "epoch")
    told = [(START, event(5)), (event(5).cursor, event(7)), (START, event(6, "other"))]
    assert await streams.add(redis, "epoch", told)

    found = await streams.read(redis, {"default": event(5).cursor, "other": START, "empty": START}, most=10)

    assert (
        streams.Read(
            "epoch",
            {"default": [streams.Entry(event(5).cursor, event(7))], "other": [streams.Entry(START, event(6, "other"))]},
        )
        == found
    )


async def test_an_event_is_there_once_and_none_before_an_older_one(redis: Redis) -> None:
    await streams.taken(redis, "epoch")
    for number in (5, 7, 5, 6, 7):
        await streams.add(redis, "epoch", [(START, event(number))])

    found = await streams.read(redis, {"default": START}, most=10)

    assert [event(5), event(7)] == [entry.event for entry in found.entries["default"]]


async def test_one_adds_at_a_time_and_only_in_its_epoch(redis: Redis) -> None:
    assert [True, False] == [await streams.taken(redis, epoch) for epoch in ("first", "second")]
    assert not await streams.add(redis, "second", [(START, event(5))])

    await streams.end(redis, "second")
    assert await streams.led(redis)
    await streams.end(redis, "first")

    assert streams.Read(None, {}) == await streams.read(redis, {"default": START}, most=10)
    assert await streams.taken(redis, "second")


async def test_who_adds_nothing_for_too_long_is_followed_by_another(redis: Redis) -> None:
    await streams.taken(redis, "first")
    before = await redis.pttl(keys.EVENTS_EPOCH)
    await redis.pexpire(keys.EVENTS_EPOCH, 1)
    while await streams.led(redis):
        pass

    assert not await streams.add(redis, "first", [])
    assert await streams.taken(redis, "second")
    assert 0 < before <= streams.EPOCH_LASTS.total_seconds() * 1000
