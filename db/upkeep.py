"""Tending the tables: clearing dead rows away and building indexes anew, as their owner and without a transaction.

Tables that belong to somebody else, as the audit trail does, are left alone.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db import apart, sizes
from db.archives import Big
from db.backups import Progress
from db.database import Database, DatabaseBusy
from db.rows import Row


class NoTable(Exception):
    """There is no such table, or it is not ours to tend."""


class InUse(Exception):
    """Somebody uses a table in a way that does not let it be rebuilt; what was done before stays done."""


class Tended(Row, frozen=True, kw_only=True):
    """What was done to how many tables."""

    tables: list[str]
    size_before: Big
    size_after: Big


class Reindexed(Row, frozen=True, kw_only=True):
    """What was rebuilt."""

    indexes: list[str]
    dropped: list[str]
    """What earlier rebuilds had left behind half-built."""

    size_before: Big
    size_after: Big


_OURS = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
    "AND relname <> 'alembic_version' AND pg_has_role(relowner, 'USAGE') ORDER BY relname"
)
_LEFT = sa.text(
    "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid "
    "WHERE t.relname = :table AND t.relnamespace = 'public'::regnamespace AND NOT x.indisvalid "
    "AND i.relname ~ '_ccnew[0-9]*$'"
)
_INDEXES = sa.text(
    "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = :table ORDER BY indexname"
)


async def vacuum(database: Database, table: str | None, *, full: bool, progress: Progress) -> Tended:
    """Clear dead rows away and look at the rest anew; `full` rewrites each table, which nobody can use meanwhile.

    Args:
        table: None for all of them.

    Raises:
        NoTable: there is none of that name.
        InUse: somebody held a table for too long that was to be rewritten.
    """
    options = "FULL, ANALYZE" if full else "ANALYZE"
    async with _tending(database) as connection:
        names = await _chosen(connection, table)
        before = await _size(database, names)
        for number, name in enumerate(names):
            await progress(number / len(names), f"vacuuming {name}")
            await connection.execute(sa.text(f'VACUUM ({options}) "{name}"'))
    return Tended(tables=names, size_before=before, size_after=await _size(database, names))


async def reindex(database: Database, table: str | None, *, progress: Progress) -> Reindexed:
    """Build indexes anew while they are used, and look at the tables anew.

    Args:
        table: None for those of all tables.

    Raises:
        NoTable: there is none of that name.
        InUse: somebody held a table for too long.
    """
    rebuilt: list[str] = []
    dropped: list[str] = []
    async with _tending(database) as connection:
        names = await _chosen(connection, table)
        before = await _size(database, names, of_indexes=True)
        for number, name in enumerate(names):
            await progress(number / len(names), f"rebuilding the indexes of {name}")
            for (left,) in (await connection.execute(_LEFT, {"table": name})).all():
                await connection.execute(sa.text(f'DROP INDEX CONCURRENTLY "{left}"'))
                dropped.append(left)
            rebuilt += (await connection.execute(_INDEXES, {"table": name})).scalars().all()
            await connection.execute(sa.text(f'REINDEX TABLE CONCURRENTLY "{name}"'))
            await connection.execute(sa.text(f'ANALYZE "{name}"'))
    after = await _size(database, names, of_indexes=True)
    return Reindexed(indexes=rebuilt, dropped=dropped, size_before=before, size_after=after)


@asynccontextmanager
async def _tending(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with apart.bare(database) as connection:
            yield connection
    except DatabaseBusy as error:
        raise InUse("somebody uses the table all the time; try again later") from error


async def _chosen(connection: AsyncConnection, table: str | None) -> list[str]:
    names = list((await connection.execute(_OURS)).scalars().all())
    if table is None:
        return names
    if table not in names:
        raise NoTable(f"there is no table {table[:63]} to tend")
    return [table]


async def _size(database: Database, names: Collection[str], *, of_indexes: bool = False) -> int:
    async with database.system() as tx:
        return await (sizes.of_indexes if of_indexes else sizes.of_tables)(tx, names)
