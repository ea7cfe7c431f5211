"""Requests that come before the one in front of them is answered, and answers whose client has gone meanwhile."""

from contextlib import suppress

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agentos.connections import Connection
from agentos.serving import LIMITS, Server
from tests.agentos.test_connections import GET, POST, Twin, line
from tests.visiting import MEGABYTE, house
from tests.waiting import PATIENCE_S, until

FLOOD = (GET + b"\r\n") * 5_000


def lines(heard: bytes) -> list[bytes]:
    """How each of several answers begins."""
    return [line(b"HTTP/1.1 " + each).removeprefix(b"HTTP/1.1 ") for each in heard.split(b"HTTP/1.1 ")[1:]]


async def flooded(kind: type[Server], said: bytes, *, within_s: float) -> int:
    """How many requests wait, at most, for one that is still answered, after a while or once they are many."""
    async with house(LIMITS, kind) as here:
        visitor = await here.visit(b"GET /wait HTTP/1.1\r\n\r\n" + said)
        await until(lambda: bool(here.server.server_state.tasks))
        [connection] = here.server.server_state.connections
        assert isinstance(connection, HttpToolsProtocol)
        with suppress(AssertionError):
            await until(lambda: len(connection.pipeline) > 1_000, within_s=within_s)
        most = len(connection.pipeline)
        here.heard.go.set()
        visitor.leave()
        return most


async def test_requests_behind_one_that_is_answered_do_not_heap_up() -> None:
    assert 0 == await flooded(Server, FLOOD, within_s=0.3)


async def test_control_uvicorn_alone_keeps_thousands_of_them() -> None:
    assert await flooded(Twin, FLOOD, within_s=PATIENCE_S) > 1_000


async def test_who_sends_more_than_may_wait_is_told_so() -> None:
    async with house(LIMITS) as here:
        heard = await (await here.visit(FLOOD)).heard_all()

    assert [b"200 OK", b"429 Too Many Requests"] == lines(heard)
    assert b'"error":"more than 8 requests wait on this connection","error_code":"RATE_LIMITED"' in heard


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        (FLOOD, b"429 Too Many Requests"),
        (b"JUNK\r\n\r\n", b"400 Bad Request"),
        (GET + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n", b"400 Bad Request"),
    ],
    ids=["a flood", "junk", "a handshake"],
)
async def test_what_is_refused_behind_a_request_takes_not_the_place_of_its_answer(behind: bytes, status: bytes) -> None:
    """It is carried out: told that it was refused, its client would do it again."""
    async with house(LIMITS) as here:
        visitor = await here.visit(b"GET /wait HTTP/1.1\r\n\r\n")
        await until(lambda: bool(here.server.server_state.tasks))
        visitor.say(behind)
        [connection] = here.server.server_state.connections
        assert isinstance(connection, Connection)
        await until(lambda: connection._refuse_next is not None)
        here.heard.go.set()
        heard = await visitor.heard_all()

    assert [b"200 OK", status] == lines(heard)


async def test_a_few_requests_are_answered_one_after_the_other() -> None:
    async with house(LIMITS) as here:
        behind = POST + b"content-length: 5\r\n\r\nhello" + b"POST /ignore HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
        visitor = await here.visit(b"GET /wait HTTP/1.1\r\n\r\n" + behind)
        here.heard.go.set()
        found = [await visitor.answer() for _ in range(3)]

    assert [(200, b"taken"), (200, b"taken"), (200, b"not read")] == found
    assert [0, 5] == here.heard.bodies


async def left(kind: type[Server]) -> tuple[list[str], list[int]]:
    """Who is found gone, and whose body is read, when a connection breaks on which one waits and one is answered."""
    async with house(LIMITS, kind) as here:
        await here.visit(b"GET /wait HTTP/1.1\r\n\r\n" + GET + b"\r\n")
        await until(lambda: bool(here.server.server_state.tasks))
        [connection] = here.server.server_state.connections
        assert isinstance(connection, HttpToolsProtocol)
        connection.transport.abort()
        await until(lambda: not here.server.server_state.connections)
        here.heard.go.set()
        await until(lambda: not here.server.server_state.tasks)
        return here.heard.gone, here.heard.bodies


async def test_a_client_that_has_gone_is_gone_for_the_answer_that_was_on_its_way() -> None:
    """Uvicorn alone tells only the last that came, and what is written for the first fails."""
    assert (["GET"], []) == await left(Server)
    assert ([], [0]) == await left(Twin)


async def old(kind: type[Server], path: bytes) -> bytes:
    async with house(LIMITS, kind) as here:
        return await (await here.visit(b"GET " + path + b" HTTP/1.0\r\n\r\n")).heard_all()


async def test_an_answer_without_a_length_ends_by_closing_for_who_knows_no_chunks() -> None:
    """Uvicorn alone frames it in chunks, of which HTTP/1.0 knows nothing."""
    (head, _, body), taken, chunked = (
        (await old(Server, b"/pour?megabytes=2")).partition(b"\r\n\r\n"),
        await old(Server, b"/"),
        await old(Twin, b"/pour?megabytes=2"),
    )

    assert (False, b"connection: close", MEGABYTE * 2) == (b"chunked" in head, head[-17:], body)
    assert taken.endswith(b"\r\n\r\ntaken")
    assert b"content-length: 5\r\n" in taken
    assert b"transfer-encoding: chunked" in chunked
