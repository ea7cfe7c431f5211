"""The way to PostgreSQL: short transactions that act for one tenant, or for the system.

Connections sign in as the owner of the database but never act as it: every transaction is the application role, bound
to one tenant by row-level security, or the system role, which sees all tenants and is meant for workers, the relay and
sign-in. A transaction without a tenant sees no tenant's rows. PostgreSQL away: `DatabaseUnavailable`, at once or within
the pool's second; nothing waits longer than its own timeout. A lock that is not given in time: `DatabaseBusy`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

APP_ROLE = "agentos_app"
SYSTEM_ROLE = "agentos_system"

STATEMENT_TIMEOUT = timedelta(seconds=5)
LOCK_TIMEOUT = timedelta(seconds=2)
IDLE_TIMEOUT = timedelta(seconds=10)

# One round trip: the role, the tenant its policies compare with, and how long a statement may take.
_ENTER = sa.text(
    "SELECT set_config('role', :role, true), set_config('app.tenant', :tenant, true), "
    "set_config('statement_timeout', :timeout, true)"
)

_AS = sa.text("SELECT set_config('role', :role, true)")
_HOLD = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_TRY_HOLD = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")

_DEADLOCK, _LOCK_NOT_GIVEN = "40P01", "55P03"

Hook = Callable[[], Awaitable[None]]

SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")


class DatabaseUnavailable(Exception):
    """PostgreSQL did not answer, or had no connection free in time; the same call may succeed later."""


class DatabaseBusy(DatabaseUnavailable):
    """Somebody held what a statement needed for too long, or two waited for each other; nothing was changed."""


class Transaction:
    """One unit of work; it is committed when its block ends and rolled back when the block raises."""

    def __init__(self, connection: AsyncConnection, tenant: str) -> None:
        self._connection = connection
        self._hooks: list[Hook] = []
        self._told = False
        self.tenant = tenant
        """Whose rows it acts on; empty for the system."""

    async def execute(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        """Run one statement, or the same one for many parameter sets."""
        return await self._connection.execute(statement, parameters)

    async def rows(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """Every row a statement gives, as plain tuples."""
        return (await self._connection.execute(statement, parameters)).all()

    async def changed(self, statement: sa.Executable) -> int:
        """How many rows a statement without RETURNING touched."""
        return (await self._connection.execute(statement)).rowcount

    async def scalar(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        return (await self._connection.execute(statement, parameters)).scalar()

    async def hold(self, name: str) -> None:
        """Wait until nobody else holds `name`, and hold it until this ends; for what one statement cannot decide."""
        await self._connection.execute(_HOLD, {"name": name})

    async def try_hold(self, name: str) -> bool:
        """Hold `name` until this ends; False, at once, when somebody else does."""
        return bool(await self.scalar(_TRY_HOLD, {"name": name}))

    @asynccontextmanager
    async def everybody(self) -> AsyncIterator[None]:
        """Act for all tenants inside the block, and for the transaction's own again after it."""
        await self._connection.execute(_AS, {"role": SYSTEM_ROLE})
        yield
        # Not in a `finally`: after an error the transaction takes no statement any more, and is rolled back.
        await self._connection.execute(_AS, {"role": APP_ROLE if self.tenant else SYSTEM_ROLE})

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what the block did, and nothing before it, when the block raises."""
        waiting = len(self._hooks)
        try:
            async with self._connection.begin_nested():
                yield
        except BaseException:
            del self._hooks[waiting:]
            raise

    async def driver(self) -> Any:
        """The asyncpg connection under this transaction, for COPY."""
        return (await self._connection.get_raw_connection()).driver_connection

    def after_commit(self, hook: Hook) -> None:
        """Have `hook` awaited once this is durably committed, in the order of the calls; never after a rollback."""
        self._hooks.append(hook)

    def tell(self) -> None:
        """Have those who wait for events look once this is durably committed, however many it has."""
        self._told = True

    async def committed(self, bell: Hook | None) -> None:
        """Run what waited for the commit; called by `Database` alone.

        Args:
            bell: wakes those who wait for events.
        """
        for hook in (*self._hooks, *((bell,) if bell is not None and self._told else ())):
            await hook()


class Database:
    """A pool of connections, and the only place where a transaction begins or ends."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.bell: Hook | None = None
        """Wakes those who wait for events, after a commit that has some; without it they look by themselves."""

    @property
    def url(self) -> str:
        """Where it is, with the password: for what must connect by itself, and never to be shown."""
        return self.engine.url.render_as_string(hide_password=False)

    @classmethod
    def connect(cls, url: str, *, size: int = 10, application: str = "agentos") -> "Database":
        """A pool over `url`; no connection is opened before the first transaction.

        Args:
            url: `postgresql://…`, `postgres://…` or `postgresql+asyncpg://…`.
            size: most connections at once; a transaction that finds none free within a second is refused.
            application: how the connections are named in `pg_stat_activity`.

        Raises:
            ValueError: the address is not one of a PostgreSQL database.
        """
        engine = create_async_engine(
            driver_url(url),
            pool_size=size,
            max_overflow=0,
            pool_timeout=1,
            connect_args={
                "timeout": 3,
                "server_settings": {
                    "application_name": application,
                    "statement_timeout": _ms(STATEMENT_TIMEOUT),
                    "lock_timeout": _ms(LOCK_TIMEOUT),
                    "idle_in_transaction_session_timeout": _ms(IDLE_TIMEOUT),
                    "timezone": "UTC",
                    "jit": "off",
                },
            },
        )
        return cls(engine)

    @asynccontextmanager
    async def transaction(self, tenant: str, *, timeout: timedelta = STATEMENT_TIMEOUT) -> AsyncIterator[Transaction]:
        """A transaction that sees and changes the rows of `tenant` alone.

        Raises:
            DatabaseUnavailable: PostgreSQL could not be reached or had no connection free.
            DatabaseBusy: somebody held what a statement needed; nothing was changed.
        """
        async with self._block(APP_ROLE, tenant, timeout) as tx:
            yield tx
        await tx.committed(self.bell)

    @asynccontextmanager
    async def system(self, *, timeout: timedelta = STATEMENT_TIMEOUT) -> AsyncIterator[Transaction]:
        """A transaction across all tenants, for work that has none: claiming, reaping, relaying, signing in.

        Raises:
            DatabaseUnavailable: PostgreSQL could not be reached or had no connection free.
            DatabaseBusy: somebody held what a statement needed; nothing was changed.
        """
        async with self._block(SYSTEM_ROLE, "", timeout) as tx:
            yield tx
        await tx.committed(self.bell)

    @asynccontextmanager
    async def _block(self, role: str, tenant: str, timeout: timedelta) -> AsyncIterator[Transaction]:
        connection = await self._entered(role, tenant, timeout)
        try:
            yield Transaction(connection, tenant)
            await connection.commit()
        except DBAPIError as error:
            if error.connection_invalidated or await _hung_up(connection):
                raise DatabaseUnavailable("the database closed the connection") from error
            if in_the_way(error):
                raise DatabaseBusy("somebody else holds what is needed") from error
            raise
        finally:
            # Closing rolls back whatever was not committed and gives the connection back.
            await connection.close()

    async def _entered(self, role: str, tenant: str, timeout: timedelta) -> AsyncConnection:
        settings = {"role": role, "tenant": tenant, "timeout": _ms(timeout)}
        try:
            return await self._enter(settings)
        except DBAPIError as error:
            if not error.connection_invalidated:
                # It is starting, going down, or full: it answered, but lets nobody in.
                raise DatabaseUnavailable("the database takes no connection") from error
        except (PoolTimeout, OSError, TimeoutError) as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        # A pooled connection had died since its last use. Nothing ran on it yet, so a fresh one is safe to try.
        try:
            return await self._enter(settings)
        except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
            raise DatabaseUnavailable("the database did not answer") from error

    async def _enter(self, settings: Mapping[str, str]) -> AsyncConnection:
        connection = await self.engine.connect()
        try:
            await connection.execute(_ENTER, settings)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Give all connections back to the server."""
        await self.engine.dispose()


def in_the_way(error: DBAPIError) -> bool:
    """Whether a statement waited in vain for what somebody else held, or two waited for each other."""
    return getattr(error.orig, "sqlstate", None) in (_DEADLOCK, _LOCK_NOT_GIVEN)


async def _hung_up(connection: AsyncConnection) -> bool:
    """Whether the server has ended a connection in a way that SQLAlchemy does not know as a disconnect."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    return driver is None or bool(driver.is_closed())


def driver_url(url: str) -> URL:
    """A database's address as operators write it, for the driver that is used here.

    Raises:
        ValueError: it is not the address of a PostgreSQL database; the message never has the password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("the database's address cannot be read: postgresql://USER@HOST/NAME is expected") from None
    if parsed.drivername not in SCHEMES:
        raise ValueError(f"the database's address begins with {parsed.drivername}://, not with postgresql://")
    # What libpq and every hosting provider call sslmode, asyncpg calls ssl.
    query = {"ssl" if name == "sslmode" else name: value for name, value in parsed.query.items()}
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def _ms(span: timedelta) -> str:
    return str(int(span.total_seconds() * 1000))
