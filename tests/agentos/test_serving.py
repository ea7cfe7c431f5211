"""Serving: a process that gets signals, from its first word to its exit status."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import connect

from agentos.serving import FINISH_S, LIMITS, bound
from agentos.settings import Settings
from db.models.identity import Role
from db.redis import Redis
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import EVENTS, Events, bearer
from tests.conftest import People
from tests.forks import Fork, Forking, forking
from tests.serving import PROTOCOL, Socket, plain_client, served
from tests.visiting import HANDSHAKE, PING, house
from tests.waiting import PATIENCE_S

QUIET_S = 0.8 * FINISH_S
"""A process that waited for somebody who is not to be waited for would take longer to end."""


Started = Callable[[dict[str, str]], AbstractAsyncContextManager[tuple[Fork, str]]]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """What a process that serves the stage needs."""
    return {
        "PATH": os.environ["PATH"],
        "AGENTOS_DATABASE_URL": str(settings.database_url),
        "AGENTOS_REDIS_URL": str(settings.redis_url),
        "AGENTOS_DATA_DIR": str(settings.data_dir),
        "AGENTOS_PORT": "0",
        "AGENTOS_LOG_FORMAT": "json",
    }


fork = forking("tests.agentos.stage")


@pytest.fixture
def process(fork: Forking) -> Started:
    """The way to processes that serve the stage, and to where they do."""

    @asynccontextmanager
    async def started(environment: dict[str, str]) -> AsyncIterator[tuple[Fork, str]]:
        async with fork(env=environment) as child:
            async with asyncio.timeout(2 * PATIENCE_S):
                line = await child.stdout.readline()
            yield child, line.decode().strip()

    return started


@pytest.mark.slow
async def test_what_has_begun_is_finished_and_sockets_and_streams_are_told_to_come_back(
    process: Started, environment: dict[str, str], redis: Redis, people: People, token_of: TokenOf
) -> None:
    """The request is let go only after they were closed, and is answered all the same."""
    token = token_of(people[Role.ADMIN])
    greeting = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
    asked, headers = {"query": "subscription { jobs }"}, {**EVENTS, **bearer(token)}
    async with (
        process(environment) as (child, url),
        plain_client(base_url=url) as client,
        connect(f"{url.replace('http', 'ws')}/graphql", subprotocols=[PROTOCOL], open_timeout=PATIENCE_S) as connection,
        client.stream("POST", "/graphql/stream", json=asked, headers=headers) as response,
    ):
        stream, watching = Events(response), Socket(connection)
        await stream.event()
        await watching.say(greeting)
        await watching.hear()
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(client.post("/graphql", json={"query": "{ lingers }"}))
            await watching.subscribe("1", "{ begun }")
            await watching.hear()
            child.send_signal(signal.SIGTERM)
            code, rest = await watching.ended(), await stream.rest()
            await redis.set(stage.GO, "1")
        async with asyncio.timeout(QUIET_S):
            status = await child.wait()

    assert (1012, 0, {"data": {"lingers": 1}}) == (code, status, slow.result().json())
    assert {None} == {block.event for block in rest}


@pytest.mark.slow
async def test_clients_that_are_no_good_do_not_keep_it_from_a_quiet_end(
    process: Started, environment: dict[str, str], redis: Redis
) -> None:
    """One in a handshake that is none, one that floods with pings, and one that says half a head."""
    async with (
        process(environment) as (child, url),
        plain_client(base_url=url) as client,
        asyncio.TaskGroup() as group,
    ):
        port = int(url.rpartition(":")[2])
        heads = [
            HANDSHAKE % b"/ws" + b"content-length: 5\r\n\r\n",
            HANDSHAKE % b"/graphql" + b"\r\n",
            b"GET / HTTP/1.1\r\n",
        ]
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in heads]
        for (_, writer), head in zip(clients, heads, strict=True):
            writer.write(head)
        refused, accepted = [await reader.readline() for reader, _ in clients[:2]]
        clients[1][1].write(PING * 500_000)
        slow = group.create_task(client.post("/graphql", json={"query": "{ lingers }"}))
        answer = await client.post("/graphql", json={"query": "{ begun }"})
        child.send_signal(signal.SIGTERM)
        await redis.set(stage.GO, "1")
        async with asyncio.timeout(QUIET_S):
            status = await child.wait()
        for _, writer in clients:
            writer.transport.abort()

    assert (b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 101 Switching Protocols\r\n") == (refused, accepted)
    assert (200, 0, {"data": {"lingers": 1}}) == (answer.status_code, status, slow.result().json())


@pytest.mark.slow
async def test_a_second_signal_ends_it_at_once(process: Started, environment: dict[str, str]) -> None:
    async with (
        process(environment) as (child, url),
        plain_client(base_url=url) as client,
    ):
        hanging = asyncio.ensure_future(client.post("/graphql", json={"query": "{ waits }"}))
        answer = await client.post("/graphql", json={"query": "{ begun }"})
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(QUIET_S):
            while True:
                try:
                    await client.get("/livez", headers={"connection": "close"})
                except httpx.TransportError:
                    break
            child.send_signal(signal.SIGTERM)
            status = await child.wait()
        with pytest.raises(httpx.TransportError):
            await hanging

    assert (1, 128 + signal.SIGTERM) == (answer.json()["data"]["begun"], status)


async def test_a_server_notices_at_once_that_it_is_to_end() -> None:
    """It looks after its clients only now and then; whoever has a server would wait for that."""
    async with house(LIMITS) as here:
        [listening] = here.server.servers
        here.server.should_exit = True
        for _ in range(10):
            await asyncio.sleep(0)

        assert not listening.is_serving()


async def test_a_taken_port_is_said_so() -> None:
    with bound("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", taken.getsockname()[1])


async def test_a_message_longer_than_64_kb_never_reaches_us(settings: Settings, services: Services) -> None:
    async with served(stage.staged(settings, services)) as server, server.socket(greet=False) as client:
        await client.say("x" * 65_537)

        assert 1009 == await client.ended()


async def test_without_compression(settings: Settings, services: Services) -> None:
    async with served(stage.staged(settings, services)) as server, server.socket(greet=False) as client:
        assert [] == list(client.connection.protocol.extensions)


def test_a_free_port_is_taken_when_none_is_named() -> None:
    with bound("127.0.0.1", 0) as listening:
        assert socket.AF_INET == listening.family
        assert 0 != listening.getsockname()[1]


def test_no_answer_waits_for_the_acknowledgement_of_its_head() -> None:
    """Control: a socket as Python makes it, whose connections hold back what is written in two parts."""
    undelayed = []
    for listening in (bound("127.0.0.1", 0), socket.create_server(("127.0.0.1", 0))):
        with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            undelayed.append(bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

    assert [True, False] == undelayed
