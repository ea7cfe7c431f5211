"""What one client may take of a server, over real sockets, beside uvicorn's own protocol, which sets no limit."""

import asyncio
import functools
import inspect
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
import uvloop
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.asyncio.client import connect

from agentos.connections import OWN_FILES, TURNED_AWAY, Connection, Limits, fitted, limits_of
from agentos.serving import LIMITS, Server
from agentos.settings import Settings
from tests.serving import plain_client
from tests.visiting import MEGABYTE, House, house
from tests.waiting import PATIENCE_S, until

SHORT = Limits(head_s=0.2, body_window_s=0.25, taking_window_s=0.5, leftover_s=0.2)
GET = b"GET / HTTP/1.1\r\nhost: here\r\n"
POST = b"POST / HTTP/1.1\r\nhost: here\r\n"


class Twin(Server):
    """The same server with uvicorn's own protocol."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.config.http = "httptools"


def line(answer: bytes) -> bytes:
    return answer.partition(b"\r\n")[0]


async def test_a_head_that_stops_half_way_is_let_go_with_408() -> None:
    async with house(SHORT) as here:
        heard = await (await here.visit(GET)).heard_all()

    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"HTTP/1.1 408 Request Timeout" == line(heard)
    assert b"connection: close" in head.split(b"\r\n")
    assert b'"error":"the head of the request came too slowly","error_code":"REQUEST_TIMEOUT"' in body
    assert {b"x-content-type-options: nosniff", b"cache-control: no-store"} <= set(head.split(b"\r\n"))


async def test_so_is_a_head_that_comes_byte_by_byte() -> None:
    async with house(SHORT) as here:
        heard = await (await here.visit(GET)).drips(b"a", 0.05)

    # The first byte of it was taken by who waited for it.
    assert b"TTP/1.1 408 Request Timeout" == line(heard)


async def test_who_never_says_anything_is_let_go_without_a_word() -> None:
    """A browser that connects in advance would take a word for the answer to what it asks later."""
    async with house(SHORT) as here:
        assert b"" == await (await here.visit()).heard_all()


async def test_a_later_head_has_its_time_from_its_first_byte() -> None:
    async def come_back(here: House, said: bytes, drop: bytes) -> tuple[object, bool, bytes]:
        visitor = await here.visit(GET + b"\r\n")
        first, idle = await visitor.answer(), await visitor.stays(3 * SHORT.head_s)
        visitor.say(said)
        return first, idle, line(await visitor.drips(drop, 0.05))

    async with house(SHORT) as here:
        found = await asyncio.gather(come_back(here, GET, b"x"), come_back(here, b"\r\n", b"\r\n"))

    assert [((200, b"taken"), True, b"TTP/1.1 408 Request Timeout")] * 2 == list(found)


async def test_a_head_behind_a_request_that_is_still_answered_waits_with_it() -> None:
    async with house(SHORT) as here:
        visitor = await here.visit(b"GET /wait HTTP/1.1\r\n\r\n" + GET)
        waited = await visitor.stays(3 * SHORT.head_s)
        here.heard.go.set()
        first = await visitor.answer()
        visitor.say(b"\r\n")

        assert (True, (200, b"taken"), (200, b"taken")) == (waited, first, await visitor.answer())


SLOW_BODIES = {
    "a length": (b"content-length: 50000\r\n\r\n", b"x"),
    "chunks": (b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "much beside the bytes of a chunk": (b"transfer-encoding: chunked\r\n\r\n1;", b"x" * 4096),
    "fields without end behind it": (b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
}


async def test_a_body_that_does_not_get_on_is_let_go_with_408() -> None:
    async def send(here: House, announced: bytes, drop: bytes) -> bytes:
        return await (await here.visit(POST + announced)).drips(drop, 0.05)

    async with house(SHORT) as here:
        heard = await asyncio.gather(*(send(here, *body) for body in SLOW_BODIES.values()))

    assert [b"TTP/1.1 408 Request Timeout"] * 4 == [line(each) for each in heard]
    assert all(b"the body of the request came too slowly" in each for each in heard)
    assert (["POST"] * 4, []) == (here.heard.gone, here.heard.bodies)


class Blindfold(Server):
    """One that looks for nobody who is late, so that a test can, by a clock of its own."""

    def _let_go_of_the_late(self) -> None:
        """Look at nobody."""


async def test_an_honest_slow_upload_goes_through() -> None:
    """Four windows long, at twice the pace."""
    async with house(SHORT, Blindfold) as here:
        visitor = await here.visit(POST + b"content-length: 2000\r\n\r\n")
        await until(lambda: bool(here.server.server_state.tasks))
        [connection] = here.server.server_state.connections
        assert isinstance(connection, Connection)
        now, late = asyncio.get_running_loop().time(), []
        for _ in range(4):
            visitor.say(b"x" * 500)
            await until(lambda: connection._body_bytes == 500)
            now += 1.1 * SHORT.body_window_s
            late.append(connection.late(now))

        assert ([None] * 4, (200, b"taken")) == (late, await visitor.answer())
    assert [2000] == here.heard.bodies


async def test_who_waits_for_us_is_not_late() -> None:
    """With a body that nobody reads yet, and with one that nobody has invited yet."""
    async with house(SHORT) as here:
        sent = await here.visit(b"POST /wait HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n" + bytes(3_000_000))
        asked = await here.visit(b"POST /wait HTTP/1.1\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        waited = await asyncio.gather(sent.stays(3 * SHORT.body_window_s), asked.stays(3 * SHORT.body_window_s))
        here.heard.go.set()
        invited = await asked.reader.readuntil(b"\r\n\r\n")
        asked.say(b"hello")

        assert ([True, True], b"HTTP/1.1 100 Continue\r\n\r\n") == (list(waited), invited)
        assert (200, b"taken") == await sent.answer() == await asked.answer()
    assert [5, 3_000_000] == sorted(here.heard.bodies)


async def test_what_is_left_of_a_body_after_the_answer_is_not_taken_for_long() -> None:
    async with house(SHORT) as here:
        visitor = await here.visit(b"POST /ignore HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n")
        first = await visitor.answer()
        rest = await visitor.drips(bytes(1000), 0.01)

    assert ((200, b"not read"), True) == (first, rest in (b"", b"reset"))


async def test_a_rest_that_comes_soon_keeps_the_connection() -> None:
    async with house(SHORT) as here:
        visitor = await here.visit(b"POST /ignore HTTP/1.1\r\ncontent-length: 1000\r\n\r\n")
        first = await visitor.answer()
        visitor.say(bytes(1000) + GET + b"\r\n")

        assert ((200, b"not read"), (200, b"taken")) == (first, await visitor.answer())


async def test_a_body_that_was_not_invited_is_not_waited_for() -> None:
    """What comes next on the connection could be a request, and would be taken for the body."""
    async with house(SHORT) as here:
        visitor = await here.visit(b"POST /ignore HTTP/1.1\r\ncontent-length: 50\r\nexpect: 100-continue\r\n\r\n")

        assert (await visitor.heard_all()).endswith(b"not read")


HOLDING = {
    "half a head": GET,
    "nothing": b"",
    "half a body": POST + b"content-length: 1000\r\n\r\nabc",
    "a chunk without end": POST + b"transfer-encoding: chunked\r\n\r\nfff\r\nabc",
}


async def pressed(kind: type[Server], within_s: float) -> tuple[int, int, float]:
    """How many of 200 slow clients are let go in time, and how others are answered meanwhile: how many, how soon."""
    async with house(SHORT, kind) as here:
        slow = [await here.visit(said) for said in HOLDING.values() for _ in range(50)]
        took = []
        for _ in range(20):
            began = time.monotonic()
            status, _ = await (await here.visit(GET + b"\r\n")).answer()
            took.append(time.monotonic() - began if status == 200 else PATIENCE_S)
        went = await asyncio.gather(*(visitor.stays(within_s) for visitor in slow))
        return went.count(False), len(took), max(took)


async def test_two_hundred_slow_clients_hold_nobody_up_and_are_let_go() -> None:
    gone, answered, longest = await pressed(Server, PATIENCE_S)

    assert (200, 20) == (gone, answered)
    assert longest < PATIENCE_S / 3


async def test_control_uvicorn_alone_holds_every_slow_client() -> None:
    gone, answered, _ = await pressed(Twin, 4 * SHORT.head_s)

    assert (0, 20) == (gone, answered)


async def not_read(kind: type[Server], path: bytes, within_s: float = PATIENCE_S) -> bool:
    """Whether somebody who takes nothing of a long answer is let go in time, and what wrote it ended."""
    async with house(SHORT, kind) as here:
        visitor = await here.visit(b"GET " + path + b" HTTP/1.1\r\n\r\n", room=4096)
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        with suppress(AssertionError):
            await until(lambda: here.heard.ended.is_set() or path == b"/whole", within_s=within_s)
            await until(lambda: not here.server.server_state.connections, within_s=within_s)
        return not here.server.server_state.connections


async def test_a_reader_that_does_not_read_is_let_go() -> None:
    """Also behind the last that is written, when only the system still waits for the client."""
    stream, whole, alone = b"/pour?megabytes=64", b"/whole", b"/pour?megabytes=63"

    unread = not_read(Server, stream), not_read(Server, whole), not_read(Twin, alone, 4 * SHORT.taking_window_s)
    gone = await asyncio.gather(*unread)

    assert (True, True, False) == tuple(gone)


class Sightless(Connection):
    """One that looks at its own buffer alone."""

    def _on_the_way(self) -> int:
        return self.transport.get_write_buffer_size()


class Weaker(Server):
    """A server of such connections."""

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, limits=limits, **options)
        self.config.http = functools.partial(Sightless, limits=limits)  # type: ignore[assignment]  # only ever called


async def read_slowly(kind: type[Server]) -> int:
    """What a reader gets who takes about a megabyte a second for five windows, and then the rest."""
    loop = asyncio.get_running_loop()
    async with house(SHORT, kind) as here:
        with socket.create_connection(("127.0.0.1", here.port)) as plug:
            plug.setblocking(False)
            await loop.sock_sendall(plug, b"GET /pour?megabytes=16 HTTP/1.1\r\nconnection: close\r\n\r\n")
            got, began = 0, loop.time()
            with suppress(ConnectionResetError):
                async with asyncio.timeout(PATIENCE_S):
                    while block := await loop.sock_recv(plug, 65_536):
                        got += len(block)
                        ahead = began + got / len(MEGABYTE) - loop.time()
                        if ahead > 0 and loop.time() - began < 5 * SHORT.taking_window_s:
                            with suppress(TimeoutError):
                                await asyncio.wait_for(asyncio.Event().wait(), ahead)
        return got


async def test_a_reader_that_reads_slowly_gets_everything() -> None:
    """And does not without a look at the system's buffer, of which a large part must be gone before more is taken."""
    seeing, sightless = await asyncio.gather(read_slowly(Server), read_slowly(Weaker))

    assert sightless < 16 * len(MEGABYTE) < seeing


LONG = replace(LIMITS, head_bytes=4096)


@pytest.mark.parametrize(
    "said",
    [
        GET + b"x: y\r\n" * 100 + b"\r\n",
        GET + b"x: " + b"y" * 4096 + b"\r\n\r\n",
        b"GET /?" + b"y" * 4096 + b" HTTP/1.1\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 100 + b"\r\n",
    ],
    ids=["101 fields", "a long field", "a long target", "100 fields behind the body"],
)
async def test_a_long_head_is_refused(said: bytes) -> None:
    async with house(LONG) as here:
        heard = await (await here.visit(said)).heard_all()

    assert b"HTTP/1.1 431 Request Header Fields Too Large" == line(heard)
    assert b'"error_code":"TOO_LARGE"' in heard


@pytest.mark.parametrize("drop", [b"y" * 500, b"x: y\r\n", b"\r\n" * 200], ids=["a field", "fields", "empty lines"])
async def test_so_is_one_that_does_not_end(drop: bytes) -> None:
    async with house(replace(LONG, head_bytes=2048)) as here:
        visitor = await here.visit(b"" if drop.startswith(b"\r") else GET + b"x: y")
        heard = await visitor.drips(drop, 0.005)

    assert b"TTP/1.1 431 Request Header Fields Too Large" == line(heard)


async def test_a_head_of_the_usual_length_is_not_long() -> None:
    """Counted for each request, however many came on the connection, and without what came before it."""
    async with house(LONG) as here:
        visitor = await here.visit()
        for _ in range(3):
            said = GET + b"cookie: " + b"y" * 3000 + b"\r\n\r\n"
            visitor.say(POST + b"content-length: 9000\r\n\r\n" + bytes(9000) + said[:500])
            first = await visitor.answer()
            visitor.say(said[500:])

            assert (200, b"taken") == first == await visitor.answer()


async def test_a_field_behind_the_body_is_no_header() -> None:
    """It was read after everything had been decided by those in front of it."""
    chunked = b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nauthorization: Bearer me\r\n\r\n"
    async with house(SHORT) as here, house(SHORT, Twin) as twin:
        for each in (here, twin):
            assert (200, b"taken") == await (await each.visit(POST + chunked)).answer()

    assert "authorization" not in here.heard.fields[0]
    assert "Bearer me" == twin.heard.fields[0]["authorization"]


async def test_what_is_no_request_is_refused_like_everything() -> None:
    async with house(SHORT) as here:
        heard = await (await here.visit(b"HELLO\r\n\r\n")).heard_all()

    assert b"HTTP/1.1 400 Bad Request" == line(heard)
    assert b'"error":"invalid http request received","error_code":"VALIDATION_ERROR"' in heard
    assert b"x-frame-options: DENY\r\n" in heard


async def test_one_address_has_only_so_many_connections_and_gets_them_back() -> None:
    async with house(replace(LIMITS, connections_per_address=3, leftover_s=0.2)) as here:
        held = [await here.visit() for _ in range(3)]
        refused = await (await here.visit()).heard_all()
        other = await (await here.visit(GET + b"\r\n", source="127.0.0.2")).answer()
        held[0].leave()
        await until(lambda: len(here.server.server_state.connections) == 3)
        again = await (await here.visit(GET + b"\r\n")).answer()

    assert b"HTTP/1.1 503 Service Unavailable" == line(refused)
    assert {b"retry-after: 1", b"connection: close"} <= set(refused.split(b"\r\n"))
    assert (200, b"taken") == other == again


async def test_a_proxy_that_is_trusted_has_as_many_as_there_are() -> None:
    proxied = replace(LIMITS, connections=8, connections_per_address=3, trusted=(ip_network("127.0.0.0/8"),))
    async with house(proxied) as here:
        held = [await here.visit() for _ in range(7)]
        last = await (await here.visit(GET + b"\r\n")).answer()
        refused = await (await here.visit(GET + b"\r\n")).heard_all()

    assert (7, (200, b"taken")) == (len(held), last)
    assert b"HTTP/1.1 503 Service Unavailable" == line(refused)


async def test_an_ordinary_client_understands_that_there_is_no_room() -> None:
    async with house(replace(LIMITS, connections=4)) as here:
        for _ in range(4):
            await here.visit()
        async with plain_client() as client:
            answer = await client.post(f"http://127.0.0.1:{here.port}/", content=b"x" * 100)

    assert (503, "UNAVAILABLE") == (answer.status_code, answer.json()["error_code"])


async def test_a_socket_outlives_every_limit_and_counts_as_a_connection() -> None:
    async with (
        house(replace(SHORT, connections_per_address=1)) as here,
        connect(f"ws://127.0.0.1:{here.port}/chat") as chat,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat.recv(), 3 * SHORT.head_s)
        refused = await (await here.visit(GET)).heard_all()
        await chat.send("still there?")

        assert ("still there?", b"HTTP/1.1 503 Service Unavailable") == (await chat.recv(), line(refused))


async def test_the_loop_that_serves_outside_of_tests_does_the_same() -> None:
    """uvloop has transports of its own."""

    async def run() -> tuple[bytes, bytes, bool]:
        async with house(SHORT) as here:
            slow, body = await here.visit(GET), await here.visit(POST + b"content-length: 9\r\n\r\n")
            idle = await here.visit(b"GET /pour?megabytes=64 HTTP/1.1\r\n\r\n", room=4096)
            idle.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
            heard = await asyncio.gather(slow.heard_all(), body.heard_all())
            async with asyncio.timeout(PATIENCE_S):
                await here.heard.ended.wait()
            return line(heard[0]), line(heard[1]), isinstance(asyncio.get_running_loop(), uvloop.Loop)

    head, body, fast = await asyncio.to_thread(uvloop.run, run())

    assert (b"HTTP/1.1 408 Request Timeout", True) == (head, fast)
    assert head == body


def test_limits_are_those_of_the_settings() -> None:
    proxies = (ip_network("10.0.0.0/8"),)
    set_so = Settings(connections=7, connections_per_address=3, trusted_proxies=proxies)

    assert replace(LIMITS, connections=7, connections_per_address=3, trusted=proxies) == limits_of(set_so)
    assert limits_of(Settings()) == LIMITS


@pytest.fixture
def files() -> Iterator[Callable[[int], None]]:
    """Sets how many files this process may open, until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_there_are_files_for_every_connection(files: Callable[[int], None]) -> None:
    files(700)
    few = fitted(replace(LIMITS, connections=100))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    more = fitted(replace(LIMITS, connections=1000))
    after, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    beyond = fitted(replace(LIMITS, connections=10 * most))

    assert (100, 700, 1000, 1250 + OWN_FILES) == (few.connections, before, more.connections, after)
    assert int((most - OWN_FILES) / TURNED_AWAY) == beyond.connections


def test_uvicorn_still_has_what_a_connection_is_built_on() -> None:
    """Names that uvicorn may change without a word: whoever changes its version looks at `agentos/connections.py`."""
    overridden = {
        name
        for name, value in vars(Connection).items()
        if inspect.isfunction(value) and hasattr(HttpToolsProtocol, name)
    }
    source = (
        inspect.getsource(HttpToolsProtocol) + inspect.getsource(RequestResponseCycle) + inspect.getsource(FlowControl)
    )
    used = {
        "self.cycle: RequestResponseCycle = None",
        "self.flow = FlowControl(transport)",
        "self.connections.add(self)",
        "self.connections.discard(self)",
        "self.client = get_remote_addr(transport)",
        "on_response=self.on_response_complete,",
        "self.read_paused = True",
        "self.write_paused = True",
        "self.waiting_for_100_continue = expect_100_continue",
        "self.response_complete = True",
        "self.response_started = True",
        "if self.disconnected:",
        "self.message_event.set()",
        "self.send_400_response(msg)",
        "self._start_asgi_task(self.cycle, app)",
        "self._start_asgi_task(cycle, app)",
        "self.chunked_encoding: bool | None = None",
        "if self.chunked_encoding is None and",
        "self.expected_content_length -= num_bytes",
        "self.pipeline.appendleft((self.cycle, app))",
    }

    assert {
        "__init__",
        "connection_made",
        "connection_lost",
        "_start_asgi_task",
        "data_received",
        "handle_websocket_upgrade",
        "on_message_begin",
        "on_url",
        "on_header",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "resume_writing",
        "send_400_response",
    } == overridden
    assert set() == {each for each in used if each not in source}


async def test_no_word_is_required_of_a_client_that_has_gone() -> None:
    """Requiring one of a socket that is closed fails, and the client's leave would be told of as a fault of ours."""
    async with house(SHORT) as here:
        visitor = await here.visit(GET)
        await until(lambda: bool(here.server.server_state.connections))
        [connection] = here.server.server_state.connections
        assert isinstance(connection, Connection)
        visitor.leave()
        await until(lambda: not here.server.server_state.connections)

        connection.require_word(1.0)
        connection.abandon()
