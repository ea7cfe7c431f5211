"""How PostgreSQL stands as a server: its limits, its replicas, and the indexes that help nobody."""

import sqlalchemy as sa

from db import sizes
from db.archives import Big
from db.database import Database, Transaction
from db.rows import Row

UNUSED_AFTER_BYTES = 1024 * 1024
"""Smaller indexes cost nothing worth mentioning."""


class Server(Row, frozen=True, kw_only=True):
    """PostgreSQL as it is set up."""

    version: str
    connections: int
    most_connections: int
    size_bytes: Big
    dead_rows: Big
    cache_hit_percent: float | None
    """Pages found in memory among all that were read; None before anything was."""


class Indexes(Row, frozen=True, kw_only=True):
    """The indexes of our tables, judged."""

    count: int
    invalid: list[str]
    unused: list[str]
    """Never used since PostgreSQL began to count, beyond 1 MB, and not there to keep rows unique."""

    unused_bytes: Big


class Replication(Row, frozen=True, kw_only=True):
    """Who follows this server, or whom it follows."""

    following: bool
    """Whether this server is itself a replica."""

    replicas: int
    lag_bytes: Big | None
    """How far the slowest is behind; None without replicas."""


class PoolUse(Row, frozen=True, kw_only=True):
    """The connections of this process."""

    size: int
    used: int


_SERVER = sa.text(
    "SELECT current_setting('server_version'), current_setting('max_connections')::int, "
    "(SELECT blks_hit * 100.0 / nullif(blks_hit + blks_read, 0) FROM pg_stat_database "
    "WHERE datname = current_database())::float"
)
_REPLICATION = sa.text(
    "SELECT pg_is_in_recovery(), count(*)::int, max(CASE WHEN pg_is_in_recovery() THEN NULL "
    "ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) END)::bigint FROM pg_stat_replication"
)


async def server(tx: Transaction) -> Server:
    """How it is set up, and how busy it is."""
    [(version, most, hit)] = await tx.rows(_SERVER)
    whole = await sizes.extent(tx)
    return Server(
        version=version,
        connections=whole.connections,
        most_connections=most,
        size_bytes=whole.size_bytes,
        dead_rows=whole.dead_rows,
        cache_hit_percent=None if hit is None else round(hit, 2),
    )


async def indexes(tx: Transaction) -> Indexes:
    """Which indexes help nobody."""
    found = await sizes.indexes(tx)
    unused = [
        index for index in found if not index.scans and not index.unique and index.size_bytes > UNUSED_AFTER_BYTES
    ]
    return Indexes(
        count=len(found),
        invalid=[index.name for index in found if not index.valid],
        unused=[index.name for index in unused],
        unused_bytes=sum(index.size_bytes for index in unused),
    )


async def replication(tx: Transaction) -> Replication:
    """Who follows whom."""
    [(following, replicas, lag)] = await tx.rows(_REPLICATION)
    return Replication(following=following, replicas=replicas, lag_bytes=lag)


def pool(database: Database) -> PoolUse:
    """How many connections of this process are in use just now."""
    found = database.engine.pool
    return PoolUse(size=found.size(), used=found.checkedout())  # type: ignore[attr-defined]  # every pool that has a size has it
