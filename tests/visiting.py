"""Clients that speak byte by byte, and a small server without stores for them to come to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agentos.connections import Limits
from agentos.serving import Server, bound
from tests.waiting import PATIENCE_S

MEGABYTE = bytes(1024 * 1024)
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: MDAwMDAwMDAwMDAwMDAwMA==\r\n"
)
"""The head of one, of a path, but for the empty line."""

MASK = bytes(4)
PING = b"\x89\x80" + MASK


@dataclass
class Heard:
    """What the application met."""

    bodies: list[int] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(kw_only=True)
class House:
    """A server, and ways to come to it."""

    port: int
    heard: Heard
    server: Server
    stack: AsyncExitStack

    async def visit(self, said: bytes = b"", *, source: str = "127.0.0.1", room: int | None = None) -> "Visitor":
        """A connection on which something has been said already.

        Args:
            room: how many bytes the visitor's machine takes before the visitor does.
        """
        plug = socket.socket()
        plug.setblocking(False)
        if room is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        plug.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plug, limit=4096)
        visitor = Visitor(reader, writer)
        self.stack.callback(visitor.leave)
        visitor.say(said)
        return visitor


@dataclass
class Visitor:
    """A client that speaks byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, said: bytes) -> None:
        """Send bytes."""
        self.writer.write(said)

    def leave(self) -> None:
        """Go without a word."""
        self.writer.transport.abort()

    async def heard_all(self) -> bytes:
        """Everything until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read(-1)
            except ConnectionResetError:
                return b"reset"

    async def stays(self, seconds: float) -> bool:
        """Whether nothing comes and nothing ends for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        return False

    async def drips(self, drop: bytes, every: float) -> bytes:
        """What is heard in the end while drop after drop is sent."""
        while await self.stays(every):
            self.say(drop)
        return await self.heard_all()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body of one answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)


def application(heard: Heard, *routes: BaseRoute) -> Starlette:
    """What reads bodies, sends much, waits, and speaks over a socket."""

    async def take(request: Request) -> Response:
        heard.fields.append(dict(request.headers))
        try:
            heard.bodies.append(len(await request.body()))
        except ClientDisconnect:
            heard.gone.append(request.method)
        return PlainTextResponse("taken")

    async def ignore(request: Request) -> Response:
        return PlainTextResponse("not read")

    async def wait(request: Request) -> Response:
        await heard.go.wait()
        return await take(request)

    async def pour(request: Request) -> Response:
        async def blocks() -> AsyncIterator[bytes]:
            try:
                for _ in range(int(request.query_params["megabytes"])):
                    yield MEGABYTE
            finally:
                heard.ended.set()

        return StreamingResponse(blocks())

    async def whole(request: Request) -> Response:
        return Response(MEGABYTE * 16, headers={"connection": "close"})

    async def chat(client: WebSocket) -> None:
        await client.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await client.send_text(await client.receive_text())

    async def mute(client: WebSocket) -> None:
        await heard.go.wait()
        await client.accept()

    async def flood(client: WebSocket) -> None:
        await client.accept()
        try:
            for _ in range(64):
                await client.send_bytes(MEGABYTE)
        except WebSocketDisconnect:
            heard.ended.set()

    return Starlette(
        routes=[
            Route("/", take, methods=["GET", "POST"]),
            Route("/ignore", ignore, methods=["POST"]),
            Route("/wait", wait, methods=["GET", "POST"]),
            Route("/pour", pour),
            Route("/whole", whole),
            WebSocketRoute("/chat", chat),
            WebSocketRoute("/mute", mute),
            WebSocketRoute("/flood", flood),
            *routes,
        ]
    )


@asynccontextmanager
async def house(limits: Limits, kind: type[Server] = Server, *routes: BaseRoute) -> AsyncIterator[House]:
    """A server that runs until the block ends, with routes beside those that it has."""
    up, heard = asyncio.Event(), Heard()
    with bound("127.0.0.1", 0) as listening:
        server = kind(application(heard, *routes), listening, ready=lambda *_: up.set(), limits=limits)
        async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
            serving = group.create_task(server.live())
            async with asyncio.timeout(PATIENCE_S):
                await up.wait()
            try:
                yield House(port=listening.getsockname()[1], heard=heard, server=server, stack=stack)
            finally:
                heard.go.set()
                await stack.aclose()
                server.should_exit = True
                await asyncio.wait([serving])
