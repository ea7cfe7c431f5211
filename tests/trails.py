"""What tests of the audit trail share: keys, anchors, entries, and the hands of somebody who rules the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from db.database import Database
from guards.anchors import Anchors
from guards.audit import Audit, Entry
from guards.seals import Seals
from guards.tokens import KeyRing, new_key
from tests.urls import driver_url


def seals() -> Seals:
    """Fresh keys of a trail."""
    return Seals(KeyRing([new_key()]))


def anchors_in(database: Database, folder: Path, keys: Seals | None = None) -> Anchors:
    """Anchors that are kept in a folder."""
    return Anchors(database, keys or seals(), folder / "anchors.ndjson")


def entry(**given: Any) -> Entry:
    """A call as it is put on record."""
    usual: dict[str, Any] = {
        "tenant": "default",
        "actor": UUID(int=7),
        "role": "admin",
        "action": "job.cancel",
        "target": str(uuid4()),
        "details": {"priority": 3, "dry_run": False},
        "trace_id": uuid4().hex,
        "address": "192.0.2.7",
        "user_agent": "curl/8",
    }
    return Entry(**usual | given)


async def recorded(database: Database, keys: Seals, count: int, **given: Any) -> None:
    """Some entries of what was done, each in a transaction of its own."""
    audit = Audit(database, keys)
    for number in range(count):
        called = entry(**given)
        async with database.transaction(called.tenant) as tx:
            await audit.done(tx, called, b'{"number":%d}' % number)


@asynccontextmanager
async def ruling(database_url: str) -> AsyncIterator[Any]:
    """A connection of somebody whom neither privileges nor triggers stop; the test is skipped where there is none."""
    connection = await asyncpg.connect(driver_url(database_url))
    try:
        if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            pytest.skip("only a superuser can switch triggers off, and the given user is none")
        await connection.execute("SET session_replication_role = replica")
        yield connection
    finally:
        await connection.close()
