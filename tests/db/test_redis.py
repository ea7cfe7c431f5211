"""Redis away costs a moment, never a request."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from db.redis import REDIS_AWAY, connect


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

    assert clock() - began < 0.5


async def test_a_server_that_is_not_there_is_given_up_at_once() -> None:
    async with connect("redis://127.0.0.1:1") as redis:
        with pytest.raises(REDIS_AWAY):
            await redis.get("anything")
