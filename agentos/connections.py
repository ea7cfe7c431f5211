"""Connections: how much of a server's time and room one client may take.

uvicorn waits for ever for the rest of what has begun. Here the head of a request has ten seconds; a body, and a client
that takes its answer, may be slow for as long as they get on; heads are short, and connections are not without number.
Who is too slow hears 408 where HTTP still allows it, and is let go. A WebSocket is out of all this once it is one: it
is a wire then, with limits of its own, and is counted here until it ends.
"""

import fcntl
import functools
import resource
import socket
import struct
import termios
from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from agentos.settings import Settings
from agentos.transports.headers import careful
from guards import networks
from guards.networks import Network
from schema.rest import envelope

# An address's network is asked for with every connection, of all that are open.
_whose = functools.lru_cache(maxsize=10_000)(networks.neighbourhood)

TURNED_AWAY: Final = 1.25
"""How many more than there is room for are at least told that there is none."""

OWN_FILES: Final = 256
"""Files that are kept free for stores, uploads and answers, whatever clients hold open."""

CONNECTION: Final = "connection"
"""Under which the state of a request has its connection."""

_COUNT: Final = struct.Struct("i")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may take."""

    head_s: float = 10.0
    """Until the head of a request is there: since the connection, or since the first byte of a later request."""

    body_window_s: float = 10.0
    taking_window_s: float = 60.0
    pace: int = 1024
    """Bytes a second, over each such window, that a body brings and that are taken of an answer."""

    leftover_s: float = 2.0
    """For how long what a client still sends is read, when its answer is out already, so that it comes to read that."""

    head_bytes: int = 32 * 1024
    head_fields: int = 100

    waiting: int = 8
    """Requests that came on a connection behind the one that is answered; browsers send none."""

    connections: int = 2_000
    """Open at once in this process, WebSockets included."""

    connections_per_address: int = 500
    """Of one IPv4 address, or of one /64."""

    handshake_s: float = 10.0
    """Until a WebSocket is answered."""

    untaken_s: float = 10.0
    """For how long a WebSocket takes nothing of what is written to it, until nothing more is."""

    last_word_s: float = 30.0
    """For how long one that was told that it is over has time to come to that, and to say that it has."""

    parting_s: float = 5.0
    """For how long the connection of one that is over waits for its client to take what is left."""

    frames_per_s: int = 1_000
    """Of all kinds, over one WebSocket; the messages in them are counted by who reads them."""

    controls_per_s: int = 100
    """Pings and pongs, each of which is read, and each ping of which is answered."""

    fragments: int = 1_000
    """In which one message may come."""

    trusted: tuple[Network, ...] = ()
    """Proxies, which speak for many."""


def limits_of(settings: Settings) -> Limits:
    """What clients may take of a process with these settings."""
    return Limits(
        connections=settings.connections,
        connections_per_address=settings.connections_per_address,
        trusted=settings.trusted_proxies,
    )


def fitted(limits: Limits) -> Limits:
    """The limits as far as the system lets this process open files, which it is told to do as far as it may."""
    wanted = int(limits.connections * TURNED_AWAY) + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= ours:
        ours = wanted if soft == resource.RLIM_INFINITY else soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ours, hard))
    return replace(limits, connections=min(limits.connections, max(1, int((ours - OWN_FILES) / TURNED_AWAY))))


class Late(StrEnum):
    """What a client was too slow with."""

    HANDSHAKE = "handshake"
    HEAD = "head"
    BODY = "body"
    LEFTOVER = "leftover"
    TAKING = "taking"


class TooLong(Exception):
    """The head of a request is longer than heads are."""


class TooMany(Exception):
    """More requests wait for their turn than may."""


class _Unframed:
    """An application for a client that knows no chunks: without a length, its answer ends with the connection."""

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        self._app = app
        self._open_end = False

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, _: ASGISendCallable) -> None:
        await self._app(scope, receive, self._send)

    async def _send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            self._open_end = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if self._open_end:
                self._cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._open_end:
            # What is left of a length that was announced is what there is each time.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)


class Connection(HttpToolsProtocol):
    """A connection that somebody looks after: the server asks it from time to time whether its client is late."""

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
        self._came = False
        self._begun = 0
        self._head_since: float | None = None
        self._head_bytes = 0
        self._fields_bytes = 0
        self._fields = 0
        self._too_long = self._too_many = False
        self._given_up = False
        self._turn: RequestResponseCycle | None = None
        self._in_body = False
        self._body_since = 0.0
        self._body_bytes = 0
        self._answered_at = 0.0
        self._refused = False
        self._refuse_next: Callable[[], None] | None = None
        """What is said once the request in front, which is carried out, has its answer."""

        self._taking_since: float | None = None
        self._untaken = 0
        self._impatient = False

    def late(self, now: float) -> Late | None:
        """What the client is too slow with; None while it keeps up, or while the wait is ours."""
        if self._takes_nothing(now):
            return Late.TAKING
        if self.transport.is_closing():
            return None
        answering = self._answering and not self._refused
        if self._refused or (self._in_body and not answering):
            return Late.LEFTOVER if now - self._answered_at > self._limits.leftover_s else None
        if self._head_since is not None:
            return Late.HEAD if not answering and now - self._head_since > self._limits.head_s else None
        return Late.BODY if self._in_body and self._brings_nothing(now) else None

    def let_go(self, late: Late) -> None:
        """End it, with a word where one can still be said."""
        if late is Late.TAKING:
            # What is written would wait for this reader as well.
            self.transport.abort()
        elif late is Late.LEFTOVER or not self._came:
            # Browsers open connections in advance; a word on one of them would be taken for an answer.
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "REQUEST_TIMEOUT", f"the {late} of the request came too slowly")

    def abandon(self) -> None:
        """Drop the client, with all that still waits for it."""
        self.transport.abort()

    def require_word(self, within_s: float) -> None:
        """Have the system drop a client, until its answer is complete, that confirms nothing of what it is sent.

        One whose machine or whose network is gone says nothing either, and what is sent to it now and then fills no
        buffer: without this it would be taken to be there for a quarter of an hour.
        """
        self._set_patience(int(within_s * 1000))

    def give_up_to_answer(self) -> None:
        """Have the connection for the answer that is about to begin alone: whoever says more meanwhile is let go.

        It would wait for an answer that may never be complete, and each look at whether the client is still there would
        read more of it.
        """
        self._given_up = True
        if self._in_body or self.pipeline or self._refuse_next is not None:
            self._refuse_company()

    @property
    def gone(self) -> bool:
        """Whether nothing can be written to the client any more."""
        return self.transport.is_closing()

    def _set_patience(self, ms: int) -> None:
        # A client that goes while its request is read leaves a transport without a socket.
        if hasattr(socket, "TCP_USER_TIMEOUT") and not self.transport.is_closing():
            plug = self.transport.get_extra_info("socket")
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)
            self._impatient = ms > 0

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _brings_nothing(self, now: float) -> bool:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._body_since, self._body_bytes = now, 0
        if now - self._body_since <= self._limits.body_window_s:
            return False
        came, self._body_since, self._body_bytes = self._body_bytes, now, 0
        return came < self._limits.pace * self._limits.body_window_s

    def _takes_nothing(self, now: float) -> bool:
        # Nothing more is written meanwhile: the application waits for room, or has written its last.
        if not (self.flow.write_paused or self.transport.is_closing()):
            self._taking_since = None
            return False
        if self._taking_since is None:
            self._taking_since, self._untaken = now, self._on_the_way()
        if now - self._taking_since <= self._limits.taking_window_s:
            return False
        before, self._taking_since, self._untaken = self._untaken, now, self._on_the_way()
        return before - self._untaken < self._limits.pace * self._limits.taking_window_s

    def _on_the_way(self) -> int:
        """Bytes written that the client's machine has not confirmed.

        The system's own buffer is counted as well: it holds megabytes, and wakes nobody before a third of it is gone,
        which takes a slow line minutes.
        """
        plug = self.transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, bytes(_COUNT.size))
        except OSError:
            answer = bytes(_COUNT.size)
        waiting: int = _COUNT.unpack(answer)[0]
        return waiting + self.transport.get_write_buffer_size()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Take a connection in, or turn it away when there are too many."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        if self._crowded():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "too many connections", retry_after=1)
        if len(self.connections) > self._limits.connections * TURNED_AWAY:
            transport.abort()

    def _crowded(self) -> bool:
        most, each_most = self._limits.connections, self._limits.connections_per_address
        if len(self.connections) <= min(most, each_most):
            return False
        # Those that are turned away already take no place, but for the time it takes to tell them.
        open_now = [each for each in self.connections if not getattr(each, "_refused", False)]
        if len(open_now) > most:
            return True
        address = self.client[0] if self.client else ""
        if len(open_now) <= each_most or networks.allowed(address, self._limits.trusted):
            return False
        whose = _whose(address)
        peers = (getattr(each, "client", None) for each in open_now)
        return sum(1 for peer in peers if peer and _whose(peer[0]) == whose) > each_most

    def data_received(self, data: bytes) -> None:
        """Take in what came, of a head no more than heads have."""
        if self._refused or self._refuse_next is not None:
            return
        if self._given_up:
            self._refuse_company()
            return
        self._came = True
        if self._head_since is None and not self._in_body:
            self._head_since = self.loop.time()
        begun = self._begun
        super().data_received(data)
        if self._head_since is not None and begun == self._begun:
            # A field that does not end is kept by the parser, which tells nobody how long it is by now.
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse_length()

    def handle_websocket_upgrade(self) -> None:
        """Become a WebSocket, or refuse what is none, which nobody else would answer or let go."""
        if self._answering:
            self._refuse(HTTPStatus.BAD_REQUEST, "VALIDATION_ERROR", "a request on this connection is still answered")
            return
        super().handle_websocket_upgrade()
        wire = self.transport.get_protocol()
        if isinstance(wire, WebSocketsSansIOProtocol) and not wire.handshake_initiated:
            self.connections.discard(wire)
            self.connections.add(self)
            self.transport.set_protocol(self)
            self.transport.resume_reading()
            self._refuse(HTTPStatus.BAD_REQUEST, "VALIDATION_ERROR", "this is no handshake of a WebSocket")

    def on_message_begin(self) -> None:
        """Begin to count anew.

        Raises:
            TooMany: as many as may wait already do.
        """
        if len(self.pipeline) >= self._limits.waiting:
            # The parser goes on to the end of what came, which may be thousands of them.
            self._too_many = True
            raise TooMany
        super().on_message_begin()
        self.scope["state"][CONNECTION] = self
        self._begun += 1
        self._head_bytes = self._fields_bytes = self._fields = 0
        if self._head_since is None:
            self._head_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take the target in.

        Raises:
            TooLong: it is longer than a head.
        """
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field in; one behind the body is passed over, for what it says was read long ago.

        Raises:
            TooLong: there are too many of them.
        """
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if self._head_since is not None:
            super().on_header(name, value)

    def _count(self, length: int) -> None:
        self._fields_bytes += length
        if self._fields > self._limits.head_fields or self._fields_bytes > self._limits.head_bytes:
            self._too_long = True
            raise TooLong

    def on_headers_complete(self) -> None:
        """Begin to answer, and to wait for the body."""
        self._head_since = None
        self._in_body, self._body_since, self._body_bytes = True, self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body in."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more of this request."""
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._turn = cycle
        old = cycle.scope["http_version"] == "1.0"
        super()._start_asgi_task(cycle, _Unframed(cycle, app) if old else app)

    def on_response_complete(self) -> None:
        """Go on to the next request, if the rest of this one lets it."""
        self._given_up = False
        if self._impatient:
            self._set_patience(0)
        self._answered_at = self.loop.time()
        if self._head_since is not None:
            self._head_since = self._answered_at
        if self._in_body and self.expect_100_continue and not self._body_bytes:
            # The client asked whether to send its body and has its answer: what comes next may be a body or a request.
            self.transport.close()
        super().on_response_complete()
        if self._refuse_next is not None:
            self._refuse_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody write to a client that has gone, also when the last it sent was not what is answered."""
        self._part_with_client()
        super().connection_lost(exc)

    def _part_with_client(self) -> None:
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()

    def _unanswered(self) -> Iterator[RequestResponseCycle]:
        if self._turn is not None and not self._turn.response_complete:
            yield self._turn
        yield from (cycle for cycle, _ in self.pipeline)

    def resume_writing(self) -> None:
        """Note that the client has taken what there was."""
        self._taking_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or one that is too long."""
        if self._too_many:
            most = f"more than {self._limits.waiting} requests wait on this connection"
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMITED", most, retry_after=1)
        elif self._too_long:
            self._refuse_length()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "VALIDATION_ERROR", msg.rstrip(".").lower())

    def _refuse_length(self) -> None:
        most = f"{self._limits.head_bytes} bytes in {self._limits.head_fields} fields"
        code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._refuse(code, "TOO_LARGE", f"the head of the request is longer than {most}")

    def _refuse_company(self) -> None:
        said = "a stream has its connection for itself, and no body behind its request"
        self._refuse(HTTPStatus.BAD_REQUEST, "VALIDATION_ERROR", said)

    def _refuse(self, status: HTTPStatus, code: str, message: str, *, retry_after: int | None = None) -> None:
        """Say why, unless an answer has begun, and end the connection once the client has, or soon."""
        if self._refused or self.transport.is_closing():
            return
        if self._turn is not None and not (self._given_up or self._turn.more_body or self._turn.response_complete):
            # It is about what came behind: in the place of the answer it would say that nothing was done.
            self._refuse_next = partial(self._refuse, status, code, message, retry_after=retry_after)
            self.pipeline.clear()
            return
        self._refused, self._answered_at = True, self.loop.time()
        self._unset_keepalive_if_required()
        begun = any(cycle.response_started for cycle in self._unanswered())
        # Whoever still waits for the body learns that there will be none, and what they answer goes nowhere.
        self._part_with_client()
        if not begun:
            answer = envelope.failed(code, message, retry_after=retry_after, legacy=False)
            fields = [*self.server_state.default_headers, *careful(answer.raw_headers), (b"connection", b"close")]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            self.transport.write(line + head + b"\r\n" + bytes(answer.body))
        # Closed at once, what is still coming would be answered with a reset, over which many a client loses the word.
        self.flow.resume_reading()
        self.transport.write_eof()
