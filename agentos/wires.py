"""Wires: how much of a server's time and patience one WebSocket may take.

The protocol beneath reads all that came in one go, answers each ping, and keeps each fragment, however many there are;
only whole messages reach an application that could count them. So frames are counted here, before anybody reads them:
who sends more than a client has reason to is told so, and of what it sends after that nothing is read. A
handshake has its time as well, and so has a client that is to take the last of what it is told.

Nobody can be made to read. Who takes nothing for ten seconds is written nothing more; the word that it is over is put
behind what they have not taken yet, for it says from where to go on, and is there for half a minute.
"""

import struct
from asyncio import AbstractEventLoop, BaseTransport, TimerHandle
from typing import Any, Final

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import OPEN

from agentos.closes import Close
from agentos.connections import Late, Limits

_CONTROL: Final = 0x8
_FINAL: Final = 0x80
_LENGTH: Final = 0x7F
_WIDTHS: Final = {126: 2, 127: 8}
"""How many bytes more a longer length takes, by what stands in the place of a short one."""

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_SHORT: Final = struct.Struct("!BB")
_LONG: Final = struct.Struct("!BBH")
_LONGER: Final = struct.Struct("!BBQ")


class Excess(Exception):
    """A client sends more than it has reason to."""


class Stalled(Exception):
    """A client has taken nothing for too long: nothing more is written to it but the word that it is over."""


class Frames:
    """Counts what comes over a socket, frame by frame, without a look at what is in them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._head = b""
        self._payload = 0
        self._since = 0.0
        self._all = self._controls = self._fragments = 0

    def count(self, data: bytes, now: float) -> None:
        """Count the frames that begin in these bytes.

        Raises:
            Excess: there are more than may be; what is behind the first of those is not looked at.
        """
        if now - self._since >= 1:
            self._since, self._all, self._controls = now, 0, 0
        data, at = self._head + data if self._head else data, self._payload
        while at + 2 <= len(data):
            length = data[at + 1] & _LENGTH
            width = _WIDTHS.get(length, 0)
            if at + 2 + width > len(data):
                break
            if width:
                length = int.from_bytes(data[at + 2 : at + 2 + width], "big")
            self._frame(data[at])
            # The four bytes of the mask are behind the length.
            at += 2 + width + 4 + length
        self._head, self._payload = data[at:], max(0, at - len(data))

    def _frame(self, first: int) -> None:
        self._all += 1
        if first & _CONTROL:
            self._controls += 1
        else:
            self._fragments = 0 if first & _FINAL else self._fragments + 1
        if self._all > self._limits.frames_per_s:
            raise Excess(f"more than {self._limits.frames_per_s} frames in a second")
        if self._controls > self._limits.controls_per_s:
            raise Excess(f"more than {self._limits.controls_per_s} pings and pongs in a second")
        if self._fragments > self._limits.fragments:
            raise Excess(f"more than {self._limits.fragments} fragments of a message")


class Wire(WebSocketsSansIOProtocol):
    """A WebSocket that somebody looks after, as the connection was that it has been."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._frames = Frames(limits)
        self._begun = self.loop.time()
        self._parting_since: float | None = None
        self._stalling: TimerHandle | None = None
        self._stalled = False
        self._deaf = False

    def late(self, now: float) -> Late | None:
        """What the client is too slow with; None while nothing is waited for."""
        if self.transport.is_closing():
            self._parting_since = now if self._parting_since is None else self._parting_since
            return Late.TAKING if now - self._parting_since > self._limits.parting_s else None
        if not self.handshake_complete and now - self._begun > self._limits.handshake_s:
            return Late.HANDSHAKE
        return None

    def let_go(self, _: Late) -> None:
        """End it without a word, for none would be taken, or none can be said yet."""
        self._forsake()
        self.transport.abort()

    def connection_made(self, transport: BaseTransport) -> None:
        """Take over a connection, of which nothing is read before the handshake is answered."""
        super().connection_made(transport)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless it is too much."""
        if self._deaf:
            return
        if self.handshake_initiated:
            try:
                self._frames.count(data, self.loop.time())
            except Excess as excess:
                self._end(Close.TOO_MUCH, str(excess))
                return
        super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message on, unless it is a text that is none, which only its client has to know."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self._end(Close.INVALID, "a text message is not UTF-8")
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer one, but not one that came with what ended the socket."""
        if not self._deaf:
            super().handle_ping()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says, and listen once it has accepted.

        The `text` of a message may be bytes, of UTF-8: what many are told is encoded once.

        Raises:
            ClientDisconnected: nobody is there to be told.
            Stalled: somebody is, and has taken nothing for too long.
        """
        if self.handshake_complete and self.initial_response is None:
            if message["type"] == "websocket.send":
                await self._tell(message.get("text"), message.get("bytes"))
                return
            if message["type"] == "websocket.close" and not self.close_sent and self.conn.state is OPEN:
                self._part(message.get("code", 1000), message.get("reason") or "")
                return
        opening = not self.handshake_complete
        if opening and self.transport.is_closing():
            # What is sent would be taken for sent, and its sender would wait for an answer.
            self._forsake()
            raise ClientDisconnected
        await super().send(message)
        if opening and self.handshake_complete and not self.transport.is_closing():
            # What was said to open it is looked at no more, and is as large as everything else about it.
            del self.request, self.response
            self.transport.resume_reading()

    async def _tell(self, text: str | bytes | None, data: bytes | None) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        if self._stalled:
            raise Stalled
        if self.disconnected or self.close_sent or self.conn.state is not OPEN:
            raise ClientDisconnected
        if text is None:
            first, payload = _BINARY, data or b""
        else:
            first, payload = _TEXT, text.encode() if isinstance(text, str) else text
        self.transport.write(_head(first, len(payload)) + payload)

    def _part(self, code: int, reason: str) -> None:
        """Say that it is over, behind whatever the client has not taken yet, and wait until it has come to that."""
        self._unwind()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self._limits.last_word_s, self.transport.close)

    def pause_writing(self) -> None:
        """Write nothing more for now, and not much longer wait that the client takes what there is."""
        super().pause_writing()
        if not self.close_sent:
            self._stalling = self.loop.call_later(self._limits.untaken_s, self._stall)

    def resume_writing(self) -> None:
        """Go on."""
        self._unwind()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._unwind()
        super().connection_lost(exc)

    def _unwind(self) -> None:
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None

    def _stall(self) -> None:
        # Whoever waits to send something learns why they cannot.
        self._stalled = True
        self.writable.set()

    def shutdown(self) -> None:
        """Tell the client to come back, unless it has been told something already."""
        self.stop_keepalive()
        if self.transport.is_closing():
            return
        opening = not self.handshake_complete
        super().shutdown()
        if opening:
            self._forsake()

    def _forsake(self) -> None:
        """Whatever the application still says goes nowhere, and it is told so."""
        self.stop_keepalive()
        self.handshake_complete = self.disconnected = True
        self.writable.set()

    def _end(self, code: Close, reason: str) -> None:
        """Say why, and read no more; the connection goes when the client does, or soon."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        # Closed at once, what is still coming would be answered with a reset, over which many a client loses the word.
        self.close_timer = self.loop.call_later(self._limits.leftover_s, self.transport.close)
        self._deaf = self.close_sent = True
        self._forsake()
        self.conn.fail(code, reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.transport.resume_reading()


def _head(first: int, length: int) -> bytes:
    """The head of a frame that a server sends, whole and as it is."""
    if length < 126:
        return _SHORT.pack(first, length)
    return _LONG.pack(first, 126, length) if length < 65_536 else _LONGER.pack(first, 127, length)
