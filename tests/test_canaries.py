"""What is told in confidence stays so: canaries through every way in, then a look into every store, log and metric.

Each canary says where it may be found, which is where the user put it on purpose; anywhere else it must not be. Of
everything that is written in bytes its hexadecimal form is looked for as well.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from websockets.asyncio.client import connect

from agentos.keys import seals_of
from agentos.settings import Settings
from db import users
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from guards import passwords
from guards.audit import Audit
from guards.exports import export
from tests.agentos.commands import ROOT, environment
from tests.serving import free_port, plain_client
from tests.trails import entry
from tests.waiting import eventually

EMAIL: Final = "boss@default.test"
NOWHERE: Final = frozenset[str]()
KEPT: Final = frozenset({"table jobs", "table events", "table uploads", "table queue_states", "table replays"})
"""Where what people write for other people is kept; events tell the console of it."""

LOGGED: Final = frozenset({"log"})
"""Where paths are kept, which are no place for secrets; of a link's the part that opens it is left out."""


@dataclass
class Canaries:
    """Texts that occur once in the world, by where each may be found."""

    known: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def new(self, way: str, allowed: frozenset[str] = NOWHERE, shape: str = "{}") -> str:
        """A fresh one that goes in by `way`; `shape` makes it fit there."""
        text = shape.format(f"canary{uuid4().hex}")
        self.known[text] = (way, allowed)
        return text

    def found(self, places: Mapping[str, str]) -> list[str]:
        """Where one is that should not be there."""
        return sorted(
            f"{way} is in {place}"
            for text, (way, allowed) in self.known.items()
            for place, content in places.items()
            if place not in allowed and (text in content or text.encode().hex() in content)
        )


@dataclass(frozen=True)
class Served:
    """An API process of this test."""

    client: httpx.AsyncClient
    port: int
    log: Path

    async def ask(self, document: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Send an operation."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        headers = {**bearer, **more.pop("headers", {})}
        return await self.client.post("/graphql", json={"query": document, **more}, headers=headers)


@asynccontextmanager
async def serving(env: Mapping[str, str], log: Path) -> AsyncIterator[Served]:
    port = free_port()
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agentos", "serve", "--port", str(port), cwd=ROOT, env=env, stdout=out, stderr=out
        )
    try:
        async with plain_client(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: _answers(client), bool, within_s=90)
            yield Served(client, port, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await child.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


async def contents(database: Database, redis: Redis, settings: Settings, served: Served | None) -> dict[str, str]:
    """Everything that is written anywhere, by place."""
    places: dict[str, str] = {}
    async with database.system() as tx:
        tables = await tx.rows(
            sa.text(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                "AND relnamespace::regnamespace::text IN ('public', 'audit_trail')"
            )
        )
        for (table,) in tables:
            rows = await tx.rows(sa.text(f"SELECT t::text FROM {table} AS t"))
            places[f"table {table}"] = "\n".join(row for (row,) in rows)
    places["redis"] = "\n".join([await _redis_value(redis, key) async for key in redis.scan_iter()])
    lines = [line async for line in export(database, seals_of(settings), ["default"])]
    places["export"] = b"".join(lines).decode()
    places["files"] = "\n".join(
        f"{path.name} {path.read_bytes().decode(errors='replace')}"
        for path in settings.data_dir.rglob("*")
        if path.is_file() and (served is None or path != served.log)
    )
    if served is not None:
        places["log"] = served.log.read_text()
        places["metrics"] = (await served.client.get("/metrics")).text
    return places


async def _redis_value(redis: Redis, key: bytes | str) -> str:
    kind = await redis.type(key)
    readers: dict[str, Any] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "list": lambda name: redis.lrange(name, 0, -1),
        "zset": lambda name: redis.zrange(name, 0, -1, withscores=True),
        "stream": redis.xrange,
    }
    name = kind.decode() if isinstance(kind, bytes) else kind
    return f"{key!r} {await readers[name](key)!r}"


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings for the test's stores."""
    return Settings.model_validate({"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path})


@pytest_asyncio.fixture
async def served(settings: Settings, tmp_path: Path, redis: Redis) -> AsyncIterator[Served]:
    """The API, telling its log all that it knows."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    env = environment(
        tmp_path, database_url=settings.database_url, redis_url=settings.redis_url, log_level="debug", log_format="json"
    )
    async with serving(env, tmp_path / "api.log") as running:
        yield running


async def strangers(served: Served, canaries: Canaries) -> None:
    """What nobody in particular sends, by every way in."""
    new, client = canaries.new, served.client
    odd = {
        "User-Agent": new("the user agent"),
        "Referer": new("the referer", shape="http://a.example/{}"),
        "Cookie": new("a cookie", shape="session={}"),
        "X-Anything": new("an unknown header"),
        "X-Forwarded-For": new("the forwarded address"),
        "X-Request-ID": new("a trace id that is none", shape="{} !"),
        "Traceparent": new("a traceparent that is none", shape="00-{}-!-01"),
        "Origin": new("the origin", shape="http://{}.example"),
    }
    await served.ask("{ health { status } }", headers=odd)
    await served.ask("{ me { id } }", new("an access token that is none"))
    await served.ask("{ me { id } }", headers={"Authorization": new("other credentials", shape="Basic {}")})
    await served.ask(new("a document that is none", shape="{{ {} "))
    await served.ask(new("an unknown field", shape="{{ {} }}"))
    await served.ask("{ health { status } }", operationName=new("an unknown operation"))
    await served.ask("query($a: Int) { health { status } }", variables={"a": new("a variable of the wrong kind")})
    await served.ask(new("an argument of the wrong kind", shape='{{ jobs(first: "{}") {{ totalCount }} }}'))
    await served.ask(new("a directive", shape="{{ health @{} {{ status }} }}"))
    await client.post("/graphql", content=new("a body that is no JSON"), headers={"Content-Type": "application/json"})
    await client.get(new("an unknown path", LOGGED, shape="/{}"))
    await client.get(new("a query string", shape="/api/jobs?token={}"))
    await client.get(new("the token of a link", shape="/files/{}"))
    await client.get(new("the id of a job", LOGGED, shape="/api/jobs/{}"), headers={"Authorization": "Bearer x"})
    await client.post("/api/admin/action", json={"action": new("an unknown action"), "payload": {}})
    renew = "mutation($t: String!) { refresh(input: {refreshToken: $t}) { session { expiresIn } } }"
    await served.ask(renew, variables={"t": new("a refresh token that is none")})
    sign_in = "mutation($e: String!, $p: String!) { login(input: {email: $e, password: $p}) { user { id } } }"
    password = new("a wrong password")
    email = new("the address of nobody", shape="{}@a.example")
    for who in (EMAIL, email):
        await served.ask(sign_in, variables={"e": who, "p": password})
    async with connect(f"ws://127.0.0.1:{served.port}/graphql", subprotocols=["graphql-transport-ws"]) as ws:  # type: ignore[list-item]  # a plain name of a protocol is one
        token = new("the token of a socket")
        await ws.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
        with contextlib.suppress(Exception):
            await ws.recv()
            await ws.send(new("a message that is none"))
            await ws.recv()


async def the_boss(served: Served, canaries: Canaries, password: str) -> None:
    """What somebody who may do everything sends, and gets."""
    new = canaries.new
    sign_in = (
        "mutation($e: String!, $p: String!) "
        "{ login(input: {email: $e, password: $p}) { session { accessToken refreshToken } } }"
    )
    answer = (await served.ask(sign_in, variables={"e": EMAIL, "p": password})).json()
    session = answer["data"]["login"]["session"]
    token, refresh = session["accessToken"], session["refreshToken"]
    canaries.known[token] = ("an access token", NOWHERE)
    canaries.known[refresh] = ("a refresh token", NOWHERE)
    await served.ask(
        "mutation($t: String!) { refresh(input: {refreshToken: $t}) { session { expiresIn } } }",
        variables={"t": refresh},
    )
    agent = {"User-Agent": new("the user agent of who is signed in")}
    key = new("an idempotency key", frozenset({"table replays"}))
    reason = new("a reason", KEPT)
    pause = "mutation($r: String) { queuePause(input: {reason: $r}) { paused } }"
    for _ in range(2):
        await served.ask(pause, token, variables={"r": reason}, headers={**agent, "Idempotency-Key": key})
    title, url = new("a title", KEPT), new("a password in an address", KEPT, shape="https://joe:{}@a.example/v.mp4")
    create = "mutation($t: String!, $u: String!) { jobCreate(input: {title: $t, source: {url: $u}}) { job { id } } }"
    await served.ask(create, token, variables={"t": title, "u": url}, headers=agent)
    filename = new("the name of a file", KEPT, shape="{}.mp4")
    begin = "mutation($f: String!) { uploadInit(input: {filename: $f, sizeBytes: 9}) { upload { id } } }"
    await served.ask(begin, token, variables={"f": filename}, headers=agent)
    missing = "mutation($i: ID!) { jobCancel(input: {jobId: $i}) { job { id } } }"
    await served.ask(missing, token, variables={"i": new("the id of nothing")}, headers=agent)
    bearer = {"Authorization": f"Bearer {token}", **agent}
    body = {"action": "queue.pause", "payload": {"reason": 7, new("an unknown field of an action"): 1}}
    await served.client.post("/api/admin/action", json=body, headers=bearer)
    await served.client.post(new("a path of who is signed in", LOGGED, shape="/api/jobs/{}/cancel"), headers=bearer)
    await served.client.get("/api/jobs", params={"search": new("what is searched for")}, headers=bearer)
    await served.ask("{ snapshot { timestamp } auditLog { edges { node { address userAgent } } } }", token)


@pytest.mark.slow
async def test_no_canary_is_found_where_it_does_not_belong(
    database: Database, redis: Redis, settings: Settings, served: Served
) -> None:
    canaries = Canaries()
    password = canaries.new("a password")
    async with database.transaction("default") as tx:
        await users.add(
            tx,
            tenant="default",
            email=EMAIL,
            name="Boss",
            role=Role.ADMIN,
            password_hash=await passwords.hashed(password),
        )
    await the_boss(served, canaries, password)
    await strangers(served, canaries)

    places = await contents(database, redis, settings, served)

    assert [] == canaries.found(places)
    assert {"queue.pause", "job.create", "upload.init"} <= {
        line["action"] for line in map(json.loads, places["export"].splitlines()[:-1])
    }
    reason = next(text for text, (way, _) in canaries.known.items() if way == "a reason")
    assert reason in places["table queue_states"]


async def test_control_what_is_written_down_carelessly_is_found(
    database: Database, redis: Redis, settings: Settings
) -> None:
    """Once in each kind of place: a document, a sealed column that is not sealed, a key, a file."""
    canaries = Canaries()
    audit = Audit(database, seals_of(settings))
    careless = entry(details={"reason": canaries.new("a reason")}, key="x" * 20)
    async with database.transaction("default") as tx:
        await audit.done(tx, careless, b"{}")
        naked = canaries.new("an address").encode()
        await tx.execute(
            sa.text("INSERT INTO pii_subjects (tenant_id, commitment, sealed) VALUES ('default', '\\x00', :naked)"),
            {"naked": naked},
        )
    await redis.set("some:key", canaries.new("a token"))
    (settings.data_dir / "audit" / "notes").write_text(canaries.new("a password"))

    assert [
        "a password is in files",
        "a reason is in export",
        "a reason is in table audit",
        "a token is in redis",
        "an address is in table pii_subjects",
    ] == canaries.found(await contents(database, redis, settings, None))
