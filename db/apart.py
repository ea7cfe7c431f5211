"""Connections apart from the pool, for what takes minutes: they are opened for one piece of work and closed after it.

The pool's timeouts are those of calls that somebody waits for; here a statement may take hours, and only the wait for a
lock is short unless said otherwise. PostgreSQL away: `DatabaseUnavailable`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from db.database import SYSTEM_ROLE, Database, DatabaseBusy, DatabaseUnavailable, Transaction, in_the_way

LONGEST: Final = timedelta(hours=6)
"""How long one statement may take."""

LOCK_TIMEOUT: Final = timedelta(seconds=10)
"""How long a lock is waited for; whoever comes later waits behind."""

_HUNG_UP: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # Cut at the very moment in which the next statement begins, asyncpg finds itself in no state that it knows.
    asyncpg.InternalClientError,
)
"""What COPY raises then; it does not come by way of SQLAlchemy."""

_AS: Final = sa.text("SELECT set_config('role', :role, true)")
_OWNER: Final = sa.text("SET LOCAL ROLE NONE")


@asynccontextmanager
async def moment(database: Database) -> AsyncIterator[Transaction]:
    """A transaction that sees all tenants as they are at one moment, however long it takes, and changes nothing.

    Raises:
        DatabaseUnavailable: PostgreSQL could not be reached, or closed the connection.
    """
    async with _opened(database, "REPEATABLE READ", LOCK_TIMEOUT) as connection:
        await connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        await connection.execute(_AS, {"role": SYSTEM_ROLE})
        yield Transaction(connection, "")
        await connection.rollback()


@asynccontextmanager
async def change(database: Database, *, lock_timeout: timedelta = LOCK_TIMEOUT) -> AsyncIterator[Transaction]:
    """A transaction over all tenants that may take long.

    Raises:
        DatabaseUnavailable: PostgreSQL could not be reached, or closed the connection.
    """
    async with _opened(database, "READ COMMITTED", lock_timeout) as connection:
        await connection.execute(_AS, {"role": SYSTEM_ROLE})
        tx = Transaction(connection, "")
        yield tx
        await connection.commit()
    await tx.committed(database.bell)


@asynccontextmanager
async def owner(tx: Transaction) -> AsyncIterator[None]:
    """Act as the owner of the tables inside the block: what tables are, not what is in them, is the owner's."""
    await tx.execute(_OWNER)
    yield
    await tx.execute(_AS, {"role": SYSTEM_ROLE})


@asynccontextmanager
async def bare(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection of the owner without a transaction around its statements, as VACUUM and REINDEX want it.

    Raises:
        DatabaseUnavailable: PostgreSQL could not be reached, or closed the connection.
    """
    async with _opened(database, "AUTOCOMMIT", LOCK_TIMEOUT) as connection:
        yield connection


@asynccontextmanager
async def _opened(database: Database, isolation: str, lock_timeout: timedelta) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        database.engine.url,
        poolclass=NullPool,
        isolation_level=isolation,
        connect_args={
            "timeout": 3,
            "server_settings": {
                "application_name": "agentos upkeep",
                "statement_timeout": _ms(LONGEST),
                "lock_timeout": _ms(lock_timeout),
                "idle_in_transaction_session_timeout": _ms(LONGEST),
                "timezone": "UTC",
                "jit": "off",
            },
        },
    )
    try:
        try:
            connection = await engine.connect()
        except (DBAPIError, OSError, TimeoutError) as error:
            raise DatabaseUnavailable("the database takes no connection") from error
        try:
            yield connection
        except BaseException as error:
            # Not rolled back, but cut: whatever broke off may have left it in the middle of a COPY.
            await connection.invalidate()
            if isinstance(error, _HUNG_UP) or (isinstance(error, DBAPIError) and error.connection_invalidated):
                raise DatabaseUnavailable("the database closed the connection") from error
            if isinstance(error, DBAPIError) and in_the_way(error):
                raise DatabaseBusy("somebody else holds what is needed") from error
            raise
        finally:
            await connection.close()
    finally:
        await engine.dispose()


def _ms(span: timedelta) -> str:
    return str(int(span.total_seconds() * 1000))
