"""How long what nobody needs any more is kept; audit entries are not among it.

Rows go in small batches, each a transaction, so that no lock is held for long; a long backlog is worked off over
several rounds. That events went is written down by their table itself, in the same transaction (`db.events.floor`).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from db import configuration, lockouts, operations, traffic, tunables
from db.configuration import Configuration
from db.database import Database
from db.files import Files
from db.jobs import FINISHED
from db.models.calls import calls
from db.models.guards import operations as operation_rows
from db.models.guards import replays
from db.models.records import events, logs, system_events
from db.models.work import jobs
from db.replays import KEPT_FOR

KEPT: Final[dict[sa.Table, timedelta]] = {
    events: timedelta(days=2),
    replays: KEPT_FOR,
    operation_rows: operations.KEPT_FOR,
    logs: timedelta(days=tunables.LOG_RETENTION_DAYS.default),
    system_events: timedelta(days=tunables.SYSTEM_EVENT_RETENTION_DAYS.default),
}
"""For each table, how old a row may become."""

SET_BY: Final = {logs: tunables.LOG_RETENTION_DAYS, system_events: tunables.SYSTEM_EVENT_RETENTION_DAYS}
"""Where a tenant may say so itself."""

WORK_KEPT: Final = timedelta(days=1)
"""How long the work folder of a finished job stays, so that a retry can go on where it ended."""

COUNTERS_KEPT: Final = timedelta(days=1)
"""How long a counter of critical calls stays that nobody counts on; longer than any limit's window."""

BATCH: Final = 5_000
MOST_BATCHES: Final = 20
"""Of one table in a round; what is then left waits for the next one."""


async def drop_old_rows(database: Database) -> dict[str, int]:
    """Remove what is too old from each table, as much of it as a round may; how many rows that were, by table."""
    dropped: dict[str, int] = {}
    async with database.system() as tx:
        settings = await configuration.in_force_everywhere(tx)
    for table, kept in KEPT.items():
        own = _own(settings, table)
        elsewhere = table.c.tenant_id.not_in(own)
        dropped[table.name] = await _drop(database, table, kept, elsewhere)
        for tenant, lasting in own.items():
            dropped[table.name] += await _drop(database, table, lasting, table.c.tenant_id == tenant)
    return dropped


def _own(settings: Mapping[str, Configuration], table: sa.Table) -> dict[str, timedelta]:
    """The tenants that have said how long they keep a table's rows."""
    days = SET_BY.get(table)
    if days is None:
        return {}
    said = {tenant: version.settings.get(days.name) for tenant, version in settings.items()}
    return {tenant: timedelta(days=lasting) for tenant, lasting in said.items() if lasting is not None}


async def _drop(database: Database, table: sa.Table, kept: timedelta, whose: sa.ColumnElement[bool]) -> int:
    key = table.primary_key.columns
    old = table.c.created_at < sa.func.now() - kept
    batch = sa.select(*key).where(whose, old).limit(BATCH)
    dropped = 0
    for _ in range(MOST_BATCHES):
        async with database.system() as tx:
            # Asked once more of each row: one that is written anew meanwhile, under the same key, is waited for and
            # stays.
            gone = await tx.changed(sa.delete(table).where(sa.tuple_(*key).in_(batch), old))
        dropped += gone
        if gone < BATCH:
            break
    return dropped


async def drop_old_counts(database: Database) -> dict[str, int]:
    """Remove a batch of counters whose windows are long over, and of failed sign-ins that do not count any more."""
    idle = (
        sa.select(calls.c.tenant_id, calls.c.key).where(calls.c.changed_at < sa.func.now() - COUNTERS_KEPT).limit(BATCH)
    )
    async with database.system() as tx:
        counted = await tx.changed(sa.delete(calls).where(sa.tuple_(calls.c.tenant_id, calls.c.key).in_(idle)))
        return {"calls": counted, "lockouts": await lockouts.forget(tx, most=BATCH)}


async def drop_old_traffic(database: Database) -> int:
    """Remove a batch of what was measured of endpoints longer ago than is asked for; how many rows."""
    async with database.system() as tx:
        return await traffic.forget(tx, most=BATCH)


async def drop_old_work(database: Database, files: Files) -> int:
    """Remove work folders whose job finished long ago or is gone; how many those were."""
    on_disk = await files.work_on_disk()
    still = sa.or_(jobs.c.status.not_in(FINISHED), jobs.c.completed_at > sa.func.now() - WORK_KEPT)
    async with database.system() as tx:
        rows = await tx.rows(sa.select(jobs.c.id).where(jobs.c.id.in_([job_id for _, job_id in on_disk]), still))
    needed = {job_id for (job_id,) in rows}
    done_with = [(tenant, job_id) for tenant, job_id in on_disk if job_id not in needed]
    for tenant, job_id in done_with:
        await files.drop_work(tenant, job_id)
    return len(done_with)
