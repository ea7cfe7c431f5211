"""What all sockets of a process have in common, whatever is spoken over them.

Pages of which origins may open one; five for each user, counted over every kind; and with which words one ends.
PostgreSQL away: nobody new is let in.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final, NoReturn, TypeVar
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from agentos.closes import Close
from agentos.transports import contexts
from agentos.transports.contexts import Contexts
from agentos.transports.stays import Stays
from agentos.wires import Stalled
from guards.callers import Caller
from guards.errors import BadInput, RateLimited, Unauthenticated, Unavailable
from schema.rest import sites

MOST_BYTES: Final = 64 * 1024
MOST_SOCKETS: Final = 5
PER_SECOND: Final = 50
"""Messages of one socket; nobody who works with one sends as many."""

LONGEST_REASON: Final = 120
"""Bytes."""

E = TypeVar("E", bound=BaseException)


class Ended(Exception):
    """A socket is over; with a code for the client unless it has gone already."""

    def __init__(self, code: Close | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Pace:
    """How fast a client speaks over one socket."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second, self._said = 0, 0

    def count(self) -> None:
        """Count one more message.

        Raises:
            Ended: it is one too many for this second.
        """
        second = int(self._clock())
        self._said = self._said + 1 if second == self._second else 1
        self._second = second
        if self._said > PER_SECOND:
            raise Ended(Close.TOO_MUCH, f"more than {PER_SECOND} messages in a second")


class Seats:
    """Who may open sockets, and who has how many; one object for a process."""

    def __init__(self, stays: Stays, contexts: Contexts, *, origins: Collection[str]) -> None:
        """
        Args:
            origins: pages of which origins may open a socket, beside those of the host that is called.
        """
        self.held: defaultdict[UUID, int] = defaultdict(int)
        """How many open sockets each user has."""

        self.stays = stays
        self._contexts = contexts
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def welcome(self, connection: HTTPConnection) -> bool:
        """Whether a page of that origin may; what sends no origin is no browser and has no cookies to abuse."""
        return connection.headers.get("origin", "").lower() in self._origins or sites.from_here(connection.headers)

    async def verified(self, websocket: WebSocket, authorization: str) -> Caller:
        """Who an `Authorization` of the form `Bearer …` speaks for.

        Raises:
            Ended: nobody, or that cannot be told just now.
        """
        try:
            caller = await self._contexts.holding(websocket, authorization)
            self.stays.require_lasting(caller)
        except Unavailable as error:
            raise Ended(Close.TRY_LATER, str(error)) from error
        except RateLimited as error:
            raise Ended(Close.TOO_MUCH, str(error)) from error
        except Unauthenticated as error:
            raise Ended(Close.FORBIDDEN, str(error)) from error
        return caller

    async def renewed(self, websocket: WebSocket, authorization: str, before: Caller) -> Caller:
        """The same caller by a fresh token.

        Raises:
            Ended: the token is not good, or somebody else's, or of another role.
        """
        caller = await self.verified(websocket, authorization)
        if (caller.user_id, caller.tenant) != (before.user_id, before.tenant):
            raise Ended(Close.FORBIDDEN, "the fresh token is somebody else's")
        if caller.role is not before.role:
            # What runs shows what the role that it began with may see, to its end.
            raise Ended(Close.FORBIDDEN, "the fresh token is of another role: connect again with it")
        return caller

    def take(self, caller: Caller) -> None:
        """Count one more socket of a user, until `leave`.

        Raises:
            Ended: there are as many as one may have.
        """
        if self.held[caller.user_id] >= MOST_SOCKETS:
            raise Ended(Close.TOO_MUCH, f"a user has at most {MOST_SOCKETS} sockets")
        self.held[caller.user_id] += 1

    def leave(self, caller: Caller) -> None:
        """Count one less."""
        self.held[caller.user_id] -= 1
        if not self.held[caller.user_id]:
            del self.held[caller.user_id]

    async def watch(self, present: Callable[[], Caller]) -> NoReturn:
        """Wait until a socket's token has run out or its user is no longer who they were.

        Args:
            present: whose the socket is, by the newest token it was brought.

        Raises:
            Ended: that is so.
        """
        try:
            await self.stays.lapse(present)
        except Unauthenticated as error:
            raise Ended(Close.FORBIDDEN, str(error)) from error


def presented(websocket: WebSocket) -> str | None:
    """The `Authorization` of a handshake, if it brings one.

    Raises:
        Ended: it brings several.
    """
    try:
        return contexts.presented(websocket.headers)
    except BadInput as error:
        raise Ended(Close.BAD_REQUEST, str(error)) from error


async def deny(websocket: WebSocket, refusal: RateLimited | Unavailable) -> None:
    """Answer a handshake with a refusal: what it may do about it is wait."""
    status = 429 if isinstance(refusal, RateLimited) else 503
    headers = {"retry-after": str(refusal.retry_after or 1)}
    await websocket.send_denial_response(PlainTextResponse(f"{refusal}\n", status, headers))


async def send(websocket: WebSocket, text: str | bytes) -> None:
    """Send a message, as text or as the UTF-8 of one; nobody else waits for a client that takes none.

    Raises:
        Ended: it took nothing for ten seconds, or has gone.
    """
    try:
        await websocket.send({"type": "websocket.send", "text": text})
    except Stalled as error:
        raise Ended(Close.SLOW, "SLOW_CONSUMER: nothing was taken for too long") from error
    except WebSocketDisconnect as error:
        raise Ended from error


async def close(websocket: WebSocket, ended: Ended) -> None:
    """Tell a client why its socket is over, if it is still there to be told, behind what it has not taken yet."""
    if ended.code is not None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(1):
                await websocket.close(ended.code, shortened(ended.reason))


def shortened(reason: str) -> str:
    """As much of a reason as fits into the frame that closes a socket."""
    return reason.encode()[:LONGEST_REASON].decode(errors="ignore")


def fits(text: str) -> bool:
    """Whether a message is no longer than messages are, as UTF-8."""
    return len(text) <= MOST_BYTES and (text.isascii() or len(text.encode()) <= MOST_BYTES)


def leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """All that a group of groups holds."""
    for found in group.exceptions:
        if isinstance(found, BaseExceptionGroup):
            yield from leaves(found)
        else:
            yield found


def first(group: BaseExceptionGroup[Ended]) -> Ended:
    """The one of several reasons to end that has something to tell the client."""
    reasons = list(leaves(group))
    return next((reason for reason in reasons if reason.code is not None), reasons[0])
