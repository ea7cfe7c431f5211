"""Restoring a backup: its tables replace those that are there, in one transaction, or nothing changes at all.

What a backup never has stays as it is (`db.layout`). Tenants and users, to which the rest refers, are brought up to
date instead of replaced. Whoever held a job when a restore began holds it no longer: every fence is raised past any
that was ever given out here, and what ran when the backup was made waits to be begun again, that attempt uncounted. A
token that was revoked stays revoked, and who was locked out stays locked out. Answers kept under idempotency keys since
the backup are forgotten, for what they tell of has not happened any more. Who follows changes and comes back is told to
read anew what they hold.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import apart, archives, backups, events, halts, layout, leases, probes
from db.archives import Big, Damaged, Includes, Manifest, SavedTable
from db.backups import Backup, Backups, Progress
from db.database import Database, DatabaseUnavailable, Transaction, in_the_way
from db.layout import Table
from db.rows import Row

LOCK_TIMEOUT: Final = timedelta(seconds=30)
"""How long is waited for whoever still reads or writes a table that is to be replaced."""

ACTION: Final = "database.restore_backup"
"""Whose own answer is not forgotten."""

log = logging.getLogger(__name__)

_TURNS: Final = 3
_HOLDER: Final = "restored"
"""Who holds the jobs that ran when the backup was made, for as long as the transaction takes to queue them again."""

_IDENTITY_FILLED: Final = {"email": "\"id\"::text || '@left-out.invalid'", "name": "''"}
"""What stands for columns that a backup without user data does not have, in users that are not there any more."""

_LOADED: Final = {
    # A claim takes a transaction and raises the fence by one, so no fence here has ever been above the newest
    # transaction's number; one of another cluster may be, and is only raised.
    ("jobs", "fence"): "greatest(fence + 1, pg_current_xact_id()::text::bigint)",
    ("jobs", "worker_id"): f"CASE WHEN status = 'processing' THEN '{_HOLDER}' ELSE worker_id END",
    ("jobs", "lease_until"): "CASE WHEN status = 'processing' THEN now() + interval '1 minute' END",
}
_MERGED: Final = {
    ("users", "token_version"): "greatest(users.token_version, EXCLUDED.token_version)",
    ("users", "disabled_at"): "coalesce(users.disabled_at, EXCLUDED.disabled_at)",
}


class Unfit(Exception):
    """The backup does not fit this database as it is; nothing was changed."""


class Plan(Row, frozen=True, kw_only=True):
    """What a restore would do, or did."""

    manifest: Manifest
    tables: list[str]
    """Those that are replaced or brought up to date."""

    rows: Big
    """How many of the backup's rows go into them."""


async def plan(database: Database, place: Path, *, only: Collection[str] | None = None) -> Plan:
    """Verify a backup and see whether it fits; nothing is changed.

    Args:
        only: the tables to restore; None for all that the backup has.

    Raises:
        Damaged: it is not as it was written.
        Unfit: it is of other tables than these, has not got what was asked for, or would leave rows pointing nowhere.
    """
    verified = await backups.verify(place)
    manifest = verified.manifest
    if manifest is None or verified.problems:
        raise Damaged("; ".join(verified.problems[:3]))
    revision = await probes.revision(database)
    if manifest.revision != revision:
        raise Unfit(
            f"the backup is of revision {manifest.revision}, the database is at {revision or 'none'}: "
            "bring the database to that revision first"
        )
    chosen = _chosen(manifest, only)
    async with database.system() as tx:
        there = await layout.tables(tx)
    _require_whole(there, {table.name for table in chosen})
    return Plan(manifest=manifest, tables=[table.name for table in chosen], rows=sum(table.rows for table in chosen))


async def restore(database: Database, place: Path, planned: Plan, *, progress: Progress) -> None:
    """Carry out a plan.

    Raises:
        Damaged: the file is not any more as it was when the plan was made; nothing was changed.
        Unfit: its rows refer to some that are not there; nothing was changed.
        DatabaseUnavailable: PostgreSQL went away; nothing was changed.
    """
    wanted = [table for table in planned.manifest.tables if table.name in set(planned.tables)]
    file = await backups.whole(lambda: open(place, "rb"))  # noqa: SIM115 - closed below, after every thread that reads
    try:
        async with apart.change(database, lock_timeout=LOCK_TIMEOUT) as tx:
            await _load(tx, file, wanted, planned.rows, progress)
            await progress(0.7, "replacing the tables")
            await _replace(tx, wanted, planned.manifest)
            await progress(0.95, "queueing again what ran")
            while await leases.take_back(tx, _HOLDER, count_attempt=False):
                pass
            await events.begin_here(tx)
    except IntegrityError as error:
        raise Unfit("rows of the backup refer to rows that are not there: restore all of it") from error
    except asyncpg.PostgresError as error:
        raise Unfit("rows of the backup are none of these tables") from error
    finally:
        file.close()
    await progress(0.98, "restored; taking stock of the tables")
    try:
        async with apart.bare(database) as connection:
            for name in planned.tables:
                await connection.execute(sa.text(f'ANALYZE "{name}"'))
    except DatabaseUnavailable as error:
        # Everything is restored; what is measured here is measured by PostgreSQL itself before long.
        log.warning("the restored tables are not measured yet: %s", error)


async def carry_out(database: Database, folder: Backups, place: Path, planned: Plan, *, progress: Progress) -> Backup:
    """The same with everything around it: the queues stand still, and what was there is backed up first.

    Returns:
        The backup of what was there before.
    """

    async def before(share: float, where: str) -> None:
        await progress(share * 0.4, f"backing up what is there: {where}")

    async def after(share: float, where: str) -> None:
        await progress(0.4 + share * 0.6, where)

    everything = Includes(logs=True, job_data=True, user_data=True)
    async with halts.halted(database, "a backup is being restored", refusing=True):
        name = f"before-restore-{backups.new_name()}"
        saved = await folder.create(database, name, everything, compressed=True, progress=before)
        await restore(database, place, planned, progress=after)
    return saved


def _chosen(manifest: Manifest, only: Collection[str] | None) -> list[SavedTable]:
    if only is None:
        return manifest.tables
    if missing := sorted(set(only) - {table.name for table in manifest.tables}):
        raise Unfit(f"the backup has no table {missing[0]}")
    return [table for table in manifest.tables if table.name in only]


def _require_whole(there: Sequence[Table], chosen: Collection[str]) -> None:
    known = {table.name for table in layout.restorable(there)}
    if strange := sorted(set(chosen) - known):
        raise Unfit(f"the table {strange[0]} is none that can be restored")
    for name, others in layout.referring(there, chosen).items():
        if name not in layout.PEOPLE:
            raise Unfit(f"{', '.join(others)} refer to {name}: restore them as well")


async def _load(tx: Transaction, file: BinaryIO, wanted: Sequence[SavedTable], rows: int, progress: Progress) -> None:
    """Bring the rows into tables that only this transaction sees, while everybody goes on with theirs."""
    driver, parts = await tx.driver(), _Parts(file)
    done = 0
    for table in wanted:

        async def told(read: int, done: int = done, name: str = table.name) -> None:
            await progress(0.7 * (done + read) / max(rows, 1), f"reading {name}")

        await told(0)
        columns = layout.listed(table.columns)
        await tx.execute(
            sa.text(
                f'CREATE TEMP TABLE "{_incoming(table.name)}" ON COMMIT DROP AS '
                f'SELECT {columns} FROM "{table.name}" WITH NO DATA'
            )
        )
        if not table.rows:
            continue
        counted = archives.Counted()
        source = parts.of(table.name, counted, told)
        await driver.copy_to_table(_incoming(table.name), source=source, columns=table.columns)
        if (wrong := counted.wrong(table)) is not None:
            raise Damaged(wrong)
        done += table.rows


class _Parts:
    """The parts of an archive, read on in a thread as they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._members: Iterator[tuple[str, bytes]] = archives.members(file)
        self._next: tuple[str, bytes] | None = None

    async def of(
        self, table: str, counted: archives.Counted, told: Callable[[int], Awaitable[None]]
    ) -> AsyncIterator[bytes]:
        """The bytes of one table that has some; those of tables before it are passed over."""
        wanted = False
        while (part := await self._peeked()) is not None:
            name, content = part
            if name == table:
                wanted = True
                counted.add(content)
                yield content
                await told(counted.rows)
            elif wanted or name == archives.MANIFEST:
                return
            self._next = None

    async def _peeked(self) -> tuple[str, bytes] | None:
        if self._next is None:
            self._next = await backups.whole(lambda: next(self._members, None))
        return self._next


async def _replace(tx: Transaction, wanted: Sequence[SavedTable], manifest: Manifest) -> None:
    there = await layout.tables(tx)
    keys = {table.name: table.key for table in there}
    names = [table.name for table in wanted]
    merged = set(layout.referring(there, names))
    replaced = [name for name in names if name not in merged]
    complete = {table.name for table in layout.restorable(there)} == set(names)
    numbered = await layout.identities(tx)
    await _take(tx, replaced, merged)
    async with apart.owner(tx):
        for name in replaced:
            # What counts the rows as they change must not count them a second time: its counters are restored, too.
            await tx.execute(sa.text(f'ALTER TABLE "{name}" DISABLE TRIGGER USER'))
        if replaced:
            await tx.execute(sa.text(f"TRUNCATE {layout.listed(replaced)} RESTART IDENTITY"))
    if complete:
        await _forget(tx, wanted, merged, keys, manifest)
    for table in wanted:
        if table.name in merged:
            await _merge(tx, table, keys[table.name])
        else:
            await _insert(tx, table)
    last = {name: await _last(tx, name, column) for name, column in numbered.items() if name in replaced}
    async with apart.owner(tx):
        for name in replaced:
            await tx.execute(sa.text(f'ALTER TABLE "{name}" ENABLE TRIGGER USER'))
        for name, number in last.items():
            await _renumber(tx, name, numbered[name], number)


async def _take(tx: Transaction, replaced: Collection[str], merged: Collection[str]) -> None:
    """Have the tables to ourselves: nobody uses those that are replaced from here on, nor writes to the others."""
    locks = [(merged, "SHARE ROW EXCLUSIVE"), (replaced, "ACCESS EXCLUSIVE")]
    for turn in range(_TURNS):
        try:
            async with tx.savepoint(), apart.owner(tx):
                for names, mode in locks:
                    if names:
                        await tx.execute(sa.text(f"LOCK TABLE {layout.listed(names)} IN {mode} MODE"))
                return
        except DBAPIError as error:
            # Taken one after the other they can cross somebody's who takes them in another order; then one gives way.
            if not in_the_way(error):
                raise
            if turn == _TURNS - 1:
                raise Unfit("somebody holds tables that are to be replaced, such as a long query; try again") from error


async def _forget(
    tx: Transaction,
    wanted: Sequence[SavedTable],
    merged: Collection[str],
    keys: dict[str, list[str]],
    manifest: Manifest,
) -> None:
    """Remove who came since, and the answers of calls whose effects are gone with them."""
    for table in wanted:
        if table.name in merged:
            same = " AND ".join(f'i."{column}" = t."{column}"' for column in keys[table.name])
            await tx.execute(
                sa.text(
                    f'DELETE FROM "{table.name}" t '
                    f'WHERE NOT EXISTS (SELECT FROM "{_incoming(table.name)}" i WHERE {same})'
                )
            )
    await tx.execute(
        sa.text("DELETE FROM replays WHERE created_at > :at AND action <> :own"),
        {"at": manifest.created_at, "own": ACTION},
    )


async def _insert(tx: Transaction, table: SavedTable) -> None:
    values = ", ".join(_LOADED.get((table.name, column), f'"{column}"') for column in table.columns)
    await tx.execute(
        sa.text(
            f'INSERT INTO "{table.name}" ({layout.listed(table.columns)}) OVERRIDING SYSTEM VALUE '
            f'SELECT {values} FROM "{_incoming(table.name)}"'
        )
    )


async def _merge(tx: Transaction, table: SavedTable, key: Sequence[str]) -> None:
    filled = _IDENTITY_FILLED if table.name == "users" else {}
    columns = [*table.columns, *(name for name in filled if name not in table.columns)]
    values = ", ".join(f'"{name}"' if name in table.columns else filled[name] for name in columns)
    updated = ", ".join(
        f'"{name}" = {_MERGED.get((table.name, name), f"EXCLUDED.{chr(34)}{name}{chr(34)}")}'
        for name in table.columns
        if name not in key
    )
    if table.name == "users" and "email" in table.columns:
        # Two who have changed places since would be in each other's way, one after the other.
        await tx.execute(
            sa.text(
                f"UPDATE users u SET email = u.id::text FROM {_incoming('users')} i "
                "WHERE i.id = u.id AND i.email <> u.email"
            )
        )
    await tx.execute(
        sa.text(
            f'INSERT INTO "{table.name}" ({layout.listed(columns)}) '
            f'SELECT {values} FROM "{_incoming(table.name)}" '
            f"ON CONFLICT ({layout.listed(key)}) DO UPDATE SET {updated}"
        )
    )


async def _last(tx: Transaction, table: str, column: str) -> int | None:
    found: int | None = await tx.scalar(sa.text(f'SELECT max("{column}") FROM "{table}"'))
    return found


async def _renumber(tx: Transaction, table: str, column: str, last: int | None) -> None:
    """Have new rows numbered after those that are there."""
    sequence = {"sequence": f"public.{table}", "column": column, "last": last}
    if last is not None:
        await tx.execute(sa.text("SELECT setval(pg_get_serial_sequence(:sequence, :column), :last)"), sequence)


def _incoming(table: str) -> str:
    return f"incoming_{table}"
