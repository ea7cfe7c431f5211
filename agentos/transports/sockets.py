"""GraphQL over WebSocket: the protocol graphql-transport-ws, and nothing older.

A socket says who it is within five seconds (`connection_init` with an `authorization`, or the header of its handshake),
holds at most twenty operations, and ends when its token does, or within five seconds of its user being signed out. A
`ping` with a fresh `authorization` keeps it open longer. Every operation has a context of its own, and the schema gives
every event of a subscription loaders of its own. A client that takes nothing for ten seconds is let go; nobody else
waits for it.

PostgreSQL away: no new operation is admitted; open ones stay, as nobody can be signed out meanwhile either.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.schema.base import BaseSchema
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from agentos.metrics import Metrics
from agentos.transports import bodies, seats
from agentos.transports.answers import INTERNAL
from agentos.transports.bodies import Operation
from agentos.transports.callers import Callers
from agentos.transports.contexts import Contexts
from agentos.transports.departures import GOING, Departures
from agentos.transports.roots import Roots
from agentos.transports.seats import MOST_BYTES, Ended, Seats
from guards.callers import Caller
from guards.errors import BadInput, QuotaExceeded, Refusal, Unavailable

PROTOCOL: Final = "graphql-transport-ws"
INIT_S: Final = 5.0
MOST_OPERATIONS: Final = 20
LONGEST_ID: Final = 128

log = logging.getLogger(__name__)


class GraphQLOverWebSocket:
    """The route of the schema for sockets, and all sockets of this process."""

    def __init__(
        self,
        schema: BaseSchema,
        seats: Seats,
        callers: Callers,
        contexts: Contexts,
        metrics: Metrics,
        roots: Roots,
        departures: Departures,
        *,
        init_s: float = INIT_S,
    ) -> None:
        """Serve a schema.

        Args:
            init_s: seconds a socket has to say who it is.
        """
        self.schema = schema
        self.seats = seats
        self.callers = callers
        self.contexts = contexts
        self.metrics = metrics
        self.roots = roots
        self.departures = departures
        self.init_s = init_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if not self.seats.welcome(websocket):
            # Closed before it was accepted: the handshake is answered with 403.
            await websocket.close(1008)
            return
        try:
            self.departures.admit()
        except Unavailable as refusal:
            await seats.deny(websocket, refusal)
            return
        offered = PROTOCOL in scope["subprotocols"]
        await websocket.accept(PROTOCOL if offered else None)
        if not offered:
            await websocket.close(4406, f"the subprotocol is {PROTOCOL}")
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
        self._ready = asyncio.Event()
        self._parting = asyncio.Event()
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def live(self) -> None:
        """Serve the socket until either side ends it; its operations end with it."""
        ended = Ended()
        try:
            async with self._group:
                self._group.create_task(self._part(), name="socket part")
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
        self._parting.set()

    async def _part(self) -> None:
        await self._parting.wait()
        raise Ended(1012, GOING)

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise Ended
            text = message.get("text")
            if text is None:
                raise Ended(4400, "messages are text")
            if len(text) > MOST_BYTES:
                raise Ended(1009, f"a message has at most {MOST_BYTES} bytes")
            try:
                value = bodies.parsed(text, what="the message")
            except BadInput as error:
                raise Ended(4400, str(error)) from error
            await self._take(value)

    async def _take(self, message: Any) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        payload = message.get("payload") if isinstance(message, dict) else None
        match kind:
            case "connection_init":
                await self._greet(payload)
            case "subscribe":
                await self._subscribe(_id(message), payload)
            case "complete":
                if operation := self._operations.pop(_id(message), None):
                    operation.cancel()
            case "ping":
                await self._renew(payload)
                await self._send({"type": "pong"})
            case "pong":
                pass
            case _:
                raise Ended(4400, "no such message")

    async def _greet(self, payload: object) -> None:
        if self._greeted:
            raise Ended(4429, "too many initialisation requests")
        if not isinstance(payload, dict | None):
            raise Ended(4400, "the payload of connection_init is an object")
        self._greeted = True
        authorization = _authorization(payload) or seats.presented(self._websocket)
        if authorization is None:
            raise Ended(4401, "sign in first: send `authorization` with connection_init")
        caller = await self._route.seats.verified(self._websocket, authorization)
        self._route.seats.take(caller)
        self._caller = caller
        self._ready.set()
        await self._send({"type": "connection_ack"})

    async def _renew(self, payload: object) -> None:
        """Take over the fresh token that a ping brings, if it does and is of the same user."""
        authorization = _authorization(payload) if isinstance(payload, dict) else None
        if authorization is None or self._caller is None:
            return
        self._caller = await self._route.seats.renewed(self._websocket, authorization, self._caller)

    async def _watch(self) -> None:
        """End the socket when nobody signs in, the token runs out, or the user is no longer who they were."""
        try:
            async with asyncio.timeout(self._route.init_s):
                await self._ready.wait()
        except TimeoutError as error:
            raise Ended(4408, "connection initialisation timeout") from error
        await self._route.seats.watch(self._present)

    def _present(self) -> Caller:
        assert self._caller is not None
        return self._caller

    async def _subscribe(self, key: str, payload: object) -> None:
        if self._caller is None:
            raise Ended(4401, "unauthorized")
        if key in self._operations:
            raise Ended(4409, f"subscriber for {key} already exists")
        try:
            operation = bodies.operation(payload)
            if len(self._operations) >= MOST_OPERATIONS:
                raise QuotaExceeded(f"a socket runs at most {MOST_OPERATIONS} operations at once")
        except Refusal as refusal:
            await self._refuse(key, refusal)
            return
        self._operations[key] = self._group.create_task(self._operate(key, operation), name="socket operation")

    async def _operate(self, key: str, operation: Operation) -> None:
        try:
            await self._run(key, operation)
        except Ended:
            raise
        except Refusal as refusal:
            self._forget(key)
            await self._refuse(key, refusal)
        except Exception:
            log.exception("an operation over a socket failed")
            self._forget(key)
            error = {"message": "something went wrong here; it is on record", "extensions": self._extensions(INTERNAL)}
            await self._send({"id": key, "type": "error", "payload": [error]})
        finally:
            self._forget(key)

    async def _run(self, key: str, operation: Operation) -> None:
        assert self._caller is not None
        await self._route.callers.stand(self._caller)
        context = self._route.contexts.of(self._websocket, self._caller)
        results = await self._route.schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=context,
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        counted = False
        async with aclosing(results):
            with self._route.metrics.subscriptions.track_inprogress():
                async for result in results:
                    assert isinstance(result, ExecutionResult)
                    if not counted and _refused(result):
                        self._forget(key)
                        errors = [error.formatted for error in result.errors or ()]
                        await self._send({"id": key, "type": "error", "payload": errors})
                        return
                    if not counted:
                        self._count(operation, result)
                        counted = True
                    await self._send({"id": key, "type": "next", "payload": _payload(result)})
        self._forget(key)
        await self._send({"id": key, "type": "complete"})

    def _count(self, operation: Operation, result: ExecutionResult) -> None:
        kind, fields = self._route.roots.of(operation.query, operation.operation_name)
        for field in fields:
            self._route.metrics.operation(kind, field, ok=not result.errors)

    def _forget(self, key: str) -> None:
        """Free an operation's id, before its last message: the client may use it again at once."""
        if self._operations.get(key) is asyncio.current_task():
            del self._operations[key]

    async def _refuse(self, key: str, refusal: Refusal) -> None:
        extensions = self._extensions(refusal.code)
        if refusal.retry_after is not None:
            extensions["retryAfter"] = refusal.retry_after
        await self._send({"id": key, "type": "error", "payload": [{"message": str(refusal), "extensions": extensions}]})

    def _extensions(self, code: str) -> dict[str, Any]:
        return {"code": code, "traceId": self._websocket.state.trace_id}

    async def _send(self, message: Mapping[str, Any]) -> None:
        await seats.send(self._websocket, msgspec.json.encode(message).decode())


def _refused(result: ExecutionResult) -> bool:
    """Whether a first result says that nothing was begun: no field was reached, or the subscription's own said no."""
    if isinstance(result, PreExecutionError):
        return True
    return result.data is None and bool(result.errors) and all(error.path is None for error in result.errors or ())


def _payload(result: ExecutionResult) -> dict[str, Any]:
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload


def _authorization(payload: Mapping[str, Any] | None) -> str | None:
    """The token in a payload, under its name however it is capitalised."""
    for name, value in (payload or {}).items():
        if name.lower() == "authorization" and isinstance(value, str):
            return value
    return None


def _id(message: Mapping[str, Any]) -> str:
    key = message.get("id")
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_ID:
        raise Ended(4400, f"an id of 1 to {LONGEST_ID} characters is needed")
    return key
