"""How the stores are, and where they stand."""

import asyncio

from db import health
from db.database import Database
from db.health import Address, PoolWatch
from db.redis import Redis, connect


async def test_a_pool_is_watched_from_the_first_connection_on(database_url: str, tenant: str) -> None:
    database = Database.connect(database_url, size=3)
    watch = PoolWatch(database)
    before = watch.figures()
    async with database.transaction(tenant):
        during = watch.figures()
    after = watch.figures()
    await database.close()

    assert (3, 0, 0) == (before.capacity, before.opened, before.checked_out)
    assert (1, 1, 0) == (during.opened, during.checked_out, during.checked_in)
    assert (1, 0, 1) == (after.opened, after.checked_out, after.checked_in)
    assert 1 == watch.figures().closed


async def test_the_database_says_how_large_and_how_busy_it_is(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx, database.transaction(tenant) as other:
        assert await health.latency_ms(other) > 0
        size, connections = await health.database_extent(tx)
        assert 2 <= connections == await health.connections(tx)

    assert size > 1_000_000


async def test_redis_answers_or_does_not(redis: Redis) -> None:
    assert await health.redis_answers(redis)
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        assert not await health.redis_answers(nowhere)


async def test_redis_that_accepts_and_says_nothing_does_not_answer() -> None:
    silent = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0") as hanging, asyncio.timeout(60):
        answered = await health.redis_answers(hanging)
    silent.set()
    server.close()
    await server.wait_closed()

    assert not answered


async def test_an_address_has_neither_user_nor_password() -> None:
    database = Database.connect("postgresql+asyncpg://ada:secret@db.test:5433/videos")
    async with connect("redis://:secret@cache.test:6380/3") as redis:
        stands = health.database_address(database), health.redis_address(redis)
    await database.close()

    assert (Address("db.test", 5433, "videos"), Address("cache.test", 6380, "3")) == stands
