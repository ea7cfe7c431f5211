"""How the stores are: whether they answer, how large and how busy they are, and where they stand.

Nothing here raises because a store is away: a probe then says so.
"""

import time
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from db.database import Database, DatabaseUnavailable, Transaction
from db.redis import REDIS_AWAY, Redis

DATABASE_FAILED: Final = (SQLAlchemyError, DatabaseUnavailable, OSError, TimeoutError)
"""What a transaction raises when PostgreSQL is away, too slow, or refuses a statement."""


class Address(msgspec.Struct, frozen=True):
    """Where a store stands; never a user name, never a password."""

    host: str | None
    """None for a socket in the file system."""

    port: int | None
    name: str | None
    """The database's name or number."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The connections of this process to PostgreSQL."""

    size: int
    max_overflow: int
    overflow: int
    """Connections open beyond `size`."""

    checked_out: int
    checked_in: int
    opened: int
    """Since the watch began."""

    closed: int

    @property
    def capacity(self) -> int:
        """Most connections at once."""
        return self.size + self.max_overflow


class PoolWatch:
    """Counts how often the pool of a database opens and closes a connection."""

    def __init__(self, database: Database) -> None:
        pool = database.engine.pool
        assert isinstance(pool, QueuePool)
        self._pool = pool
        self._opened = self._closed = 0
        event.listen(pool, "connect", self._count_opened)
        event.listen(pool, "close", self._count_closed)

    def figures(self) -> Pool:
        """How the pool is right now."""
        pool = self._pool
        return Pool(
            size=pool.size(),
            max_overflow=pool._max_overflow,
            overflow=max(0, pool.overflow()),
            checked_out=pool.checkedout(),
            checked_in=pool.checkedin(),
            opened=self._opened,
            closed=self._closed,
        )

    def _count_opened(self, *_: object) -> None:
        self._opened += 1

    def _count_closed(self, *_: object) -> None:
        self._closed += 1


async def latency_ms(tx: Transaction) -> float:
    """How long the database takes to answer that it is there, in milliseconds."""
    began = time.perf_counter()
    await tx.execute(_ANYTHING)
    return (time.perf_counter() - began) * 1000


async def database_extent(tx: Transaction) -> tuple[int, int]:
    """How many bytes the database takes on its disk, and how many connections to it there are, of all processes."""
    [(size, connected)] = await tx.rows(_EXTENT)
    return size, connected


async def connections(tx: Transaction) -> int:
    """How many connections to this database there are, of all processes."""
    counted: int = await tx.scalar(_CONNECTIONS)
    return counted


async def redis_answers(redis: Redis) -> bool:
    """Whether Redis answers in its time."""
    try:
        return bool(await redis.ping())
    except REDIS_AWAY:
        return False


def database_address(database: Database) -> Address:
    """Where PostgreSQL stands, as configured."""
    url = database.engine.url
    return Address(url.host or None, url.port, url.database)


def redis_address(redis: Redis) -> Address:
    """Where Redis stands, as configured."""
    told = redis.connection_pool.connection_kwargs
    return Address(told.get("host"), told.get("port"), str(told.get("db") or 0))


_ANYTHING = sa.text("SELECT 1")
# pg_stat_activity tells the application role too little of what others run to know what is a client.
_CONNECTED = "SELECT numbackends FROM pg_stat_database WHERE datname = current_database()"
_CONNECTIONS = sa.text(_CONNECTED)
_EXTENT = sa.text(f"SELECT pg_database_size(current_database()), ({_CONNECTED})")
