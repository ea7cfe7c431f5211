"""What a snapshot costs through HTTP, beside a bare route that returns the same bytes, in one run.

One client on one connection, the two servers asked in turn, so that whatever else the machine does hits both alike.
"""

import asyncio
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import pytest
from graphql import GraphQLNamedType, GraphQLObjectType, build_schema, get_named_type

from db.database import Database
from db.models.identity import Role
from guards.tokens import KeyRing, Tokens
from tests.benchmarks.test_snapshot import settle
from tests.conftest import People
from tests.serving import free_port
from tests.waiting import eventually

JOBS = 100_000
ROUNDS = 300
SMALL = "{ snapshot { dashboard { queue { pending processing completedToday queueDepth } } } }"


def everything(of: str = "Snapshot") -> str:
    """A selection of every field of a type, and of all beneath it."""
    schema = build_schema(Path("docs/schema.graphql").read_text())

    def inside(output: GraphQLNamedType) -> str:
        if not isinstance(output, GraphQLObjectType):
            return ""
        fields = output.fields.items()
        return "{" + " ".join(name + inside(get_named_type(field.type)) for name, field in fields) + "}"

    return inside(schema.type_map[of])


class Line:
    """One kept-alive connection."""

    def __init__(self, port: int, path: str, body: str | None, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._ask = ("POST" if body else "GET", path, body, headers)
        self.spent: list[float] = []

    def ask(self) -> bytes:
        """The answer to one request; its milliseconds are noted."""
        began = time.perf_counter()
        self._connection.request(*self._ask)
        answer = self._connection.getresponse()
        content = answer.read()
        self.spent.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, content[:500]
        return content

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@asynccontextmanager
async def program(*argv: str, environment: dict[str, str], port: int) -> AsyncIterator[None]:
    """A server of this test, from its first answer to its end."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", *argv, env={**os.environ, **environment})
    try:
        await eventually(lambda: _listens(port), bool, within_s=30)
        yield
    finally:
        child.terminate()
        await child.wait()


async def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def report(what: str, line: Line, beside: Line) -> None:
    spent = line.spent[len(line.spent) // 5 :]
    share, p95 = median(beside.spent) / median(spent), quantiles(spent, n=20)[-1]
    print(f"{what:<40} p50 {median(spent):7.3f}  p95 {p95:7.3f} ms   {share:5.2f} of the bare route")


@pytest.mark.benchmark
async def test_a_snapshot_through_http_beside_a_bare_route(
    database: Database, database_url: str, redis_url: str, redis: object, people: People, tmp_path: Path
) -> None:
    await settle(database, "default", JOBS)
    keys = KeyRing.kept_in(tmp_path / "keys.json")
    admin = people[Role.ADMIN]
    token = Tokens(keys, issuer="agentos").issued(
        user_id=admin.id, tenant="default", role=admin.role, token_version=admin.token_version
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    api, bare = free_port(), free_port()
    environment = {
        "AGENTOS_DATABASE_URL": database_url,
        "AGENTOS_REDIS_URL": redis_url,
        "AGENTOS_DATA_DIR": str(tmp_path),
        "AGENTOS_LOG_LEVEL": "error",
    }
    whole, small = json.dumps({"query": f"{{ snapshot {everything()} }}"}), json.dumps({"query": SMALL})
    async with program("agentos", "serve", "--port", str(api), environment=environment, port=api):
        ours = Line(api, "/graphql", whole, headers)
        same = tmp_path / "same.json"
        same.write_bytes(await asyncio.to_thread(ours.ask))
        async with program("tests.benchmarks.raw", str(bare), str(same), environment={}, port=bare):
            lines = [ours, Line(api, "/graphql", small, headers), Line(bare, "/", None, {})]

            def run() -> None:
                for _ in range(ROUNDS):
                    for line in lines:
                        line.ask()

            await asyncio.to_thread(run)
    for line in lines:
        line.close()
    print(f"\n{JOBS:,} jobs, {same.stat().st_size:,} bytes, one connection, {ROUNDS} rounds in turn")
    report("bare Starlette route, the same bytes", lines[2], lines[2])
    report("GraphQL, the whole snapshot", lines[0], lines[2])
    report("GraphQL, four fields of it", lines[1], lines[2])
