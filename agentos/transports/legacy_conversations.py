"""One legacy socket, from its accepted handshake to its end: who it is, and when it is let go.

A socket is somebody's: by the `Authorization` of its handshake, by the cookie `agentos_token` of a page whose origin is
allowed, or by a first message `{"type": "authenticate", "token": …}` within five seconds. Before that it hears
`connection_established` and nothing of the house. It ends with its token, or within five seconds of its user being
signed out; another `authenticate` keeps it open longer. What cannot be understood is answered with an `error`; who
floods, or sends one such message after the other, is let go, and so is who takes nothing for ten seconds.
"""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from starlette.websockets import WebSocket

from agentos.closes import Close
from agentos.transports import bodies, contexts, seats
from agentos.transports import legacy_messages as messages
from agentos.transports.contexts import Contexts
from agentos.transports.departures import GOING
from agentos.transports.legacy_answers import TAKEN, Answers
from agentos.transports.legacy_feeds import Feeds
from agentos.transports.seats import MOST_BYTES, Ended, Pace, Seats
from agentos.transports.stays import ANSWER_S
from guards.callers import Caller
from guards.errors import BadInput, Unauthenticated
from resolvers.context import Context

MOST_FAULTS: Final = 10
"""Messages in a row that cannot be understood, before a client is let go."""


class Conversation:
    """One socket, from the accepted handshake to its end."""

    def __init__(
        self,
        websocket: WebSocket,
        seats: Seats,
        contexts: Contexts,
        feeds: Feeds,
        *,
        init_s: float,
        beat_s: float,
        most_jobs: int,
    ) -> None:
        """
        Args:
            init_s: seconds it has to say who it is.
            beat_s: seconds between two pings.
            most_jobs: how many jobs it may follow.
        """
        self._websocket = websocket
        self._seats = seats
        self._contexts = contexts
        self._feeds = feeds
        self._init_s = init_s
        self._beat_s = beat_s
        self._most_jobs = most_jobs
        self._group = asyncio.TaskGroup()
        self._stack = AsyncExitStack()
        self._caller: Caller | None = None
        self._answers: Answers | None = None
        self._parting = asyncio.Event()
        self._greeted = asyncio.Event()
        self._looking = asyncio.Lock()
        self._heard_at = time.monotonic()
        self._ponged = False
        self._pace = Pace()
        self._faults = 0

    async def live(self) -> None:
        """Serve the socket until either side ends it."""
        ended = Ended()
        try:
            async with self._stack, self._group:
                self._group.create_task(self._part(), name="legacy socket part")
                self._group.create_task(self._watch(), name="legacy socket watch")
                await self._say(messages.message("connection_established", server_status="online"))
                await self._recognize()
                self._group.create_task(self._beat(), name="legacy socket beat")
                await self._listen()
        except* Ended as group:
            ended = seats.first(group)
        finally:
            if self._caller is not None:
                self._seats.leave(self._caller)
        await seats.close(self._websocket, ended)

    def part(self) -> None:
        """Close the socket, because this process is going down."""
        self._parting.set()

    async def _part(self) -> None:
        await self._parting.wait()
        raise Ended(Close.RESTARTING, GOING)

    async def _watch(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._init_s):
                await self._greeted.wait()
        # Who has said in time who they are is not sent away while that is looked at.
        try:
            async with asyncio.timeout(ANSWER_S), self._looking:
                pass
        except TimeoutError:
            raise Ended(Close.TRY_LATER, "who you are cannot be checked just now: try again") from None
        if not self._greeted.is_set():
            raise Ended(Close.UNAUTHORIZED, "nobody has signed in: send authenticate with a token first")
        await self._seats.watch(self._present)

    def _present(self) -> Caller:
        assert self._caller is not None
        return self._caller

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            silent_s = time.monotonic() - self._heard_at
            if self._ponged and silent_s > 2 * self._beat_s:
                raise Ended(Close.TOO_LATE, f"nothing was heard for {silent_s:.0f} s")
            await self._say(messages.message("ping"))

    async def _recognize(self) -> None:
        """Take the handshake's word for who it is, if it brings one."""
        if contexts.in_address(self._websocket):
            reason = "addresses end up in logs: send the token as a header, a cookie or the first message"
            raise Ended(Close.BAD_REQUEST, reason)
        authorization = seats.presented(self._websocket)
        # Only pages are stopped by the check of origins; what says none could be one that an attacker has stripped.
        if authorization is None and "origin" in self._websocket.headers:
            authorization = contexts.in_cookie(self._websocket)
        if authorization is not None:
            await self._greet(authorization)

    async def _greet(self, authorization: str) -> None:
        async with self._looking:
            caller = await self._seats.verified(self._websocket, authorization)
            self._seats.take(caller)
            self._caller = caller
            # Known from here on, however long it takes to read what it is told first.
            self._greeted.set()
        feed = await self._stack.enter_async_context(self._feeds.of(caller.tenant))
        self._answers = Answers(
            self._say, self._context, feed, group=self._group, stack=self._stack, most_jobs=self._most_jobs
        )
        await self._answers.begin()

    async def _listen(self) -> None:
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                raise Ended
            self._heard_at = time.monotonic()
            self._pace.count()
            try:
                taken = await self._take(_understood(received.get("text")))
            except (BadInput, Unauthenticated) as refusal:
                self._faults += 1
                if self._faults > MOST_FAULTS:
                    raise Ended(Close.BAD_REQUEST, "too many messages that cannot be understood") from refusal
                await self._say(messages.error(refusal.code, str(refusal)))
            else:
                self._faults = 0 if taken else self._faults

    async def _take(self, said: dict[str, Any]) -> bool:
        """Do what a message asks for; whether it was one that says something.

        Raises:
            BadInput: it cannot be understood.
            Unauthenticated: nobody has signed in yet.
        """
        kind = said.get("type")
        if kind == "authenticate":
            await self._authenticate(said)
        elif kind == "pong":
            self._ponged = True
            return False
        elif not isinstance(kind, str) or kind not in TAKEN:
            raise BadInput(f"type: one of {', '.join(sorted((*TAKEN, 'authenticate', 'pong')))} is taken")
        elif self._answers is None:
            raise Unauthenticated("send authenticate with a token first")
        else:
            await self._answers.take(kind, said)
        return True

    async def _authenticate(self, said: dict[str, Any]) -> None:
        token = said.get("token")
        if not isinstance(token, str) or not token.strip():
            raise BadInput("token: an access token is needed")
        authorization = f"Bearer {token.strip()}"
        if self._caller is None:
            await self._greet(authorization)
        else:
            self._caller = await self._seats.renewed(self._websocket, authorization, self._caller)

    def _context(self) -> Context:
        return self._contexts.of(self._websocket, self._present())

    async def _say(self, text: str) -> None:
        await seats.send(self._websocket, text)


def _understood(text: str | None) -> dict[str, Any]:
    if text is None or not seats.fits(text):
        raise BadInput(f"messages are text of at most {MOST_BYTES} bytes")
    value = bodies.parsed(text, what="the message")
    if not isinstance(value, dict):
        raise BadInput("a message is a JSON object")
    return value
