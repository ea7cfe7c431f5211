"""What the two servers say of themselves: their versions, and how far their clocks are from ours."""

import time
from typing import Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.database import driver_url
from db.redis import REDIS_AWAY, connect
from db.rows import Row

AWAY: Final = (
    *REDIS_AWAY,
    OperationalError,
    InterfaceError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
"""What asking raises when a server cannot be reached, refuses whoever signs in."""


HUNG_UP: Final = "PostgreSQL closed the connection before it had answered"


def hung_up(error: BaseException) -> bool:
    """Whether PostgreSQL ended a connection that was in use, for which SQLAlchemy has no name of its own."""
    cause = getattr(error.orig, "__cause__", None) if isinstance(error, DBAPIError) else None
    return isinstance(cause, asyncpg.PostgresConnectionError)


class Server(Row, frozen=True):
    """One server that answered."""

    version: str
    major: int
    ahead_s: float
    """Seconds its clock is ahead of ours; half the round trip is in it."""


async def postgres(url: str) -> Server:
    """Ask PostgreSQL, as whoever the URL signs in; nothing needs to be migrated."""
    engine = create_async_engine(driver_url(url), poolclass=NullPool, connect_args={"timeout": 3})
    try:
        async with engine.connect() as connection:
            sent = time.time()
            row = (
                await connection.execute(
                    sa.text(
                        "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
                        "extract(epoch FROM clock_timestamp())::float"
                    )
                )
            ).one()
            return Server(row[0], row[1] // 10_000, row[2] - (sent + time.time()) / 2)
    except DBAPIError as error:
        if hung_up(error):
            raise ConnectionResetError(HUNG_UP) from error
        raise
    finally:
        await engine.dispose()


async def redis(url: str) -> Server:
    """Ask Redis or Valkey."""
    async with connect(url, answer_timeout_s=2) as client:
        sent = time.time()
        seconds, micros = await client.time()
        middle = (sent + time.time()) / 2
        info = await client.info("server")
    version = str(info.get("valkey_version") or info["redis_version"])
    return Server(version, int(version.partition(".")[0]), seconds + micros / 1e6 - middle)
