"""What an answer that goes on makes of its connection: it has it for itself, and nobody waits for who takes nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from agentos.connections import Connection
from agentos.settings import Settings
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import WATCH, beating, events, flows_of, queued
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import PATIENCE_S, until

POUR = "subscription { pours(bytes: 65536) }"


@asynccontextmanager
async def deaf(server: Served, token: str) -> AsyncIterator[socket.socket]:
    """Somebody who asks for more than anybody takes, and reads nothing of it but the first byte."""
    asked = httpx.QueryParams({"query": POUR})
    head = f"GET /graphql/stream?{asked} HTTP/1.1\r\nhost: here\r\naccept: text/event-stream\r\n"
    with socket.socket() as plug:
        plug.setblocking(False)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plug, (server.host, server.port))
        await loop.sock_sendall(plug, f"{head}authorization: Bearer {token}\r\n\r\n".encode())
        assert b"H" == await loop.sock_recv(plug, 1)
        yield plug


async def all_of(plug: socket.socket) -> bytes:
    """What a client finds once it reads after all."""
    found, loop = bytearray(), asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        try:
            while chunk := await loop.sock_recv(plug, 2**16):
                found += chunk
        except ConnectionResetError:
            pass
    return bytes(found)


@asynccontextmanager
async def plugged(
    server: Served, token: str, more: str = "\r\n"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that asks for a stream, with what follows its head."""
    head = f"GET /graphql/stream?{httpx.QueryParams({'query': WATCH})} HTTP/1.1\r\nhost: here\r\n"
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(f"{head}accept: text/event-stream\r\nauthorization: Bearer {token}\r\n{more}".encode())
        yield reader, writer
    finally:
        writer.transport.abort()


class Sharing(Connection):
    """One that goes on to take requests behind an answer that goes on."""

    def give_up_to_answer(self) -> None:
        """Give nothing up."""


SAID_BEHIND = {"a request": b"GET / HTTP/1.1\r\n\r\n", "half of one": b"GET", "something": b"\xff"}


@pytest.mark.parametrize("said", SAID_BEHIND.values(), ids=SAID_BEHIND)
async def test_a_flow_ends_when_its_client_says_more(
    server: Served, people: People, token_of: TokenOf, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Each heartbeat would read more of it, without end."""
    async with plugged(server, token_of(people[Role.USER])) as (reader, writer), asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"listening")
        writer.write(said)
        rest = await reader.read(-1)
        await until(lambda: not flows_of(server.app).held)

    assert b"HTTP/1.1" not in rest
    assert [] == [each.message for each in caplog.records if "failed" in each.message]


BEHIND = {
    "a body without end": "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a request": "\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("more", BEHIND.values(), ids=BEHIND)
async def test_a_flow_does_not_begin_with_something_behind_it(
    server: Served, people: People, token_of: TokenOf, more: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugged(server, token_of(people[Role.USER]), more) as (reader, _), asyncio.timeout(PATIENCE_S):
        heard = await reader.read(-1)
        await until(lambda: not flows_of(server.app).held)

    assert heard.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"a stream has its connection for itself" in heard
    assert [] == [each.message for each in caplog.records if "failed" in each.message]


async def test_control_a_connection_that_is_shared_keeps_what_comes_behind(
    server: Served, people: People, token_of: TokenOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "give_up_to_answer", Sharing.give_up_to_answer)
    # With a request behind it, nothing is read that would tell that the client has gone: a heartbeat finds out.
    beating(server.app, 0.1)
    async with plugged(server, token_of(people[Role.USER])) as (reader, writer), asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"listening")
        writer.write(SAID_BEHIND["a request"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(-1), 0.3)

        assert 1 == flows_of(server.app).held.total()


async def test_who_takes_nothing_is_let_go_and_holds_up_nobody(
    settings: Settings, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Their answer breaks off, and is not made to look as if it were whole; where nobody looks, they stay."""
    user, admin = people[Role.USER], people[Role.ADMIN]
    app, patient = stage.staged(settings, services), stage.staged(settings, services)
    flows_of(app).send_s = 0.3
    async with (
        served(app) as server,
        served(patient) as twin,
        deaf(twin, token_of(user)),
        events(server, token_of(admin), WATCH) as stream,
        deaf(server, token_of(user)) as plug,
    ):
        await stream.event()
        job = await queued(database, tenant)
        told = (await stream.event()).body["data"]["jobs"]
        await until(lambda: flows_of(app).held[user.id] == 0)
        kept = flows_of(patient).held[user.id]
        answer = await all_of(plug)

    assert (str(job.id), 1) == (told, kept)
    assert answer.startswith(b"TTP/1.1 200 OK\r\n")
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can be told to")
async def test_whose_machine_confirms_nothing_is_taken_to_be_gone(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """The system finds out, and no answer that is not a flow is looked at in that way."""
    user, app = people[Role.USER], stage.staged(settings, services)
    flows_of(app).confirm_s = 0.3
    async with served(app) as server, deaf(server, token_of(user)):
        await until(lambda: flows_of(app).held[user.id] == 0)
        async with events(server, token_of(user), WATCH) as stream:
            await stream.event()
            during = patience_of(server)
        async with events(server, token_of(user), "{ open }") as stream:
            await stream.rest()
        after = patience_of(server)

    assert ([300], [0]) == (during, after)


def patience_of(server: Served) -> list[int]:
    """In milliseconds, with each client that is there."""
    plugs = [each.transport.get_extra_info("socket") for each in server.server.server_state.connections]
    return [plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for plug in plugs]
