"""A database for each test: the same one, swept, or a new one when a test has changed more than rows.

Copying a template for every test costs a third of a second; sweeping costs a few milliseconds.
"""

from typing import Any, Final
from uuid import uuid4

import asyncpg

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
_OTHERS_OUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_TABLES: Final = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace::regnamespace::text IN ('public', 'audit_trail') AND relname <> 'alembic_version'"
)
_KEPT: Final = ("tenants", "agents")
"""Tables whose first rows every test finds."""


class Rooms:
    """Hands out databases, one at a time."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._name: str | None = None
        self._shape = ""
        self._first: dict[str, list[Any]] = {}

    async def swept(self) -> str:
        """A database with the first rows and no others, to which nobody is connected."""
        if self._name is not None and await self._sweep(self._name):
            return with_database(self._server_url, self._name)
        if self._name is not None:
            await administer(self._server_url, f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
        self._name = f"t_{uuid4().hex}"
        await administer(self._server_url, f'CREATE DATABASE "{self._name}" TEMPLATE "{self._template}"')
        await self._remember(self._name)
        return with_database(self._server_url, self._name)

    async def _remember(self, name: str) -> None:
        connection = await self._connect(name)
        try:
            self._shape = await connection.fetchval(_SHAPE)
            self._first = {table: await connection.fetch(f"SELECT * FROM {table}") for table in _KEPT}
        finally:
            await connection.close()

    async def _sweep(self, name: str) -> bool:
        """Whether the database could be made as it was."""
        try:
            connection = await self._connect(name)
        except asyncpg.PostgresError:
            return False
        try:
            await connection.execute(_OTHERS_OUT)
            if await connection.fetchval(_SHAPE) != self._shape:
                return False
            tables = [row[0] for row in await connection.fetch(_TABLES)]
            # As a replica: no trigger counts the rows that go, and no foreign key asks for an order.
            await connection.execute("SET session_replication_role = replica; SET lock_timeout = '2s'")
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in tables))
            for table, rows in self._first.items():
                await connection.copy_records_to_table(table, records=[tuple(row) for row in rows])
            return True
        except asyncpg.PostgresError:
            return False
        finally:
            await connection.close()

    async def _connect(self, name: str) -> Any:
        return await asyncpg.connect(driver_url(with_database(self._server_url, name)))


async def administer(url: str, statement: str) -> None:
    """Run one statement that stands alone, such as `CREATE DATABASE`."""
    connection = await asyncpg.connect(driver_url(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
