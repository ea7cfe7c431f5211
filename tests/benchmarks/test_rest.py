"""What the snapshot costs over REST, beside a bare route that returns the same bytes and a plain FastAPI one.

The servers are asked in turn, a burst at a time over the same number of connections, so that whatever else the machine
does hits all of them alike; shares are those of bursts that followed each other. Nobody may ask for more than a burst:
each has a user of its own, whose token is verified and whose calls are counted as always. A warmer builds the snapshot
meanwhile, as where everything runs.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types; one figure is read from it
import pytest

from db import keys, users
from db.database import Database
from db.models.identity import Role
from db.users import User
from guards.allowances import Class
from guards.tokens import KeyRing, Tokens
from tests.benchmarks.test_http import program
from tests.benchmarks.test_snapshot import settle
from tests.serving import free_port

JOBS: Final = 10_000
ROUNDS: Final = 25
BURST: Final = 120
CONNECTIONS: Final = 8

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A kept-alive connection that reads no more of an answer than where it ends."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._got = bytearray()
        self._whole = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """The answer to a request, head and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._got.clear()
        self._whole = 0
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._whole:
            head = self._got.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._got, 0, head)
            self._whole = head + 4 + (int(length[1]) if length else 0)
        if len(self._got) >= self._whole and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._got))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.close()


@dataclass
class Line:
    """One thing that is asked of one server."""

    what: str
    port: int
    process: psutil.Process
    path: str = "/"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    tokens: Sequence[str] = ()
    """A bearer for each round; none where nobody is asked for."""

    spent_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def request(self, round_: int) -> bytes:
        """The request of one round."""
        headers = {"Host": "127.0.0.1", **self.headers}
        if self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[round_]}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {self.path} HTTP/1.1\r\n{lines}\r\n".encode()

    async def burst(self, round_: int) -> None:
        """Ask as often as one may within seconds."""
        loop, request = asyncio.get_running_loop(), self.request(round_)
        opened = [await loop.create_connection(Connection, "127.0.0.1", self.port) for _ in range(CONNECTIONS)]
        connections = [connection for _, connection in opened]
        expected = b"HTTP/1.1 %d " % self.status

        async def ask(connection: Connection) -> None:
            for _ in range(BURST // CONNECTIONS):
                began = time.perf_counter()
                answer = await connection.ask(request)
                self.spent_ms.append((time.perf_counter() - began) * 1000)
                assert answer.startswith(expected), answer[:500]

        cpu, began = self._cpu_s(), time.perf_counter()
        await asyncio.gather(*map(ask, connections))
        self.per_second.append(BURST / (time.perf_counter() - began))
        self.cpu_s += self._cpu_s() - cpu
        for connection in connections:
            connection.close()

    def report(self, beside: "Line") -> None:
        spent, warm = self.spent_ms[BURST:], self.per_second[1:]
        share = median(each / other for each, other in zip(warm, beside.per_second[1:], strict=True))
        took = f"min {min(spent):6.3f}  median {median(spent):6.3f}  p95 {quantiles(spent, n=20)[-1]:6.3f} ms"
        cpu = f"{self.cpu_s / len(self.spent_ms) * 1000:5.3f} ms CPU"
        print(f"{self.what:<18} {took}  {median(warm):6.0f} requests/s  {cpu}  {share:5.2f} of {beside.what}")

    def _cpu_s(self) -> float:
        used = self.process.cpu_times()
        return float(used.user + used.system)


async def answer_of(port: int, path: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
    """The head and the body of one answer."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = await connection.ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
    connection.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer[:500]
    return head, body


@asynccontextmanager
async def warmer(environment: dict[str, str]) -> AsyncIterator[None]:
    """The process that keeps the snapshot warm, for as long as the block lasts."""
    argv = ("-m", "agentos", "worker", "--only", "warmer")
    child = await asyncio.create_subprocess_exec(sys.executable, *argv, env={**os.environ, **environment})
    try:
        yield
    finally:
        child.terminate()
        await child.wait()


async def crowd(database: Database, size: int, place: str = "b") -> list[User]:
    """Users who may read the snapshot."""
    async with database.transaction("default") as tx:
        made = [
            await users.add(
                tx, tenant="default", email=f"{n}@{place}.test", name="B", role=Role.READONLY, password_hash=None
            )
            for n in range(size)
        ]
    return [user for user in made if user is not None]


@pytest.mark.benchmark
async def test_the_snapshot_over_rest_beside_a_bare_route_and_fastapi(
    database: Database, database_url: str, redis_url: str, redis: object, tmp_path: Path
) -> None:
    assert Class.ADMIN_READ.per_minute / 3 > BURST, "a user may not ask for a burst"
    await settle(database, "default", JOBS)
    tokens = Tokens(KeyRing.kept_in(tmp_path / "keys.json"), issuer="agentos")
    bearers = [
        tokens.issued(user_id=user.id, tenant="default", role=user.role, token_version=user.token_version)
        for user in await crowd(database, 4 * ROUNDS + 1)
    ]
    environment = {
        "AGENTOS_DATABASE_URL": database_url,
        "AGENTOS_REDIS_URL": redis_url,
        "AGENTOS_DATA_DIR": str(tmp_path),
        "AGENTOS_LOG_LEVEL": "error",
    }
    async with AsyncExitStack() as stack:

        async def started(*argv: str, environment: dict[str, str]) -> tuple[int, psutil.Process]:
            port = free_port()
            command = [str(port) if part == "PORT" else part for part in argv]
            await stack.enter_async_context(program(*command, environment=environment, port=port))
            return port, listener(port)

        await stack.enter_async_context(warmer(environment))
        api, ours = await started("agentos", "serve", "--port", "PORT", environment=environment)
        path, bearer = "/api/admin/ssot", {"Authorization": f"Bearer {bearers[-1]}"}
        _, plain = await answer_of(api, path, bearer)
        head, packed = await answer_of(api, path, {**bearer, "Accept-Encoding": "zstd"})

        async def bare(what: str, body: bytes) -> Line:
            file = tmp_path / f"{what}.body"
            file.write_bytes(body)
            return Line(f"bare {what}", *await started("tests.benchmarks.raw", "PORT", str(file), environment={}))

        bare_plain, bare_packed, bare_empty = (
            await bare("plain", plain),
            await bare("zstd", packed),
            await bare("304", b""),
        )
        fast = Line(
            "FastAPI",
            *await started("tests.benchmarks.fast", "PORT", redis_url, keys.snapshot("default"), environment={}),
        )
        parts = [bearers[number * ROUNDS : (number + 1) * ROUNDS] for number in range(4)]
        lines = [
            (Line("ours, plain", api, ours, path, tokens=parts[0]), bare_plain),
            (Line("ours, zstd", api, ours, path, 200, {"Accept-Encoding": "zstd"}, parts[1]), bare_packed),
            (Line("ours, 304", api, ours, path, 304, {"If-None-Match": "*"}, parts[2]), bare_empty),
            (Line("ours, v1, plain", api, ours, "/api/v1/admin/ssot", tokens=parts[3]), fast),
        ]
        everything = [line for pair in lines for line in pair]
        for round_ in range(ROUNDS):
            for line in everything:
                await line.burst(round_)
    print(f"\n{JOBS:,} jobs, {len(plain):,} bytes, {len(packed):,} as zstd")
    print(f"{CONNECTIONS} connections, {ROUNDS} bursts of {BURST} requests in turn")
    for line, beside in lines:
        beside.report(beside)
        line.report(beside)
    assert b"content-encoding: zstd" in head


def listener(port: int) -> psutil.Process:
    """The process that accepts connections there."""
    here = psutil.Process()
    return next(
        child
        for child in here.children(recursive=True)
        if any(each.laddr.port == port and each.status == psutil.CONN_LISTEN for each in child.net_connections())
    )
