"""GraphQL over server-sent events, at `/graphql/stream`: an operation a request, in the mode of distinct connections.

What is no operation, or nobody's who may be answered, has the status that it has at `/graphql`. Whatever is wrong with
an operation is told in the stream, as an answer that consists of errors and is followed by `complete`: a client that
saw a status would take it for a failure of the network, try again, and could not tell its user why. Every event has its
cursor as `id`; a browser sends the last one back by itself (`Last-Event-ID`), which stands above the argument `after`.
A stream ends without `complete` when there is more to come for who asks again: the process goes down, or the client was
too slow. It ends with an error and `complete` when its user is no longer who they were.

A browser's own `EventSource` can send no token but a cookie. It counts for a GET, which changes nothing, and if the
browser names the page that asks: one of this server, or of an origin that may open a socket. Whoever can send a header
does so; for a POST the cookie counts for nothing.
"""

import random
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from agentos.transports import contexts
from agentos.transports.bodies import Operation
from agentos.transports.contexts import Contexts
from agentos.transports.flows import Error, Flows
from agentos.transports.graphql import LEGACY, accepted, content_type, read, refused, request_error
from agentos.transports.roots import Roots
from agentos.transports.seats import Seats
from db.events import Cursor
from guards.errors import BadInput, Refusal
from resolvers.context import Context
from schema.watching import Told

MEDIA_TYPE: Final = "text/event-stream"
BEAT_S: Final = 12.0
RETRY_MS: Final = 1_000
RETRY_MOST_MS: Final = 3_000
"""Until a client comes back: some moment up to this one, for when a server is gone all of its clients are cut off."""

TAKEN: Final = frozenset({MEDIA_TYPE, "text/*", "*/*"})
LAST_ID: Final = "lastEventId"
"""Under which those who stand for a browser's reader put it into the address, for pages of other origins."""

TOKEN: Final = "x-graphql-event-stream-token"
"""What a client of the single connection mode sends; none was given to it here."""


class Events:
    """How a stream of events is written."""

    kind: ClassVar = "sse"
    media_type: ClassVar = MEDIA_TYPE
    beat: ClassVar = b":\n\n"
    echo_s: ClassVar[float | None] = None

    def __init__(self, *, beat_s: float = BEAT_S) -> None:
        self.beat_s = beat_s

    def opening(self) -> bytes:
        """After how long to come back should the connection break."""
        return b"retry: %d\n\n" % _retry_ms()

    def place(self, cursor: Cursor) -> bytes:
        """An id without an event, which a browser keeps all the same."""
        return b"id: %b\n\n" % str(cursor).encode()

    def answer(self, told: Told) -> bytes:
        """One answer, with its place."""
        place = b"" if told.cursor is None else b"id: %b\n" % str(told.cursor).encode()
        return b"".join((b"event: next\n", place, b"data: ", told.body, b"\n\n"))

    def completed(self) -> bytes:
        """The event that ends it; without its empty data no browser would tell of it."""
        return b"event: complete\ndata:\n\n"

    def refused(self, error: Error) -> bytes:
        """An answer of nothing but the error, and the end."""
        return b"event: next\ndata: %b\n\n" % msgspec.json.encode({"errors": [error]}) + self.completed()

    def interrupted(self, error: Error) -> bytes:
        """A comment for who reads along, and when to come back; the end without `complete` is what brings them."""
        why = f"{error['extensions']['code']}: {error['message']}".replace("\n", " ")
        return f": {why}\nretry: {_retry_ms()}\n\n".encode()


class GraphQLOverSSE:
    """The route of the streams."""

    def __init__(self, seats: Seats, contexts: Contexts, roots: Roots, flows: Flows, *, beat_s: float = BEAT_S) -> None:
        """
        Args:
            beat_s: after how many silent seconds a heartbeat is sent.
        """
        self.flows = flows
        self.beat_s = beat_s
        self._seats = seats
        self._contexts = contexts
        self._roots = roots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        if request.method not in ("GET", "POST"):
            told = "use GET or POST: each operation has a connection of its own"
            return request_error(request, told, HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "GET, POST"})
        if not _takes_events(request.headers):
            return request_error(request, f"accept {MEDIA_TYPE}", HTTPStatus.NOT_ACCEPTABLE)
        if request.method == "POST" and content_type(request) != LEGACY:
            return request_error(request, f"send {LEGACY}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            _require_distinct(request)
            operation = await read(request)
            context = await self._context(request)
            if request.method == "GET" and self._mutates(operation):
                return request_error(request, "mutations go by POST", HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "POST"})
            return self.flows.opened(operation, context, Events(beat_s=self.beat_s))
        except Refusal as refusal:
            return refused(request, refusal)

    def _mutates(self, operation: Operation) -> bool:
        kind, _ = self._roots.of(operation.query, operation.operation_name)
        return kind == "mutation"

    async def _context(self, request: Request) -> Context:
        authorization = contexts.in_cookie(request) if self._may_be_by_cookie(request) else None
        if authorization is None:
            context = await self._contexts.identify(request)
        else:
            context = self._contexts.of(request, await self._contexts.holding(request, authorization))
        context.after = request.headers.get("last-event-id") or request.query_params.get(LAST_ID) or None
        return context

    def _may_be_by_cookie(self, request: Request) -> bool:
        """Whether a browser asks, and says that it does so for a page that is welcome."""
        named = "origin" in request.headers or request.headers.get("sec-fetch-site") == "same-origin"
        return (
            request.method == "GET"
            and named
            and contexts.presented(request.headers) is None
            and self._seats.welcome(request)
        )


def _retry_ms() -> int:
    return random.randint(RETRY_MS, RETRY_MOST_MS)


def _takes_events(headers: Headers) -> bool:
    taken = accepted(headers)
    return not headers.get("accept") or any(taken.get(each, 0.0) > 0 for each in TAKEN)


def _require_distinct(request: Request) -> None:
    """Make sure that no connection is meant but this one, and that its address tells no secrets.

    Raises:
        BadInput: it brings a token for one, or one of a user in its address.
    """
    if TOKEN in request.headers:
        raise BadInput("there is no single connection mode: each operation has a connection of its own")
    if contexts.in_address(request):
        raise BadInput("addresses end up in logs: send the token as a header, or as a cookie")
