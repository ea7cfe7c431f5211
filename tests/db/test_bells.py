"""Bells: one process wakes another, and nobody minds when Redis is away."""

import asyncio

from db import bells
from db.bells import Bell
from db.redis import Redis, connect
from tests.waiting import until


async def test_whoever_listens_is_woken(redis: Redis) -> None:
    bell = Bell(redis, "tests:one", "tests:other")
    hearing = asyncio.create_task(bell.hear())

    async def listened() -> bool:
        heard: list[tuple[bytes, int]] = await redis.pubsub_numsub("tests:other")
        return [(b"tests:other", 1)] == heard

    await until(listened)
    await bells.ring(redis, "tests:other")
    # Not woken, it waits for a minute.
    async with asyncio.timeout(50):
        await bell.wait(60)
    hearing.cancel()
    await asyncio.wait([hearing])


async def test_nobody_is_woken_for_ever(redis: Redis) -> None:
    async with asyncio.timeout(60):
        await Bell(redis, "tests:silent").wait(0.01)


async def test_a_bell_that_cannot_be_rung_troubles_nobody() -> None:
    nowhere = connect("redis://127.0.0.1:1")
    await bells.ring(nowhere, "tests:one")
    await nowhere.aclose()
