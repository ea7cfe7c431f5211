"""Redis away costs a moment, never a request."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from db.redis import REDIS_AWAY, Redis, connect, patience_s


@pytest_asyncio.fixture
async def silent_port() -> AsyncIterator[int]:
    """A server that takes connections and never says a word."""
    open_lines: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_lines.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for line in open_lines:
        line.close()


async def test_a_server_that_never_answers_is_given_up_at_once(silent_port: int) -> None:
    clock = asyncio.get_running_loop().time
    async with connect(f"redis://127.0.0.1:{silent_port}") as redis:
        began = clock()
        with pytest.raises(REDIS_AWAY):
            await redis.get("anything")

    # It would never answer.
    assert clock() - began < 30


async def test_a_server_that_is_not_there_is_given_up_at_once() -> None:
    async with connect("redis://127.0.0.1:1") as redis:
        with pytest.raises(REDIS_AWAY):
            await redis.get("anything")


async def test_who_waits_longer_for_answers_waits_as_long_for_a_connection() -> None:
    """A Redis at the other end of the world would be asked for two seconds, and never be reached."""
    away = "redis://127.0.0.1:1"
    async with connect(away) as usual, connect(away, answer_timeout_s=2) as patient:
        waits = [round(patience_s(each), 3) for each in (usual, patient)]

    assert [0.15, 4.0] == waits


async def _forgotten(client: Redis) -> list[int]:
    """After how many steps of a call a cancellation of it is forgotten."""
    await client.ping()
    forgotten = []
    for steps in range(30):
        call = asyncio.ensure_future(client.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        if call.cancel():
            await asyncio.wait([call])
            if not call.cancelled():
                forgotten.append(steps)
    return forgotten


async def test_a_call_can_be_cancelled_at_any_moment(redis: Redis) -> None:
    """Deadlines are cancellations: one that is forgotten is a deadline that is never kept."""
    assert [] == await _forgotten(redis)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio.wait_for forgets nothing any more")
async def test_control_a_call_over_the_librarys_own_connection_cannot(redis_url: str) -> None:
    async with Redis.from_url(redis_url, socket_timeout=5) as redis:
        assert await _forgotten(redis)
