"""Flows: answers over HTTP that go on for as long as somebody listens, however they are framed.

One ends with its token, or within five seconds of its user being signed out, locked or given another role, by the rule
that sockets end by. What it tells comes from `schema.told`, where nobody waits for anybody; a client that takes nothing
for ten seconds is let go, so that what waits for it stays small. A silent one hears a heartbeat, so that it is known to
be there: one whose machine confirms nothing of it for half a minute is taken to be gone. When this process goes
down, flows end one after the other, to be taken up again elsewhere after the last cursor they told.

A user has ten at most, of all kinds, beside their sockets: the two are counted apart, for a page has a flow for each
subscription where one socket has them all. Together flows take half of a process's connections at most, so that there
is always one left for a question. PostgreSQL away: what has begun goes on, as nobody can be signed out meanwhile.
"""

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from typing import Any, ClassVar, Final, NoReturn, Protocol
from uuid import UUID

from starlette.types import Receive, Scope, Send

from agentos.connections import CONNECTION, Connection
from agentos.metrics import Metrics
from agentos.transports import seats
from agentos.transports.access import LASTING
from agentos.transports.bodies import Operation
from agentos.transports.departures import GOING, RETRY_S, Departures
from agentos.transports.roots import Roots
from agentos.transports.stays import Stays
from db.database import DatabaseUnavailable
from db.events import Cursor
from guards.errors import RateLimited, Refusal, Unauthenticated, Unavailable
from resolvers.context import Context
from resolvers.live import SlowConsumer, Stopping
from schema.build import Schema
from schema.errors import told_of
from schema.watching import Told

MOST_EACH: Final = 10
SEND_S: Final = 10.0
CONFIRM_S: Final = 30.0
"""How long a client's machine may take to confirm what it was sent, before it is taken to be gone."""

LAST_S: Final = 1.0
"""How long a client is waited for to take the last of what it is told."""

HEADERS: Final = {
    # A proxy that collects an answer, or compresses it in blocks, would keep each event until there are enough of them.
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "vary": "Accept, Authorization, Cookie",
}

Error = dict[str, Any]
"""An error as GraphQL tells it."""


class Frames(Protocol):
    """How a flow is written."""

    kind: ClassVar[str]
    """What it is counted as."""

    media_type: ClassVar[str]
    beat: ClassVar[bytes]
    """Says that nothing has happened."""

    beat_s: float
    """After how many silent seconds it is said."""

    echo_s: ClassVar[float | None]
    """After how many silent seconds it is said behind an answer; None where that would do nobody a service."""

    def opening(self) -> bytes:
        """What comes first, at once."""

    def place(self, cursor: Cursor) -> bytes:
        """Where it begins, should it break before there was an answer; nothing where that cannot be said."""

    def answer(self, told: Told) -> bytes:
        """One answer."""

    def completed(self) -> bytes:
        """That no other answer will come."""

    def refused(self, error: Error) -> bytes:
        """That no other answer will come, and why."""

    def interrupted(self, error: Error) -> bytes:
        """That others will come to who asks for them anew, and why they have to."""


class _Over(Exception):
    """A flow is over, with a last word unless nobody is there to hear it."""

    def __init__(self, last: bytes | None = None) -> None:
        super().__init__()
        self.last = last


class Flows:
    """All flows of a process, and who has how many."""

    def __init__(
        self,
        schema: Schema,
        stays: Stays,
        metrics: Metrics,
        roots: Roots,
        departures: Departures,
        *,
        most: int,
        most_each: int = MOST_EACH,
        send_s: float = SEND_S,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        """
        Args:
            most: how many there may be at once in this process.
            most_each: how many of them one user may have, or one address without a user.
            send_s: for how long a client may take nothing.
            confirm_s: for how long its machine may be silent about what it was sent.
        """
        self.schema = schema
        self.stays = stays
        self.metrics = metrics
        self.roots = roots
        self.departures = departures
        self.most = most
        self.most_each = most_each
        self.send_s = send_s
        self.confirm_s = confirm_s
        self.held = Counter[UUID | str]()
        """How many each user has, or each address of those who are nobody."""

    def opened(self, operation: Operation, context: Context, frames: Frames) -> "Flow":
        """The answer to an operation, which is counted from here on until it has been sent.

        Raises:
            RateLimited: the user has as many as one may have.
            Unauthenticated: the user's token has run out.
            Unavailable: there are as many as may be.
        """
        if context.viewer is not None:
            self.stays.require_lasting(context.viewer)
        whose = context.address if context.viewer is None else context.viewer.user_id
        if self.held[whose] >= self.most_each:
            raise RateLimited(f"a user has at most {self.most_each} streams", retry_after=5, policy="streams")
        if self.held.total() >= self.most:
            raise Unavailable("there are as many streams as this server has room for", retry_after=5)
        self.held[whose] += 1
        return Flow(self, operation, context, frames, whose)

    def leave(self, whose: UUID | str) -> None:
        """Count one less."""
        self.held[whose] -= 1
        if not self.held[whose]:
            del self.held[whose]


class Flow:
    """One answer that goes on, from its headers to its last word; an ASGI application that is called once."""

    def __init__(self, flows: Flows, operation: Operation, context: Context, frames: Frames, whose: UUID | str) -> None:
        self._flows = flows
        self._operation = operation
        self._context = context
        self._frames = frames
        self._whose = whose
        self._group = asyncio.TaskGroup()
        self._parting = asyncio.Event()
        self._cursor: Cursor | None = None
        self._said_at = 0.0
        self._echoing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        state = scope.setdefault("state", {})
        state[LASTING] = True
        self._connection: Connection | None = state.get(CONNECTION)
        metrics = self._flows.metrics
        try:
            if self._connection is not None:
                self._connection.give_up_to_answer()
                self._connection.require_word(self._flows.confirm_s)
            with (
                metrics.streams.labels(self._frames.kind).track_inprogress(),
                metrics.subscriptions.track_inprogress(),
                self._flows.departures.staying(self.part),
            ):
                await self._end(await self._lived())
        finally:
            self._flows.leave(self._whose)

    def part(self) -> None:
        """End it, because this process is going down."""
        self._parting.set()

    async def _lived(self) -> bytes | None:
        """Tell what there is to tell; the last word of it, once it is over, is left to be said."""
        headers = {"content-type": self._frames.media_type, **HEADERS}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        words: list[bytes | None] = []
        try:
            async with self._group:
                self._group.create_task(self._listen(), name="flow listen")
                self._group.create_task(self._part(), name="flow part")
                self._group.create_task(self._watch(), name="flow watch")
                await self._tell()
        except* _Over as group:
            words += (over.last for over in seats.leaves(group))
        # With whoever has gone, nothing that happened beside it is of any use.
        return None if None in words else words[0]

    async def _tell(self) -> NoReturn:
        await self._say(self._frames.opening())
        self._context.begun = self._begun
        operation = self._operation
        answers = self._flows.schema.told(
            operation.query,
            context=self._context,
            variables=operation.variables,
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        counted = False
        try:
            async with aclosing(answers):
                async for told in answers:
                    if not counted:
                        self._flows.roots.count(self._flows.metrics, operation, began=told.began, ok=told.ok)
                        counted = True
                    await self._say(self._frames.answer(told))
                    self._cursor = told.cursor or self._cursor
                    if self._frames.echo_s is not None and (self._echoing is None or self._echoing.done()):
                        self._echoing = self._group.create_task(self._echo(self._frames.echo_s), name="flow echo")
        except (SlowConsumer, Stopping) as refusal:
            self._cursor = refusal.cursor
            raise _Over(self._frames.interrupted(self._error(refusal))) from refusal
        except (Unavailable, DatabaseUnavailable) as away:
            raise _Over(self._frames.interrupted(self._error(away))) from away
        except Refusal as refusal:
            raise _Over(self._frames.refused(self._error(refusal))) from refusal
        raise _Over(self._frames.completed())

    async def _echo(self, after_s: float) -> None:
        """Say that nothing has happened, as soon as nothing has since the last answer."""
        left = after_s
        while left > 0:
            await asyncio.sleep(left)
            left = self._said_at + after_s - asyncio.get_running_loop().time()
        await self._say(self._frames.beat)

    def _begun(self, place: Cursor) -> None:
        """Say where a subscription begins, which it does on the way to its first answer."""
        self._cursor = place
        if word := self._frames.place(place):
            self._group.create_task(self._say(word), name="flow place")

    async def _listen(self) -> NoReturn:
        """Notice that the client has gone, and let it hear something every few seconds."""
        while True:
            try:
                async with asyncio.timeout_at(self._said_at + self._frames.beat_s):
                    message = await self._receive()
            except TimeoutError:
                if asyncio.get_running_loop().time() - self._said_at >= self._frames.beat_s:
                    await self._say(self._frames.beat)
                continue
            if message["type"] == "http.disconnect":
                raise _Over

    async def _part(self) -> NoReturn:
        await self._parting.wait()
        raise _Over(self._frames.interrupted(self._error(Unavailable(GOING, retry_after=RETRY_S))))

    async def _watch(self) -> None:
        """End it when the token runs out or the user is no longer who they were."""
        caller = self._context.viewer
        if caller is None:
            return
        try:
            await self._flows.stays.lapse(lambda: caller)
        except Unauthenticated as lapsed:
            raise _Over(self._frames.refused(self._error(lapsed))) from lapsed

    async def _say(self, word: bytes) -> None:
        self._said_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._flows.send_s):
                await self._send({"type": "http.response.body", "body": word, "more_body": True})
        except TimeoutError as error:
            await self._abandon()
            raise _Over from error
        except RuntimeError as error:
            # Said by the loop of a connection that broke a moment ago, which nobody has been told of yet.
            if self._connection is None or not self._connection.gone:
                raise
            raise _Over from error

    async def _end(self, last: bytes | None) -> None:
        """Say the last word, if anybody is there to hear it."""
        if last is None:
            return
        try:
            async with asyncio.timeout(LAST_S):
                await self._send({"type": "http.response.body", "body": last, "more_body": False})
        except TimeoutError:
            await self._abandon()
        except RuntimeError:
            if self._connection is None or not self._connection.gone:
                raise

    async def _abandon(self) -> None:
        """Drop a client that takes nothing, with all that still waits for it."""
        if self._connection is not None:
            self._connection.abandon()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    while (await self._receive())["type"] != "http.disconnect":
                        pass

    def _error(self, cause: Refusal | DatabaseUnavailable) -> Error:
        error = told_of(cause, self._context.trace_id)
        if self._cursor is not None:
            error["extensions"]["cursor"] = str(self._cursor)
        return error
