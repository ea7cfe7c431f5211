"""A database for each test: the same one, swept, or a new one when a test has changed more than rows.

Copying a template for every test costs a third of a second; sweeping costs ten milliseconds over a connection that is
kept, and ten times as many over a new one, which has to learn about every table first.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
from sqlalchemy.pool import QueuePool

from db.database import Database
from tests.urls import driver_url, with_database

_SHAPE: Final = """
SELECT md5(string_agg(part, '|' ORDER BY part)) FROM (
    SELECT concat_ws(',', relname, relkind, relacl::text, relrowsecurity, relforcerowsecurity) AS part
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(',', conname, conrelid::regclass) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(',', tgname, tgrelid::regclass, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT concat_ws(',', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) FROM pg_policy
    UNION ALL SELECT concat_ws(',', attname, attrelid::regclass, atttypid, attnotnull) FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT concat_ws(',', proname, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS parts
"""
KEPT: Final = "agentos tests"
"""How connections are named that are kept from test to test."""

_OTHERS_OUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    f"AND pid <> pg_backend_pid() AND NOT (application_name = '{KEPT}' AND state = 'idle')"
)
_TABLES: Final = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace::regnamespace::text IN ('public', 'audit_trail') AND relname <> 'alembic_version'"
)
_KEPT: Final = ("tenants", "agents")
"""Tables whose first rows every test finds."""

_ROWS: Final = "SELECT coalesce(json_agg(each), '[]') FROM {} AS each"
_FIRST: Final = "INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $rows${rows}$rows$)"


class Rooms:
    """Hands out databases, one at a time."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._name: str | None = None
        self._shape = ""
        self._sweeping = ""
        self._connection: Any = None
        self._pool: Database | None = None

    @asynccontextmanager
    async def pool(self, url: str) -> AsyncIterator[Database]:
        """A pool over the database that was handed out last.

        It is the same one from test to test, with what its connections have learnt about tables and its engine about
        statements: half of what a small test takes.
        """
        if self._pool is None:
            self._pool = Database.connect(url, size=10, application=KEPT)
        yield Database(self._pool.engine)
        connections = self._pool.engine.pool
        assert isinstance(connections, QueuePool)
        if connections.checkedout():
            # The test has ended with one of them at work; what that one is about is no other test's business.
            await self._empty()

    async def swept(self) -> str:
        """A database with the first rows and no others, to which nobody else is connected."""
        if self._name is not None and await self._sweep(self._name):
            return with_database(self._server_url, self._name)
        await self.left()
        if self._name is not None:
            await administer(self._server_url, f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
        self._name = f"t_{uuid4().hex}"
        await administer(self._server_url, f'CREATE DATABASE "{self._name}" TEMPLATE "{self._template}"')
        await self._remember(self._name)
        return with_database(self._server_url, self._name)

    async def left(self) -> None:
        """Keep no connection any more."""
        await self._empty()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=5)

    async def _empty(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _remember(self, name: str) -> None:
        connection = await self._connected(name)
        self._shape = await connection.fetchval(_SHAPE)
        gone = [f"DELETE FROM {table}" for (table,) in await connection.fetch(_TABLES)]
        first = [_FIRST.format(table=table, rows=await connection.fetchval(_ROWS.format(table))) for table in _KEPT]
        # As a replica: no trigger counts the rows that go, and no foreign key asks for an order.
        replica = "SET session_replication_role = replica; SET lock_timeout = '2s'"
        self._sweeping = "; ".join([replica, *gone, *first])

    async def _sweep(self, name: str) -> bool:
        """Whether the database could be made as it was."""
        try:
            connection = await self._connected(name)
            await connection.execute(_OTHERS_OUT)
            if await connection.fetchval(_SHAPE) != self._shape:
                return False
            await connection.execute(self._sweeping)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Whatever the test before has done to it, the next one gets another.
            return False
        return True

    async def _connected(self, name: str) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(driver_url(with_database(self._server_url, name)))
        return self._connection


async def administer(url: str, statement: str) -> None:
    """Run one statement that stands alone, such as `CREATE DATABASE`."""
    connection = await asyncpg.connect(driver_url(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
