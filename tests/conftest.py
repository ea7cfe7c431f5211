"""What every test may ask for: real stores, a database of its own, people of every role in two tenants.

One PostgreSQL and one Valkey run for a whole session (one pair for each xdist worker); a test gets a database as if
fresh, and Valkey emptied. `AGENTOS_TEST_DATABASE_URL` and `AGENTOS_TEST_REDIS_URL` run the
same tests against servers that are there already; the tests make and drop databases of their own on them.
"""

import asyncio
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from agentos.embedded import Addresses, Stores
from db import agents, users
from db.database import Database
from db.migrations import runner
from db.models.identity import DEFAULT_TENANT, Role
from db.redis import Redis, connect
from db.users import User
from guards.callers import Caller
from tests.rooms import Rooms, administer
from tests.urls import with_database
from tests.waiting import PATIENCE_S
from workers.agents.roster import ROSTER

# Some machines are told to keep no bytecode. Hundreds of processes are started here, and each would then compile
# all that it loads.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What is loaded here stays; looking through all of it for garbage again and again costs a third of the time to load it.
gc.set_threshold(50_000, 20, 20)

# An example that took a fifth of a second, or ten that took one to make, say something of the machine alone.
settings.register_profile(
    "patient",
    deadline=None,
    # Examples clear away what others left by themselves.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("patient")

TEMPLATE = "agentos_tests_template"
OTHER_TENANT = "other"

People = dict[Role, User]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    parser.addoption("--examples", action="store_true", help="record a call of every endpoint, to be described with")
    parser.addoption("--outcomes", action="store_true", help="write down what comes of every action, to be looked at")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: one that began last would have all processes but its own wait for it."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Leave what was loaded out of every search for garbage from now on."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def pair() -> Iterator[Addresses]:
    """Where PostgreSQL and Valkey answer, for as long as the session runs."""
    given = os.environ.get("AGENTOS_TEST_DATABASE_URL"), os.environ.get("AGENTOS_TEST_REDIS_URL")
    if given[0] and given[1]:
        yield Addresses(database_url=given[0], redis_url=given[1])
        return
    # A short path of its own: sockets have room for about a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="aos-"))
    stores = Stores(folder, fast_unsafe=True)
    try:
        yield asyncio.run(stores.start())
    finally:
        asyncio.run(stores.stop())
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(pair: Addresses) -> str:
    """A migrated, empty database that each test's own is copied from."""

    async def make() -> str:
        name = f"{TEMPLATE}_{uuid4().hex[:8]}"
        await administer(pair.database_url, f'CREATE DATABASE "{name}"')
        url = with_database(pair.database_url, name)
        await runner.upgrade(url)
        async with _database(url) as database:
            for tenant in (DEFAULT_TENANT, OTHER_TENANT):
                await _settled(database, tenant)
        return name

    return asyncio.run(make())


@pytest_asyncio.fixture(scope="session")
async def rooms(pair: Addresses, template: str) -> AsyncIterator[Rooms]:
    """The databases of this worker's tests."""
    found = Rooms(pair.database_url, template)
    yield found
    await found.left()


@pytest_asyncio.fixture
async def database_url(rooms: Rooms) -> str:
    """A database of this test alone, migrated, with the tenants `default` and `other` and their agents."""
    return await rooms.swept()


@pytest_asyncio.fixture
async def database(rooms: Rooms, database_url: str) -> AsyncIterator[Database]:
    """A pool over the test's database."""
    async with rooms.pool(database_url) as opened:
        yield opened
        opened.bell = None


@pytest_asyncio.fixture
async def roomy(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A pool with room for all who come at once, who do not give up soon when they wait for each other's locks."""
    monkeypatch.setattr("db.database.LOCK_TIMEOUT", timedelta(minutes=1))
    async with _database(database_url, size=24) as opened:
        yield opened


@pytest_asyncio.fixture
async def redis_url(pair: Addresses) -> AsyncIterator[str]:
    """Valkey, emptied before the test."""
    async with connect(pair.redis_url, answer_timeout_s=PATIENCE_S) as client:
        await client.flushall()
    yield pair.redis_url


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client over the emptied Valkey."""
    async with connect(redis_url, answer_timeout_s=PATIENCE_S) as client:
        yield client


@pytest.fixture
def tenant() -> str:
    """The tenant that tests act in unless they say otherwise."""
    return DEFAULT_TENANT


@pytest_asyncio.fixture
async def people(database: Database) -> People:
    """One user of each role in the default tenant, without passwords."""
    return await _people(database, DEFAULT_TENANT)


@pytest_asyncio.fixture
async def other_people(database: Database) -> People:
    """One user of each role in the tenant `other`, without passwords."""
    return await _people(database, OTHER_TENANT)


CallerOf = Callable[[User], Caller]


@pytest.fixture
def caller_of() -> CallerOf:
    """Who a user is once a token of theirs has been verified."""

    def make(user: User) -> Caller:
        return Caller(
            user_id=user.id,
            tenant=user.tenant_id,
            role=user.role,
            token_id=uuid4().hex,
            token_version=user.token_version,
            expires_at=int(datetime.now(UTC).timestamp()) + 600,
        )

    return make


async def _people(database: Database, tenant: str) -> People:
    async with database.transaction(tenant) as tx:
        made = [
            await users.add(
                tx, tenant=tenant, email=f"{role}@{tenant}.test", name=role.title(), role=role, password_hash=None
            )
            for role in Role
        ]
    return {user.role: user for user in made if user is not None}


async def _settled(database: Database, tenant: str) -> None:
    async with database.system() as tx:
        await users.ensure_tenant(tx, tenant)
    async with database.transaction(tenant) as tx:
        await agents.settle(tx, ROSTER)


class _database:
    """A pool that is closed when its block ends."""

    def __init__(self, url: str, *, size: int = 10) -> None:
        self._database = Database.connect(url, size=size)

    async def __aenter__(self) -> Database:
        return self._database

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()
