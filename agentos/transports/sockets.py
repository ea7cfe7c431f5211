"""GraphQL over WebSocket: the protocol graphql-transport-ws, and nothing older.

A socket says who it is within five seconds (`connection_init` with an `authorization`, or the header of its handshake),
holds at most twenty operations, says at most fifty things a second, and ends when its token does, or within five
seconds of its user being signed out. Its `connection_ack` says where events are: who is cut off before the first of
them goes on from there. A `ping` with a fresh `authorization` of the same user and role keeps it open longer, and what
runs on it goes on. Every operation has a context of its own, and the schema gives every event of a subscription loaders
of its own. What is wrong with one operation is told under its id; only what is no message of the protocol ends the
socket. A client is asked whether it is there; who knows how to answer and does not is let go.

A client that takes nothing for ten seconds is let go; nobody else waits for it. Whoever is let go for that, or because
this process is going down, is told from which cursor to go on: the last that was written for the subscription that is
furthest behind, so that nothing is lost to any of them.

PostgreSQL away: no new operation is admitted; open ones stay, as nobody can be signed out meanwhile either.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, NoReturn

import msgspec
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from agentos.closes import Close
from agentos.metrics import Metrics
from agentos.transports import bodies, seats
from agentos.transports.answers import INTERNAL
from agentos.transports.bodies import Operation
from agentos.transports.callers import Callers
from agentos.transports.contexts import Contexts
from agentos.transports.departures import GOING, Departures
from agentos.transports.roots import Roots
from agentos.transports.seats import MOST_BYTES, Ended, Pace, Seats
from db.database import DatabaseUnavailable
from db.events import Cursor
from db.health import DATABASE_FAILED
from guards.callers import Caller
from guards.errors import BadInput, QuotaExceeded, Refusal, Unavailable
from resolvers.live import SlowConsumer, Stopping
from schema.build import Schema
from schema.errors import told_of

PROTOCOL: Final = "graphql-transport-ws"
INIT_S: Final = 5.0
BEAT_S: Final = 20.0
"""How often a client is asked whether it is there, at most; each time after 0.6 to 1 of it."""

PLACE_S: Final = 1.0
"""How long a greeting waits for the place that it names."""

MOST_OPERATIONS: Final = 20
LONGEST_ID: Final = 128
AUTHORIZATION: Final = "authorization"

log = logging.getLogger(__name__)


class _Failure(msgspec.Struct):
    """The answer of an operation that was refused before it began."""

    errors: msgspec.Raw


class _Running:
    """An operation of a socket."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.began = False
        self.task: asyncio.Task[None] | None = None
        self.head = b'{"id":' + msgspec.json.encode(key) + b',"type":"next","payload":'
        """What stands before each of its answers."""

        self.position: Cursor | None = None
        """Of a subscription: the cursor of the last answer that was written, or where it began."""

    def place(self, position: Cursor) -> None:
        """Begin after a cursor."""
        self.position = position


class GraphQLOverWebSocket:
    """The route of the schema for sockets, and all sockets of this process."""

    def __init__(
        self,
        schema: Schema,
        seats: Seats,
        callers: Callers,
        contexts: Contexts,
        metrics: Metrics,
        roots: Roots,
        departures: Departures,
        *,
        init_s: float = INIT_S,
        beat_s: float = BEAT_S,
    ) -> None:
        """Serve a schema.

        Args:
            init_s: seconds a socket has to say who it is.
            beat_s: seconds between two pings at most.
        """
        self.schema = schema
        self.seats = seats
        self.callers = callers
        self.contexts = contexts
        self.metrics = metrics
        self.roots = roots
        self.departures = departures
        self.init_s = init_s
        self.beat_s = beat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if not self.seats.welcome(websocket):
            # Closed before it was accepted: the handshake is answered with 403.
            await websocket.close(Close.POLICY)
            return
        try:
            self.departures.admit()
        except Unavailable as refusal:
            await seats.deny(websocket, refusal)
            return
        offered = PROTOCOL in scope["subprotocols"]
        await websocket.accept(PROTOCOL if offered else None)
        if not offered:
            await websocket.close(Close.WRONG_PROTOCOL, f"the subprotocol is {PROTOCOL}")
            return
        socket = _Socket(self, websocket)
        with self.metrics.sockets.track_inprogress(), self.departures.staying(socket.part):
            await socket.live()


class _Socket:
    """One socket, from the accepted handshake to its end."""

    def __init__(self, route: GraphQLOverWebSocket, websocket: WebSocket) -> None:
        self._route = route
        self._websocket = websocket
        self._group = asyncio.TaskGroup()
        self._caller: Caller | None = None
        self._greeted = False
        # A thousand sockets wait like this, and an event is ten times as large as a future.
        self._ready = asyncio.get_running_loop().create_future()
        self._parting = asyncio.get_running_loop().create_future()
        self._operations: dict[str, _Running] = {}
        self._pace = Pace()
        self._answers = False
        self._unanswered = 0
        """Pings since the client was heard of."""

    async def live(self) -> None:
        """Serve the socket until either side ends it; its operations end with it."""
        ended = Ended()
        try:
            async with self._group:
                self._group.create_task(self._attend(), name="socket attend")
                self._group.create_task(self._watch(), name="socket watch")
                await self._listen()
        except* Ended as group:
            ended = seats.first(group)
        finally:
            if self._caller is not None:
                self._route.seats.leave(self._caller)
        await seats.close(self._websocket, ended)

    def part(self) -> None:
        """Close the socket, because this process is going down."""
        if not self._parting.done():
            self._parting.set_result(None)

    async def _attend(self) -> NoReturn:
        """Ask from time to time whether the client is there, until this process goes down."""
        while True:
            beat_s = self._route.beat_s * random.uniform(0.6, 1)
            await asyncio.wait((self._parting,), timeout=beat_s)
            if self._parting.done():
                raise Ended(Close.RESTARTING, self._placed(GOING))
            if not self._ready.done():
                continue
            if self._answers and self._unanswered >= 2:
                raise Ended(Close.SILENT, self._placed("nothing was heard for too long"))
            self._unanswered += 1
            # Apart, for a client that takes nothing must not keep this from ending.
            self._group.create_task(self._send({"type": "ping"}), name="socket ping")

    async def _listen(self) -> NoReturn:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise Ended
            self._unanswered = 0
            self._pace.count()
            text = message.get("text")
            if text is None:
                raise Ended(Close.BAD_REQUEST, "messages are text")
            if not seats.fits(text):
                raise Ended(Close.TOO_BIG, f"a message has at most {MOST_BYTES} bytes")
            try:
                value = bodies.parsed(text, what="the message")
            except BadInput as error:
                raise Ended(Close.BAD_REQUEST, str(error)) from error
            if not isinstance(value, dict):
                raise Ended(Close.BAD_REQUEST, "a message is a JSON object")
            await self._take(value)

    async def _take(self, message: dict[str, Any]) -> None:
        payload = message.get("payload")
        match message.get("type"):
            case "connection_init":
                await self._greet(_details(payload))
            case "subscribe":
                await self._subscribe(_id(message), payload)
            case "complete":
                # One that has ended already is nothing to complain of: both ends may say so at once.
                if (running := self._operations.pop(_id(message), None)) and running.task is not None:
                    running.task.cancel()
            case "ping":
                await self._pong(_details(payload))
            case "pong":
                _details(payload)
                self._answers = True
            case _:
                raise Ended(Close.BAD_REQUEST, "there is no message of that type")

    async def _greet(self, details: Mapping[str, Any]) -> None:
        if self._greeted:
            raise Ended(Close.TOO_MUCH, "too many initialisation requests")
        self._greeted = True
        authorization = _authorization(details) or seats.presented(self._websocket)
        if authorization is None:
            raise Ended(Close.UNAUTHORIZED, "sign in first: send `authorization` with connection_init")
        caller = await self._route.seats.verified(self._websocket, authorization)
        self._route.seats.take(caller)
        self._caller = caller
        self._ready.set_result(None)
        cursor = await self._edge(caller)
        place = {} if cursor is None else {"payload": {"cursor": str(cursor)}}
        await self._send({"type": "connection_ack", **place})

    async def _edge(self, caller: Caller) -> Cursor | None:
        """Where events are now, for who is cut off before the first; read once for all who come at a time."""
        hub = self._route.contexts.of(self._websocket, caller).services.hub
        try:
            async with asyncio.timeout(PLACE_S):
                _, edge = await hub.bounds(caller.tenant)
        except (Unavailable, TimeoutError, *DATABASE_FAILED) as error:
            log.debug("a socket is greeted without a place: %s", error)
            return None
        return edge

    async def _pong(self, details: Mapping[str, Any]) -> None:
        """Answer a ping with what it brought, and take over the fresh token that is in it, if there is one."""
        authorization = _authorization(details)
        if authorization is not None and self._caller is not None:
            self._caller = await self._route.seats.renewed(self._websocket, authorization, self._caller)
        echoed = {name: value for name, value in details.items() if name.lower() != AUTHORIZATION}
        await self._send({"type": "pong", "payload": echoed} if echoed else {"type": "pong"})

    async def _watch(self) -> None:
        """End the socket when nobody signs in, the token runs out, or the user is no longer who they were."""
        await asyncio.wait((self._ready,), timeout=self._route.init_s)
        if not self._ready.done():
            raise Ended(Close.TOO_LATE, "connection initialisation timeout")
        await self._route.seats.watch(self._present)

    def _present(self) -> Caller:
        assert self._caller is not None
        return self._caller

    async def _subscribe(self, key: str, payload: object) -> None:
        if self._caller is None:
            raise Ended(Close.UNAUTHORIZED, "unauthorized")
        if key in self._operations:
            raise Ended(Close.EXISTS, f"subscriber for {key} already exists")
        try:
            operation = bodies.operation(payload)
            if len(self._operations) >= MOST_OPERATIONS:
                raise QuotaExceeded(f"a socket runs at most {MOST_OPERATIONS} operations at once")
        except Refusal as refusal:
            await self._refuse(key, refusal)
            return
        running = self._operations[key] = _Running(key)
        running.task = self._group.create_task(self._operate(running, operation), name="socket operation")

    async def _operate(self, running: _Running, operation: Operation) -> None:
        try:
            await self._run(running, operation)
        except Ended:
            raise
        except SlowConsumer as refusal:
            running.position = refusal.cursor
            raise Ended(Close.SLOW, self._placed(f"{refusal.code}: events were not taken for too long")) from refusal
        except Stopping as refusal:
            running.position = refusal.cursor
            raise Ended(Close.RESTARTING, self._placed(GOING)) from refusal
        except (Unavailable, DatabaseUnavailable) as away:
            kind, _ = self._route.roots.of(operation.query, operation.operation_name)
            if kind == "subscription":
                # Whoever is told so connects again and goes on; an error would be the end of it for its client.
                raise Ended(Close.TRY_LATER, self._placed("events cannot be read just now")) from away
            self._forget(running)
            await self._refuse(running.key, away)
        except Refusal as refusal:
            self._forget(running)
            await self._refuse(running.key, refusal)
        except Exception:
            log.exception("an operation over a socket failed")
            self._forget(running)
            extensions = {"code": INTERNAL, "traceId": self._websocket.state.trace_id}
            failed = {"message": "something went wrong here; it is on record", "extensions": extensions}
            await self._send({"id": running.key, "type": "error", "payload": [failed]})

    async def _run(self, running: _Running, operation: Operation) -> None:
        assert self._caller is not None
        await self._route.callers.stand(self._caller)
        context = self._route.contexts.of(self._websocket, self._caller)
        context.begun = running.place
        answers = self._route.schema.told(
            operation.query,
            context=context,
            variables=operation.variables,
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        with self._route.metrics.subscriptions.track_inprogress():
            async with aclosing(answers):
                async for told in answers:
                    if not running.began:
                        self._route.roots.count(self._route.metrics, operation, began=told.began, ok=told.ok)
                    if not told.began:
                        self._forget(running)
                        errors = msgspec.json.decode(told.body, type=_Failure).errors
                        await self._send({"id": running.key, "type": "error", "payload": errors})
                        return
                    running.began = True
                    await self._say(b"".join((running.head, told.body, b"}")))
                    running.position = told.cursor or running.position
        self._forget(running)
        await self._send({"id": running.key, "type": "complete"})

    def _forget(self, running: _Running) -> None:
        """Free an operation's id, before its last message: the client may use it again at once."""
        if self._operations.get(running.key) is running:
            del self._operations[running.key]

    def _placed(self, reason: str) -> str:
        """A reason to end, with the cursor from which everything that runs here may go on, if something does.

        What ends with the socket is not forgotten: several may find a reason, and each has to name what is behind.
        """
        positions = [each.position for each in self._operations.values() if each.position is not None]
        return f"{reason}; after {min(positions)}" if positions else reason

    async def _refuse(self, key: str, cause: Refusal | DatabaseUnavailable) -> None:
        error = told_of(cause, self._websocket.state.trace_id)
        await self._send({"id": key, "type": "error", "payload": [error]})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._say(msgspec.json.encode(message))

    async def _say(self, text: bytes) -> None:
        try:
            await seats.send(self._websocket, text)
        except Ended as ended:
            if ended.code != Close.SLOW:
                raise
            raise Ended(Close.SLOW, self._placed(ended.reason)) from ended


def _details(payload: object) -> Mapping[str, Any]:
    """The payload of a message that is about the socket; nothing in it is the same as none."""
    if not isinstance(payload, dict | None):
        raise Ended(Close.BAD_REQUEST, "the payload of such a message is an object, or null")
    return payload or {}


def _authorization(details: Mapping[str, Any]) -> str | None:
    """The token in a payload, under its name however it is capitalised."""
    for name, value in details.items():
        if name.lower() == AUTHORIZATION and isinstance(value, str):
            return value
    return None


def _id(message: Mapping[str, Any]) -> str:
    key = message.get("id")
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_ID:
        raise Ended(Close.BAD_REQUEST, f"an id of 1 to {LONGEST_ID} characters is needed")
    return key
