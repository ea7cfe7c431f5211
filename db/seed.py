"""Writing a history that never was: what `db.histories` thinks up, for as many jobs as asked for.

Rows travel by COPY into temporary tables of the transaction and from there by INSERT, because PostgreSQL takes no COPY
into a table under row-level security: so seeding acts as the application role like everybody else, and cannot write a
row of another tenant. Clips and uploads name files that are not there.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import histories
from db.database import Database, Transaction
from db.histories import DOMAIN, PEOPLE, SPAN, Batch, History, Record, person_id
from db.models import metadata
from db.models.identity import users
from db.models.records import events, logs, system_events
from db.models.work import artifacts, job_hours, jobs, step_hours, uploads
from db.rows import Row

BATCH: Final = 2_000
"""Jobs of one transaction."""

WRITERS: Final = 2
"""Transactions at once; while they write, the next jobs are thought up."""

PATIENCE: Final = timedelta(minutes=10)


class Seeded(Row, frozen=True, kw_only=True):
    """How many rows were written."""

    jobs: int
    steps: int
    clips: int
    uploads: int
    system_events: int
    logs: int
    users: int


async def fill(
    database: Database,
    tenant: str,
    *,
    jobs: int,
    events: int,
    chain: Sequence[str],
    seed: int,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> Seeded:
    """Write a history of that many jobs and system events, with as many logs as system events.

    Args:
        tenant: must exist.
        chain: ids of the agents that the jobs go through.
        now: when the history ends; with the same `seed` it gives the same rows.
        progress: told how many jobs are written, after each transaction.
    """
    history = History(tenant, chain, jobs=jobs, seed=seed, now=now)
    records = history.records(events)
    async with database.transaction(tenant, timeout=PATIENCE) as tx:
        people = await _settle_people(tx, now)
        await _store(tx, records)
    written = {"jobs": 0, "steps": 0, "clips": 0, "uploads": 0}
    turns = asyncio.Semaphore(WRITERS)

    async def write(batch: Batch) -> None:
        try:
            async with database.transaction(tenant, timeout=PATIENCE) as tx:
                await _store(tx, batch)
        finally:
            turns.release()
        for kind in written:
            written[kind] += len(getattr(batch, kind))
        progress(written["jobs"])

    async with asyncio.TaskGroup() as group:
        for begun in range(0, jobs, BATCH):
            batch = await asyncio.to_thread(history.batch, min(BATCH, jobs - begun))
            await turns.acquire()
            group.create_task(write(batch))
    return Seeded(system_events=events, logs=events, users=people, **written)


async def clear(database: Database, tenant: str) -> int:
    """Remove all jobs of a tenant with what belongs to them, its events, logs and uploads.

    Configuration, agents and accounts stay, of seeded users as well: one that was locked out would come back. So does
    the audit trail.

    Returns:
        How many jobs were removed.
    """
    async with database.transaction(tenant, timeout=PATIENCE) as tx:
        removed = await tx.changed(sa.delete(jobs))
        for table in (artifacts, uploads, system_events, logs, events, job_hours, step_hours):
            await tx.execute(sa.delete(table))
    return removed


async def _settle_people(tx: Transaction, now: datetime) -> int:
    fresh = insert(users).values(
        [
            {
                "id": person_id(tx.tenant, name),
                "tenant_id": tx.tenant,
                "email": f"{name}@{DOMAIN}",
                "name": full_name,
                "role": role,
                "created_at": now - SPAN,
            }
            for name, full_name, role in PEOPLE
        ]
    )
    return await tx.changed(fresh.on_conflict_do_nothing())


async def _store(tx: Transaction, batch: Batch) -> None:
    await _copy(tx, "uploads", histories.UPLOAD_COLUMNS, batch.uploads)
    await _copy(tx, "jobs", histories.JOB_COLUMNS, batch.jobs)
    await _copy(tx, "processing_steps", histories.STEP_COLUMNS, batch.steps)
    await _copy(tx, "clips", histories.CLIP_COLUMNS, batch.clips)
    await _copy(tx, "system_events", histories.EVENT_COLUMNS, batch.system_events)
    await _copy(tx, "logs", histories.LOG_COLUMNS, batch.logs)


async def _copy(tx: Transaction, name: str, columns: Sequence[str], records: Sequence[Record]) -> None:
    if not records:
        return
    staged = f"staged_{name}"
    table = metadata.tables[name]
    listed = ", ".join(f'"{table.c[column].name}"' for column in columns)
    await tx.execute(
        sa.text(f"CREATE TEMPORARY TABLE {staged} ON COMMIT DROP AS SELECT {listed} FROM {name} WITH NO DATA")
    )
    driver = await tx.driver()
    await driver.copy_records_to_table(staged, records=records, columns=list(columns))
    await tx.execute(sa.text(f"INSERT INTO {name} ({listed}) SELECT {listed} FROM {staged}"))
