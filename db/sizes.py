"""How large the database is: tables, rows and indexes, of all tenants.

Nothing here takes longer the more rows there are: beyond a bound rows are not counted, but estimated by what PostgreSQL
knows, and said to be.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from db import layout
from db.archives import Big
from db.database import Transaction
from db.layout import Table
from db.rows import Row

COUNTED: Final = 50_000
"""Rows up to which a table is counted."""

_TIMES: Final = ("created_at", "at", "changed_at", "hour", "minute", "heartbeat_at", "started_at")
"""Columns that tell when a row came to be, the first of them that a table has."""


class Counted(Row, frozen=True):
    """How many rows a table has."""

    rows: int
    estimated: bool


class Records(Row, frozen=True, kw_only=True):
    """What is in one table, of all tenants."""

    name: str
    count: Big
    estimated: bool
    """Whether there are too many to be counted each time."""

    latest_entry: datetime | None
    """None where rows bear no time, or too many to be looked through."""

    oldest_entry: datetime | None


class Index(Row, frozen=True, kw_only=True):
    """One index."""

    name: str
    table: str
    columns: list[str]
    size_bytes: Big
    scans: Big
    """How often it was used since PostgreSQL began to count."""

    unique: bool
    valid: bool
    """False when building it broke off; it then costs and helps nobody."""


class Extent(Row, frozen=True, kw_only=True):
    """The database as a whole."""

    size_bytes: int
    connections: int
    dead_rows: int
    """Rows that were deleted or replaced and not yet cleared away."""


_EXTENT: Final = sa.text(
    "SELECT pg_database_size(current_database()), "
    "(SELECT numbackends FROM pg_stat_database WHERE datname = current_database()), "
    "coalesce((SELECT sum(n_dead_tup) FROM pg_stat_user_tables), 0)::bigint"
)
_INDEXES: Final = sa.text(
    """
    SELECT i.relname, t.relname,
        (SELECT array_agg(pg_get_indexdef(x.indexrelid, n, true) ORDER BY n)
         FROM generate_series(1, x.indnkeyatts) AS n),
        pg_relation_size(i.oid), coalesce(s.idx_scan, 0), x.indisunique, x.indisvalid
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = x.indexrelid
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' ORDER BY t.relname, i.relname
    """
)


async def extent(tx: Transaction) -> Extent:
    """How large the database is, and how many are connected to it."""
    [(size, connections, dead)] = await tx.rows(_EXTENT)
    return Extent(size_bytes=size, connections=connections, dead_rows=dead)


async def indexes(tx: Transaction) -> list[Index]:
    """Every index of our tables."""
    return [
        Index(name=name, table=table, columns=columns, size_bytes=size, scans=scans, unique=unique, valid=valid)
        for name, table, columns, size, scans, unique, valid in await tx.rows(_INDEXES)
    ]


async def of_tables(tx: Transaction, names: Collection[str]) -> int:
    """Bytes that some tables take with their indexes."""
    total = sa.text(
        "SELECT coalesce(sum(pg_total_relation_size(format('public.%I', name)::regclass)), 0)::bigint "
        "FROM unnest(CAST(:names AS text[])) AS name"
    )
    size: int = await tx.scalar(total, {"names": list(names)})
    return size


async def of_indexes(tx: Transaction, names: Collection[str]) -> int:
    """Bytes that the indexes of some tables take."""
    total = sa.text(
        "SELECT coalesce(sum(pg_indexes_size(format('public.%I', name)::regclass)), 0)::bigint "
        "FROM unnest(CAST(:names AS text[])) AS name"
    )
    size: int = await tx.scalar(total, {"names": list(names)})
    return size


async def counted(tx: Transaction, table: Table) -> Counted:
    """How many rows a table has: exactly up to `COUNTED`, and beyond that about."""
    some = sa.text(f'SELECT count(*) FROM (SELECT FROM "{table.name}" LIMIT {COUNTED + 1}) AS few')
    rows: int = await tx.scalar(some)
    return Counted(rows, False) if rows <= COUNTED else Counted(max(table.rows, rows), True)


async def records(tx: Transaction) -> list[Records]:
    """What is in each table, by name; for a transaction that sees all tenants."""
    there = sorted(await layout.tables(tx), key=lambda table: table.name)
    keyed = {(index.table, *index.columns[:2]) for index in await indexes(tx)}
    return [await _recorded(tx, table, keyed) for table in there if table.name != "alembic_version"]


async def _recorded(tx: Transaction, table: Table, keyed: Collection[tuple[str, ...]]) -> Records:
    found = await counted(tx, table)
    column = next((name for name in _TIMES if name in table.columns), None)
    oldest, latest = None, None
    if column is not None and not found.estimated:
        [(oldest, latest)] = await tx.rows(sa.text(f'SELECT min("{column}"), max("{column}") FROM "{table.name}"'))
    elif column is not None and (table.name, "tenant_id", column) in keyed:
        oldest, latest = await _ends(tx, table.name, column)
    return Records(
        name=table.name, count=found.rows, estimated=found.estimated, latest_entry=latest, oldest_entry=oldest
    )


async def _ends(tx: Transaction, table: str, column: str) -> tuple[datetime | None, datetime | None]:
    """The first and the last time in a large table, from the ends of an index, tenant by tenant."""
    found = []
    for direction, most in (("ASC", "min"), ("DESC", "max")):
        each = f'SELECT "{column}" AS at FROM "{table}" WHERE tenant_id = tenants.id ORDER BY 1 {direction} LIMIT 1'
        found.append(await tx.scalar(sa.text(f"SELECT {most}(at) FROM tenants CROSS JOIN LATERAL ({each}) AS first")))
    return found[0], found[1]
