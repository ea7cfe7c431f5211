"""What one WebSocket may take of a server, over real sockets, beside uvicorn's own protocol, which counts messages."""

import asyncio
import inspect
import logging
import socket
import struct
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import Server as Uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agentos.closes import Close
from agentos.connections import Limits
from agentos.serving import FINISH_S, LIMITS, Server
from agentos.settings import Settings
from agentos.wires import Excess, Frames, Stalled, Wire
from resolvers.context import Services
from tests.agentos import stage
from tests.serving import PROTOCOL, served
from tests.visiting import HANDSHAKE, MASK, PING, House, Visitor, house
from tests.waiting import PATIENCE_S, until

SHORT = Limits(handshake_s=1.0, parting_s=1.0, leftover_s=0.2)
PONG = b"\x8a\x80" + MASK
BEGUN = b"\x01\x80" + MASK
GOES_ON = b"\x00\x80" + MASK
MESSAGE = b"\x81\x80" + MASK
EXCESSES = {
    "pings": PING * 2_000,
    "pongs": PONG * 2_000,
    "fragments": BEGUN + GOES_ON * 2_000,
    "messages": MESSAGE * 2_000,
}


class Twin(Server):
    """The same server with uvicorn's own protocols for sockets and for what comes before, and its own end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.config.ws = "websockets-sansio"
        self.config.http = "httptools"
        self.fell = asyncio.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await Uvicorn.shutdown(self, sockets)
        except AssertionError:
            self.fell.set()
            await self.lifespan.shutdown()


async def opened(here: House, path: bytes = b"/chat", *, room: int | None = None) -> Visitor:
    """A socket that has been accepted."""
    visitor = await here.visit(HANDSHAKE % path + b"\r\n", room=room)
    async with asyncio.timeout(PATIENCE_S):
        assert b"HTTP/1.1 101" == (await visitor.reader.readuntil(b"\r\n\r\n"))[:12]
    return visitor


def told(heard: bytes) -> int | None:
    """The code of the close frame that is heard last."""
    at = heard.rfind(b"\x88")
    found: int | None = None if at < 0 else struct.unpack_from("!H", heard, at + 2)[0]
    return found


@pytest.mark.parametrize("sent", EXCESSES.values(), ids=EXCESSES)
async def test_who_sends_too_much_is_told_so(sent: bytes) -> None:
    """Nothing of the excess is answered, and the word arrives although more is on its way."""
    async with house(LIMITS) as here:
        visitor = await opened(here)
        visitor.say(sent * 10)
        heard = await visitor.heard_all()

    assert (Close.TOO_MUCH, b"\x88") == (told(heard), heard[:1])


async def test_control_uvicorn_alone_answers_every_ping() -> None:
    async with house(LIMITS, Twin) as here:
        visitor = await opened(here)
        visitor.say(EXCESSES["pings"])
        async with asyncio.timeout(PATIENCE_S):
            pongs = await visitor.reader.readexactly(2 * 2_000)

    assert b"\x8a\x00" * 2_000 == pongs


MOJIBAKE = b"\x81\x82" + MASK + b"\xff\xfe"


async def misspoken(kind: type[Server], caplog: pytest.LogCaptureFixture) -> tuple[int | None, list[str]]:
    """The code by which a socket ends whose text is none, with a ping behind it, and what is told of it."""
    caplog.clear()
    async with house(SHORT, kind) as here:
        visitor = await opened(here)
        visitor.say(MOJIBAKE + PING)
        heard = await visitor.heard_all()
    return told(heard), [record.message for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_text_that_is_none_ends_the_socket_and_is_nothing_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send one, and often; uvicorn alone tells of each with a traceback."""
    assert (Close.INVALID, []) == await misspoken(Server, caplog)
    assert "Invalid UTF-8 sequence received from client." in (await misspoken(Twin, caplog))[1]


async def test_a_text_in_parts_is_read_as_a_whole() -> None:
    """A letter may be cut in two."""
    begun, rest = b"\x01\x81" + MASK + b"\xc3", b"\x80\x81" + MASK + b"\xa4"
    async with house(SHORT) as here:
        visitor = await opened(here)
        visitor.say(begun + rest)
        async with asyncio.timeout(PATIENCE_S):
            assert b"\x81\x02\xc3\xa4" == await visitor.reader.readexactly(4)


async def test_three_megabytes_of_pings_hold_nobody_up() -> None:
    async with house(LIMITS) as here:
        visitor = await opened(here)
        visitor.say(PING * 500_000)
        took = []
        for _ in range(20):
            # What this process does meanwhile: one that is paused does nothing.
            began = time.process_time()
            assert (200, b"taken") == await (await here.visit(b"GET / HTTP/1.1\r\n\r\n")).answer()
            took.append(time.process_time() - began)

    assert max(took) < 0.5


async def test_an_honest_client_never_notices() -> None:
    """Fifty messages a second and a ping, a message in many parts, and a ping between them."""

    async def talk(chat: ClientConnection) -> list[str | bytes]:
        for number in range(50):
            await chat.send(str(number))
        pinged = [await chat.ping() for _ in range(50)]
        # Who takes none of the answers has soon nothing more read from its connection, pongs included.
        echoed = [await chat.recv() for _ in range(50)]
        await asyncio.gather(*pinged)
        await chat.send(["part"] * 800)
        return [*echoed, await chat.recv()]

    async with house(LIMITS) as here, connect(f"ws://127.0.0.1:{here.port}/chat") as chat:
        async with asyncio.timeout(PATIENCE_S):
            heard = await talk(chat)

    assert [*map(str, range(50)), "part" * 800] == heard


@pytest.mark.parametrize("path", ["/graphql", "/ws"])
async def test_every_socket_of_the_application_has_these_limits(
    settings: Settings, services: Services, path: str
) -> None:
    async with (
        served(stage.staged(settings, services)) as server,
        connect(f"ws://{server.host}:{server.port}{path}", subprotocols=[PROTOCOL]) as client,
    ):
        with suppress(ConnectionClosed):
            # Ten times as many: they need not all come within one second.
            for _ in range(10 * LIMITS.controls_per_s):
                await client.pong()
        async with asyncio.timeout(PATIENCE_S):
            await client.wait_closed()

    assert Close.TOO_MUCH == client.close_code


def count(sent: bytes, size: int, limits: Limits = LIMITS) -> None:
    frames = Frames(limits)
    for at in range(0, len(sent), size):
        frames.count(sent[at : at + size], 1.0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000, 100_000])
def test_frames_are_counted_however_they_are_cut(size: int) -> None:
    long, longer = struct.pack("!BBH", 0x82, 0xFE, 300), struct.pack("!BBQ", 0x82, 0xFF, 70_000)
    sent = PING + long + MASK + b"\x89" * 300 + MESSAGE + longer + MASK + b"\x89" * 70_000 + PONG

    count(sent, size, replace(LIMITS, frames_per_s=5, controls_per_s=2))
    with pytest.raises(Excess, match="more than 4 frames in a second"):
        count(sent, size, replace(LIMITS, frames_per_s=4))
    with pytest.raises(Excess, match="more than 1 pings"):
        count(sent, size, replace(LIMITS, controls_per_s=1))


def test_a_second_later_they_are_counted_anew_but_for_fragments() -> None:
    frames = Frames(replace(LIMITS, controls_per_s=1, fragments=2))
    for now in range(5):
        frames.count(PING, float(now))
    frames.count(BEGUN, 5.0)
    frames.count(GOES_ON, 6.0)

    with pytest.raises(Excess, match="more than 2 fragments"):
        frames.count(GOES_ON, 7.0)


NO_HANDSHAKES = {
    "a body": HANDSHAKE % b"/chat" + b"content-length: 5\r\n\r\n",
    "a body that is there": HANDSHAKE % b"/chat" + b"content-length: 5\r\n\r\nhello",
    "chunks": HANDSHAKE % b"/chat" + b"transfer-encoding: chunked\r\n\r\n",
    "a field of 9 KB": HANDSHAKE % b"/chat" + b"x: " + b"a" * 9_000 + b"\r\n\r\n",
}


async def test_what_is_no_handshake_is_refused_at_once() -> None:
    async with house(LIMITS) as here:
        visitors = [await here.visit(said) for said in NO_HANDSHAKES.values()]
        heard = await asyncio.gather(*(visitor.heard_all() for visitor in visitors))
        for visitor in visitors:
            visitor.leave()
        await until(lambda: not here.server.server_state.connections)

    assert [b"HTTP/1.1 400 Bad Request"] * 4 == [each.partition(b"\r\n")[0] for each in heard]
    assert all(b'"error_code":"VALIDATION_ERROR"' in each for each in heard)


async def test_control_uvicorn_alone_never_answers_it_and_falls_over_it_in_the_end() -> None:
    async with house(LIMITS, Twin) as here:
        silent = await (await here.visit(NO_HANDSHAKES["a body"])).stays(1)
        here.server.should_exit = True
        assert isinstance(here.server, Twin)
        async with asyncio.timeout(PATIENCE_S):
            await here.server.fell.wait()

    assert silent


async def test_a_handshake_that_we_do_not_answer_is_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with house(SHORT) as here:
            heard = await (await here.visit(HANDSHAKE % b"/mute" + b"\r\n")).heard_all()
            await until(lambda: not here.server.server_state.connections)
            here.heard.go.set()
            await until(lambda: not here.server.server_state.tasks)

    assert (True, []) == (heard in (b"", b"reset"), [record.message for record in caplog.records])


async def test_nobody_waits_for_who_does_not_take_the_last_word() -> None:
    """An excess, by somebody who reads nothing: what is written to them never goes out."""
    async with house(SHORT) as here:
        visitor = await opened(here, b"/flood", room=4096)
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await until(lambda: any(not wire.writable.is_set() for wire in wires(here)))
        visitor.say(EXCESSES["pings"])
        await until(lambda: not here.server.server_state.connections)
        await until(here.heard.ended.is_set)


def wires(here: House) -> list[Wire]:
    return [each for each in here.server.server_state.connections if isinstance(each, Wire)]


async def finished(here: House) -> tuple[bytes, bytes]:
    """What a request hears that is in progress when the server ends, beside clients in every state."""
    for said in NO_HANDSHAKES.values():
        await here.visit(said)
    await here.visit(HANDSHAKE % b"/mute" + b"\r\n")
    # In front of those that are answered: it has come once they are.
    slow = await here.visit(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel")
    chat = await opened(here)
    (await opened(here)).say(EXCESSES["pings"])
    (await opened(here)).say(b"\x88\x80" + MASK)
    stuck = await opened(here, b"/flood", room=4096)
    stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    await until(lambda: any(not wire.writable.is_set() for wire in wires(here)))
    # It closes as well, and never takes the answer.
    stuck.say(b"\x88\x80" + MASK)
    await until(lambda: any(wire.transport.is_closing() and not wire.writable.is_set() for wire in wires(here)))
    here.server.should_exit = True
    closed = await chat.heard_all()
    slow.say(b"lo")
    return (await slow.heard_all()).partition(b"\r\n")[0], closed


async def test_the_end_is_quiet_whatever_a_connection_is_up_to(caplog: pytest.LogCaptureFixture) -> None:
    """The block ends with the server, and would fail with it."""
    began = time.monotonic()
    with caplog.at_level(logging.ERROR):
        async with house(SHORT) as here:
            answer, closed = await finished(here)
            await until(lambda: not here.server.server_state.connections)

    assert (b"HTTP/1.1 200 OK", 1012) == (answer, told(closed))
    assert ([5], []) == (here.heard.bodies, [record.message for record in caplog.records])
    assert time.monotonic() - began < 0.8 * FINISH_S


async def test_the_loop_that_serves_outside_of_tests_does_the_same() -> None:
    """uvloop has transports of its own."""

    async def run() -> tuple[int | None, bytes, bytes, int | None]:
        heard, *over, said = await taken_late(Server, replace(LIMITS, untaken_s=0.2))
        assert (list(range(1, said + 1)), [4413, f"after {said}"]) == (heard, over)
        async with house(SHORT) as here:
            refused = await here.visit(NO_HANDSHAKES["a body"])
            excessive = await opened(here)
            excessive.say(PING * 100_000)
            excess, no_handshake = await asyncio.gather(excessive.heard_all(), refused.heard_all())
            answer, closed = await finished(here)
            return told(excess), no_handshake[:12], answer, told(closed)

    assert (Close.TOO_MUCH, b"HTTP/1.1 400", b"HTTP/1.1 200 OK", 1012) == await asyncio.to_thread(uvloop.run, run())


class Told:
    """What an application came to say, in so many seconds, to somebody who takes nothing."""

    def __init__(self, within_s: float = PATIENCE_S) -> None:
        self._within_s = within_s
        self.messages = 0
        self.over = asyncio.Event()

    async def count(self, client: WebSocket) -> None:
        """Say one thing after the other, and in the end how many they were."""
        await client.accept()
        try:
            async with asyncio.timeout(self._within_s):
                while True:
                    await client.send_text(f"{self.messages + 1:<4096}")
                    self.messages += 1
        except (Stalled, TimeoutError):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.close(4413, f"after {self.messages}")
        self.over.set()


async def taken_late(
    kind: type[Server], limits: Limits, within_s: float = PATIENCE_S
) -> tuple[list[int], int | None, str | None, int]:
    """What somebody hears who only begins to listen when all is said, and how much was said."""
    said = Told(within_s)
    async with house(limits, kind, WebSocketRoute("/count", said.count)) as here:
        async with connect(f"ws://127.0.0.1:{here.port}/count", max_queue=1, ping_interval=None) as client:
            await asyncio.wait_for(said.over.wait(), 2 * PATIENCE_S)
            heard = []
            with suppress(ConnectionClosed):
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        heard.append(int(await client.recv()))
        await until(lambda: not here.server.server_state.connections)
    return heard, client.close_code, client.close_reason, said.messages


async def test_the_last_word_comes_behind_what_was_not_taken() -> None:
    """It says how many messages came before it, and that is how many came."""
    heard, code, reason, said = await taken_late(Server, replace(LIMITS, untaken_s=0.2))

    assert list(range(1, said + 1)) == heard
    assert (4413, f"after {said}") == (code, reason)


async def test_control_uvicorn_alone_never_says_it() -> None:
    heard, code, reason, said = await taken_late(Twin, LIMITS, 2)

    assert list(range(1, said + 1)) == heard
    assert (1006, "") == (code, reason)


async def test_what_waits_to_be_taken_does_not_grow_and_goes_in_the_end() -> None:
    said = Told()
    limits = replace(LIMITS, untaken_s=0.2, last_word_s=0.3, parting_s=0.3)
    async with house(limits, Server, WebSocketRoute("/count", said.count)) as here:
        visitor = await opened(here, b"/count", room=4096)
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await asyncio.wait_for(said.over.wait(), PATIENCE_S)
        waiting = [wire.transport.get_write_buffer_size() for wire in wires(here)]
        await until(lambda: not here.server.server_state.connections)

    assert 1 == len(waiting)
    assert waiting[0] < 2**16 + 2 * 4096


async def test_who_takes_it_in_time_hears_all_of_it() -> None:
    """A pause that is shorter than the patience changes nothing."""
    said = Told()
    async with (
        house(replace(LIMITS, untaken_s=5.0), Server, WebSocketRoute("/count", said.count)) as here,
        connect(f"ws://127.0.0.1:{here.port}/count", max_queue=1, close_timeout=0.1) as client,
    ):
        await until(lambda: any(not wire.writable.is_set() for wire in wires(here)))
        heard = [int(await client.recv()) for _ in range(5_000)]

    assert list(range(1, 5_001)) == heard


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 200_000])
async def test_messages_of_every_length_arrive_as_they_are(length: int) -> None:
    """Text may be handed over as bytes; it is text on the wire all the same."""

    async def say(client: WebSocket) -> None:
        await client.accept()
        text = "é" * (length // 2) + "x" * (length % 2)
        await client.send_text(text)
        await client.send({"type": "websocket.send", "text": text.encode()})
        await client.send_bytes(text.encode())
        await client.close()

    async with (
        house(LIMITS, Server, WebSocketRoute("/say", say)) as here,
        connect(f"ws://127.0.0.1:{here.port}/say") as client,
    ):
        heard = [message async for message in client]

    text = "é" * (length // 2) + "x" * (length % 2)
    assert [text, text, text.encode()] == heard


def test_uvicorn_still_has_what_a_wire_is_built_on() -> None:
    """Names that uvicorn may change without a word: whoever changes its version looks at `agentos/wires.py`."""
    overridden = {
        name
        for name, value in vars(Wire).items()
        if inspect.isfunction(value) and hasattr(WebSocketsSansIOProtocol, name)
    }
    source = inspect.getsource(WebSocketsSansIOProtocol)
    used = {
        "self.handshake_initiated = True",
        "if self.disconnected:",
        "if not self.handshake_complete:",
        "if self.close_timer is None:",
        "self.writable.set()",
        "self.conn = ServerProtocol(",
        "self.queue.put_nowait(",
        "self.stop_keepalive()",
        "self.send_receive_event_to_app()",
        "self.handle_ping()",
        'self.curr_msg_data_type = "text"',
        "self.frames.append(event.data)",
    }

    ours = {
        "connection_made",
        "connection_lost",
        "data_received",
        "handle_ping",
        "pause_writing",
        "resume_writing",
        "send",
        "send_receive_event_to_app",
        "shutdown",
    }
    assert {"__init__", *ours} == overridden
    assert set() == {each for each in used if each not in source}
