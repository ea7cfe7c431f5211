"""What it costs to tell a thousand viewers the same, beside a bare broadcast of the same bytes.

The servers are asked in turn, an event at a time, so that whatever else the machine does hits both alike. The viewers
are connections of one process that read no more of a frame than where it ends. A delivery is late by what passes from
the commit of its cause (from the call, of the bare server) to the arrival of its last byte; CPU and memory are those of
the server's process.
"""

import asyncio
import base64
import json
import os
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Final

import httpx
import psutil  # type: ignore[import-untyped]  # it ships no types; two figures are read from it
import pytest

from db import bells, events, jobs, keys
from db.database import Database
from db.events import Kind
from db.jobs import NewJob
from db.redis import Redis
from guards.tokens import KeyRing, Tokens
from tests.benchmarks.test_http import everything, program
from tests.benchmarks.test_rest import crowd, listener
from tests.benchmarks.test_snapshot import settle
from tests.serving import free_port, plain_client
from tests.uploading import services_over
from tests.waiting import eventually

VIEWERS: Final = 1_000
EACH: Final = 5
"""Sockets of one user."""

EVENTS: Final = 12
TEXT: Final = 0x81
PING: Final = 0x89
PONG: Final = 0x8A
SERVERS_PING: Final = b'{"type":"ping"}'
JOBS: Final = 1_000
SMALL: Final = "subscription { queueChanged { ... on QueueChange { cursor queue { paused } } } }"
SECTION: Final = """
subscription { snapshotChanged(sections: [DASHBOARD]) { ... on SnapshotChange { version sections { dashboard %s } } } }
"""


Act = Callable[[], Awaitable[None]]


class Viewer(asyncio.Protocol):
    """A WebSocket that counts the messages it is sent."""

    def __init__(self) -> None:
        self.messages = 0
        self.last = b""
        self.closed = False
        self._arrived = asyncio.Event()
        self._buffer = bytearray()
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._arrived.set()

    def greet(self, port: int, path: str) -> None:
        """Ask for the upgrade."""
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        self._write(head.encode())

    def say(self, message: object) -> None:
        """Send a text frame, masked with nothing."""
        self._send(TEXT, json.dumps(message).encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._buffer.startswith(b"HTTP/1.1 101"), bytes(self._buffer[:200])
            del self._buffer[: end + 4]
            self._open = True
            self._arrived.set()
        while (frame := self._frame()) is not None:
            kind, content = frame
            if kind == PING:
                self._send(PONG, content)
            elif kind == TEXT and content != SERVERS_PING:
                self.last = content
                self.messages += 1
                self._arrived.set()

    def _frame(self) -> tuple[int, bytes] | None:
        """The next frame's first byte and its content, once it is whole."""
        if len(self._buffer) < 2:
            return None
        kind, size, begin = self._buffer[0], self._buffer[1], 2
        if size == 126:
            begin = 4
        elif size == 127:
            begin = 10
        if len(self._buffer) < begin:
            return None
        if begin > 2:
            size = int.from_bytes(self._buffer[2:begin])
        if len(self._buffer) < begin + size:
            return None
        content = bytes(self._buffer[begin : begin + size])
        del self._buffer[: begin + size]
        return kind, content

    async def heard(self, count: int) -> None:
        """Wait until there have been so many messages; none counts as the upgrade."""
        async with asyncio.timeout(60):
            while self.messages < count or not self._open:
                assert not self.closed, self.last
                self._arrived.clear()
                await self._arrived.wait()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, kind: int, content: bytes) -> None:
        short = len(content) <= 125
        size = struct.pack("!B", 0x80 | len(content)) if short else struct.pack("!BH", 0xFE, len(content))
        size = bytes((kind,)) + size
        self._write(size + b"\0\0\0\0" + content)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


@dataclass
class Server:
    """One of those that are compared, with its viewers."""

    name: str
    port: int
    process: psutil.Process
    viewers: list[Viewer] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    each_kb: float = 0.0
    size: int = 0

    async def fill(self, path: str, begin: Callable[[Viewer, int], Awaitable[None]]) -> None:
        """Let the viewers in, some at a time."""
        before = self.process.memory_info().rss
        loop = asyncio.get_running_loop()
        for number in range(VIEWERS):
            _, viewer = await loop.create_connection(Viewer, "127.0.0.1", self.port)
            viewer.greet(self.port, path)
            self.viewers.append(viewer)
            await viewer.heard(0)
            await begin(viewer, number)
        self.each_kb = (self.process.memory_info().rss - before) / VIEWERS / 1024

    async def tell(self, act: Act) -> None:
        """Have everybody told of one thing."""
        loop = asyncio.get_running_loop()
        counts = [viewer.messages + 1 for viewer in self.viewers]
        spent = sum(self.process.cpu_times()[:2])
        began = loop.time()
        await act()
        for viewer, count in zip(self.viewers, counts, strict=True):
            await viewer.heard(count)
        self.late_ms.append((loop.time() - began) * 1000)
        self.cpu_us.append((sum(self.process.cpu_times()[:2]) - spent) / VIEWERS * 1e6)
        self.size = len(self.viewers[0].last)

    def report(self, beside: "Server") -> None:
        """What it cost, and how often what the other did."""
        late, cpu = median(self.late_ms), mean(self.cpu_us)
        print(
            f"{self.name:<28} {self.size:>7,} bytes  last delivery {late:7.1f} ms  {cpu:6.1f} µs CPU a delivery"
            f"  {self.each_kb:6.1f} KB a viewer  {late / median(beside.late_ms):5.2f} times as late"
            f"  {cpu / mean(beside.cpu_us):5.2f} times the CPU"
        )


@pytest.mark.benchmark
async def test_a_thousand_viewers_of_the_same_beside_a_bare_broadcast(
    database: Database, database_url: str, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    await settle(database, "default", JOBS)
    tokens = Tokens(KeyRing.kept_in(tmp_path / "keys.json"), issuer="agentos")
    environment = {
        "AGENTOS_DATABASE_URL": database_url,
        "AGENTOS_REDIS_URL": redis_url,
        "AGENTOS_DATA_DIR": str(tmp_path),
        "AGENTOS_LOG_LEVEL": "error",
        "AGENTOS_CONNECTIONS_PER_ADDRESS": str(2 * VIEWERS),
    }

    snapshots = services_over(database, redis, tmp_path).snapshots

    async def decided() -> None:
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.QUEUE_CHANGED, "default", {})

    async def changed() -> None:
        """Have the snapshot differ; it is announced when it is warmed."""
        async with database.transaction("default") as tx:
            await jobs.add(
                tx, NewJob(user_id=None, source_url="https://example.test/a.mp4", chain=["video-downloader"])
            )
        await snapshots.rebuild("default")

    async def nothing() -> None:
        """Nothing needs to be done before the queue is decided about."""

    section = SECTION % everything("SnapshotDashboard")
    for what, prepare, act, document in (
        ("small", nothing, decided, SMALL),
        ("section", changed, snapshots.warm_all, section),
    ):

        async def happen(prepare: Act = prepare, act: Act = act) -> None:
            await prepare()
            await tell(act)

        async def tell(act: Act) -> None:
            await act()
            await bells.ring(redis, keys.EVENTS_BELL)

        bearers = [
            tokens.issued(user_id=user.id, tenant="default", role=user.role, token_version=user.token_version)
            for user in await crowd(database, VIEWERS // EACH, what)
        ]

        async def begin(viewer: Viewer, number: int, document: str = document, bearers: list[str] = bearers) -> None:
            viewer.say({"type": "connection_init", "payload": {"authorization": f"Bearer {bearers[number // EACH]}"}})
            await viewer.heard(1)
            viewer.say({"id": "1", "type": "subscribe", "payload": {"query": document}})

        async def only_listen(viewer: Viewer, number: int) -> None:
            """A bare socket says nothing first."""

        async with AsyncExitStack() as stack:
            port, bare_port = free_port(), free_port()
            command = ("agentos", "serve", "--port", str(port))
            await stack.enter_async_context(program(*command, environment=environment, port=port))
            await stack.enter_async_context(
                program("tests.benchmarks.broadcast", str(bare_port), environment={}, port=bare_port)
            )
            client = await stack.enter_async_context(plain_client(base_url=f"http://127.0.0.1:{bare_port}"))
            ours = Server(f"ours, {what}", port, listener(port))
            bare = Server(f"bare, {what}", bare_port, listener(bare_port))
            await ours.fill("/graphql", begin)
            await bare.fill("/", only_listen)
            # Everybody listens once an event has reached them all.
            await eventually(partial(_told, ours, happen), bool, within_s=60, every_s=1)
            for _ in range(EVENTS):
                await prepare()
                await ours.tell(partial(tell, act))
                await bare.tell(partial(_broadcast, client, ours.viewers[0].last))
            for viewer in (*ours.viewers, *bare.viewers):
                viewer.close()
        print(f"\n{VIEWERS:,} viewers, {EVENTS} events")
        bare.report(bare)
        ours.report(bare)


async def _broadcast(client: httpx.AsyncClient, text: bytes) -> None:
    await client.post("/", content=text)


async def _told(server: Server, act: Act) -> bool:
    """Have one thing more told; whether everybody had heard of one before."""
    refused = [viewer.last for viewer in server.viewers if b'"type":"error"' in viewer.last]
    assert not refused, refused[0]
    before = all(viewer.messages > 1 for viewer in server.viewers)
    await act()
    return before
