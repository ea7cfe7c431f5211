"""Replicas: real processes of the API over one PostgreSQL and a Valkey of their own, to be killed and cut off.

Processes are started when they are first asked for, as each takes seconds to load, and shared by the tests of a module:
none may rely on how many there are before it asks.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psutil  # type: ignore[import-untyped]  # it ships no types; one figure is read from it

from agentos.embedded import Stores
from agentos.embedded.valkey import Valkey
from db import bells, events, jobs, keys, leases, users
from db.database import Database
from db.events import Cursor
from db.jobs import NewJob
from db.leases import Claim
from db.models.identity import DEFAULT_TENANT, Role
from db.redis import Redis, connect
from db.users import User
from guards.tokens import KeyRing, Tokens
from tests.relays import Relay, relayed
from tests.rooms import administer
from tests.serving import free_port, plain_client
from tests.urls import with_database
from tests.waiting import eventually, until

ROOT: Final = Path(__file__).parents[2]
STARTED_S: Final = 60.0
"""How long a process may take to load: the machine that tests may be busy with others."""


@dataclass(slots=True, eq=False)
class Replica:
    """One process of the API."""

    process: asyncio.subprocess.Process
    port: int
    leaving: bool = False
    """Whether it was told to stop."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.returncode is None

    @property
    def rss_mb(self) -> float:
        """How much memory it has."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1024 / 1024

    @property
    def cpu_s(self) -> float:
        """How much CPU it has used."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    async def ready(self) -> None:
        """Return once it may be sent work."""
        async with plain_client(timeout=5) as client:

            async def asked() -> int:
                assert self.alive, f"the replica has ended with {self.process.returncode}"
                try:
                    return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code
                except httpx.TransportError:
                    return 0

            await eventually(asked, lambda status: status == 200, within_s=STARTED_S, every_s=0.1)

    def stop(self) -> None:
        """Tell it to stop, quietly."""
        self.leaving = True
        self.process.terminate()

    async def kill(self) -> None:
        """End it with no time for a word."""
        if self.alive:
            self.process.kill()
        await self.process.wait()


@dataclass
class Fleet:
    """Several replicas, their stores, and the ways to harm them."""

    database: Database
    database_url: str
    redis: Redis
    """The Valkey of these replicas alone, past what may be cut."""

    wire: Relay
    """What the replicas reach it over."""

    bell: Redis
    """A client over the same wire, as impatient as those of a replica."""

    folder: Path
    stores: Stores
    replicas: list[Replica] = field(default_factory=list)

    async def of(self, count: int) -> list[Replica]:
        """So many replicas that may be sent work."""
        missing = count - len(self.staying)
        if missing > 0:
            await asyncio.gather(*(self.one_more() for _ in range(missing)))
        return self.staying[:count]

    async def one_more(self) -> Replica:
        """A replica of its own, once it may be sent work."""
        port = free_port()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AGENTOS_DATABASE_URL": self.database_url,
            "AGENTOS_REDIS_URL": self.wire.url,
            "AGENTOS_DATA_DIR": str(self.folder),
            "AGENTOS_LOG_LEVEL": "error",
        }
        argv = ("-m", "agentos", "serve", "--port", str(port), "--supervised")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, env=environment, stdin=asyncio.subprocess.PIPE
        )
        replica = Replica(process, port)
        try:
            await replica.ready()
        except BaseException:
            await replica.kill()
            raise
        self.replicas.append(replica)
        return replica

    @property
    def staying(self) -> list[Replica]:
        """Those that run, and were not told to stop."""
        return [replica for replica in self.replicas if replica.alive and not replica.leaving]

    def token(self, user: User) -> str:
        """A good access token of a user."""
        tokens = Tokens(KeyRing.kept_in(self.folder / "keys.json"), issuer="agentos")
        return tokens.issued(user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version)

    async def people(self, count: int, role: Role = Role.OPERATOR) -> list[User]:
        """So many new users."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            made = [
                await users.add(
                    tx,
                    tenant=DEFAULT_TENANT,
                    email=f"{uuid4().hex}@fleet.test",
                    name="F",
                    role=role,
                    password_hash=None,
                )
                for _ in range(count)
            ]
        return [user for user in made if user is not None]

    async def at_work(self, count: int, *, title: str = "") -> list[Claim]:
        """So many new jobs in the hands of a worker, each of which has changed twice by now."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            for _ in range(count):
                await jobs.add(
                    tx,
                    NewJob(
                        user_id=None, source_url="https://example.test/a.mp4", title=title, chain=["video-downloader"]
                    ),
                )
        async with self.database.system() as tx:
            claims = await leases.claim(tx, "w", most=count)
        await self.ring()
        return claims

    async def progress(self, claim: Claim, percent: int) -> float:
        """Have a job come further, and everybody look, as after every action; when that was committed."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            await jobs.mark_progress(tx, claim.job.id, percent)
        committed = time.monotonic()
        await self.ring()
        return committed

    async def last(self) -> Cursor:
        """The cursor of the last change of a job that is on record."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            found = await (await tx.driver()).fetchrow(
                "SELECT xid::text::bigint AS xid, id FROM events WHERE kind = 'job_changed' "
                "ORDER BY events.xid DESC, id DESC LIMIT 1"
            )
        return Cursor(found["xid"], found["id"])

    async def edge(self) -> Cursor:
        """The cursor after which everything comes that happens from now on."""
        async with self.database.system() as tx:
            return await events.edge(tx)

    async def ring(self) -> None:
        """Have every replica look now."""
        await bells.ring(self.bell, keys.EVENTS_BELL)

    async def empty_redis(self) -> None:
        """FLUSHALL, of the server that is ours by its process id."""
        told = await self.redis.info("server")
        assert told["process_id"] == self.valkey
        await self.redis.flushall()

    def freeze_redis(self) -> None:
        """Have it answer nobody, though it is there."""
        os.kill(self.valkey, signal.SIGSTOP)

    def thaw_redis(self) -> None:
        """Have it answer again, what was asked meanwhile first."""
        os.kill(self.valkey, signal.SIGCONT)

    @property
    def valkey(self) -> int:
        """The process of it."""
        pid = self.stores.pids()[Valkey.name]
        assert pid is not None
        return pid


@asynccontextmanager
async def fleet(server_url: str, template: str) -> AsyncIterator[Fleet]:
    """A database and a Valkey of their own, and whatever replicas are asked for; all gone when the block ends."""
    name = f"f_{uuid4().hex}"
    await administer(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = with_database(server_url, name)
    database = Database.connect(url)
    with tempfile.TemporaryDirectory(prefix="aos-fleet-") as folder:
        stores = Stores(Path(folder) / "valkey", postgres=False, fast_unsafe=True)
        try:
            async with (
                relayed((addresses := await stores.start()).redis_url) as wire,
                connect(addresses.redis_url, answer_timeout_s=STARTED_S) as redis,
                connect(wire.url) as bell,
            ):
                made = Fleet(database, url, redis, wire, bell, Path(folder), stores)
                try:
                    yield made
                finally:
                    made.thaw_redis()
                    for replica in made.replicas:
                        await replica.kill()
        finally:
            await stores.stop()
    await database.close()
    await administer(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def gone(replica: Replica, *, within_s: float = STARTED_S) -> int:
    """Wait for the end of a replica, and say with which status."""
    await until(lambda: not replica.alive, within_s=within_s)
    assert replica.process.returncode is not None
    return replica.process.returncode
