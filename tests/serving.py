"""The real application on a free port of this machine."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from agentos.connections import Limits
from agentos.serving import LIMITS, Server, bound
from tests.waiting import PATIENCE_S

PROTOCOL = Subprotocol("graphql-transport-ws")


class Socket:
    """A client of graphql-transport-ws that speaks message by message."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, message: object) -> None:
        """Send a message; text goes as it is."""
        await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def subscribe(self, key: str, query: str, **variables: object) -> None:
        """Start an operation."""
        await self.say({"id": key, "type": "subscribe", "payload": {"query": query, "variables": variables}})

    async def ended(self) -> int:
        """Wait until the server has closed the socket, and say with which code."""
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        code = self.connection.close_code
        assert code is not None
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An application that answers on the network."""

    app: Starlette
    server: Server
    host: str
    port: int
    client: httpx.AsyncClient

    @asynccontextmanager
    async def socket(
        self,
        token: str | None = None,
        *,
        greet: bool = True,
        protocol: Subprotocol | None = PROTOCOL,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
    ) -> AsyncIterator[Socket]:
        """A socket, by default one that has been greeted."""
        async with connect(
            f"ws://{self.host}:{self.port}/graphql",
            subprotocols=None if protocol is None else [protocol],
            additional_headers={**(headers or {}), **({"Origin": origin} if origin else {})},
            open_timeout=PATIENCE_S,
            close_timeout=2,
        ) as connection:
            socket = Socket(connection)
            if greet:
                payload = {"authorization": f"Bearer {token}"} if token else {}
                await socket.say({"type": "connection_init", "payload": payload})
                # A client may wait a second for its place before it is greeted, and is asked meanwhile if it is there.
                while "ping" == (greeted := await socket.hear())["type"]:
                    pass
                assert "connection_ack" == greeted["type"]
            yield socket

    async def graphql(
        self, query: str, token: str | None = None, headers: dict[str, str] | None = None, **variables: object
    ) -> httpx.Response:
        """POST one operation."""
        bearer = {"authorization": f"Bearer {token}"} if token else {}
        return await self.client.post(
            "/graphql", json={"query": query, "variables": variables}, headers={**bearer, **(headers or {})}
        )


def plain_client(*, base_url: str = "", timeout: float | None = PATIENCE_S) -> httpx.AsyncClient:
    """A client of plain HTTP; others read every certificate that this machine trusts, each time one is made."""
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, trust_env=False, verify=False)


@asynccontextmanager
async def served(app: Starlette, *, limits: Limits = LIMITS) -> AsyncIterator[Served]:
    """Serve an application from this process until the block ends."""
    up = asyncio.Event()
    listening = bound("127.0.0.1", 0)
    server = Server(app, listening, ready=lambda *_: up.set(), limits=limits)
    host, port = listening.getsockname()[:2]
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        living = group.create_task(server.live())
        async with asyncio.timeout(PATIENCE_S):
            await up.wait()
        try:
            async with plain_client(base_url=f"http://{host}:{port}") as client:
                yield Served(app=app, server=server, host=host, port=port, client=client)
        finally:
            server.should_exit = True
            # When the block fails, the group would cancel it, and what the application runs would go on for ever.
            await asyncio.wait([living])


def free_port() -> int:
    """A port for a process that has yet to load.

    Meanwhile the system gives those that it chooses by itself to connections, of tests that run beside this one.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
