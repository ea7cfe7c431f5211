"""Removing work that is long done, and what was written down long ago, of all tenants.

Jobs go in small batches with all that is theirs, oldest first, so that nobody waits for long. Their files are then
nobody's, and the sweeps take them away. The audit trail is not among what goes.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import users
from db.archives import Big
from db.backups import Progress
from db.database import Database, Transaction
from db.models.records import logs, system_events
from db.models.work import JobStatus, artifacts, clips, jobs, processing_steps
from db.rows import Row

BATCH: Final = 500
PATIENCE: Final = timedelta(minutes=5)

TOUCHED: Final = ("jobs", "processing_steps", "clips", "artifacts", "system_events", "logs")
"""Tables that lose rows."""


class Ages(Row, frozen=True, kw_only=True):
    """How old something must be to go."""

    completed: timedelta
    """Since a job was completed or cancelled."""

    failed: timedelta
    logs: timedelta
    """Since a log line or system event was written."""


class Removed(Row, frozen=True, kw_only=True):
    """How many rows go, or went."""

    jobs: int = 0
    steps: int = 0
    clips: int = 0
    artifacts: int = 0
    events: int = 0
    logs: int = 0
    file_bytes: Big = 0
    """Of clips and artifacts, as their rows say; the sweeps remove the files."""

    @property
    def total(self) -> int:
        """Rows of all kinds."""
        return self.jobs + self.steps + self.clips + self.artifacts + self.events + self.logs

    def plus(self, more: "Removed") -> "Removed":
        """Both together."""
        return Removed(**{name: getattr(self, name) + getattr(more, name) for name in Removed.__struct_fields__})


async def impact(database: Database, ages: Ages) -> Removed:
    """How many rows would go now."""
    found = Removed()
    async with database.system(timeout=PATIENCE) as tx:
        for tenant in await users.tenant_ids(tx):
            old = sa.select(jobs.c.id).where(*_old(tenant, ages))
            lines = [await _how_many(tx, table, tenant, ages) for table in (system_events, logs)]
            many = await tx.scalar(sa.select(sa.func.count()).select_from(jobs).where(*_old(tenant, ages)))
            found = found.plus(await _belonging(tx, old))
            found = found.plus(Removed(jobs=many, events=lines[0], logs=lines[1]))
    return found


async def remove(database: Database, ages: Ages, expected: Removed, *, progress: Progress) -> Removed:
    """Remove it, batch by batch; what is done stays done when this is stopped."""
    done = Removed()

    async def told(where: str) -> None:
        await progress(min(0.99, done.total / max(expected.total, 1)), where)

    async with database.system() as tx:
        tenants = await users.tenant_ids(tx)
    for tenant in tenants:
        while (batch := await _remove_jobs(database, tenant, ages)).jobs:
            done = done.plus(batch)
            await told("removing jobs")
        for table, name in ((system_events, "events"), (logs, "logs")):
            while many := await _remove_lines(database, table, tenant, ages):
                done = done.plus(Removed(**{name: many}))
                await told(f"removing {name}")
    return done


def _old(tenant: str, ages: Ages) -> list[sa.ColumnElement[bool]]:
    c = jobs.c
    return [
        c.tenant_id == tenant,
        sa.or_(
            sa.and_(
                c.status.in_([JobStatus.COMPLETED, JobStatus.CANCELLED]),
                c.completed_at < sa.func.now() - ages.completed,
            ),
            sa.and_(c.status == JobStatus.FAILED, c.completed_at < sa.func.now() - ages.failed),
        ),
        # Said once more without the status, so that the index over the time is used.
        c.completed_at < sa.func.now() - min(ages.completed, ages.failed),
    ]


async def _remove_jobs(database: Database, tenant: str, ages: Ages) -> Removed:
    async with database.system(timeout=PATIENCE) as tx:
        oldest = (
            sa.select(jobs.c.id)
            .where(*_old(tenant, ages))
            .order_by(jobs.c.completed_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        ids = [job_id for (job_id,) in await tx.rows(oldest)]
        if not ids:
            return Removed()
        belonging = await _belonging(tx, ids)
        return belonging.plus(Removed(jobs=await tx.changed(sa.delete(jobs).where(jobs.c.id.in_(ids)))))


async def _belonging(tx: Transaction, ids: Sequence[UUID] | sa.Select[Any]) -> Removed:
    """What belongs to some jobs, and goes with them."""

    async def summed(table: sa.Table, *columns: sa.ColumnElement[Any]) -> tuple[int, ...]:
        [row] = await tx.rows(sa.select(sa.func.count(), *columns).select_from(table).where(table.c.job_id.in_(ids)))
        return tuple(int(value or 0) for value in row)

    [steps] = await summed(processing_steps)
    many_clips, clip_bytes = await summed(clips, sa.func.sum(clips.c.size_bytes))
    many_files, file_bytes = await summed(artifacts, sa.func.sum(artifacts.c.size_bytes))
    return Removed(steps=steps, clips=many_clips, artifacts=many_files, file_bytes=clip_bytes + file_bytes)


def _old_lines(table: sa.Table, tenant: str, ages: Ages) -> list[sa.ColumnElement[bool]]:
    return [table.c.tenant_id == tenant, table.c.created_at < sa.func.now() - ages.logs]


async def _how_many(tx: Transaction, table: sa.Table, tenant: str, ages: Ages) -> int:
    many: int = await tx.scalar(sa.select(sa.func.count()).select_from(table).where(*_old_lines(table, tenant, ages)))
    return many


async def _remove_lines(database: Database, table: sa.Table, tenant: str, ages: Ages) -> int:
    oldest = sa.select(table.c.id).where(*_old_lines(table, tenant, ages)).order_by(table.c.created_at)
    async with database.system(timeout=PATIENCE) as tx:
        return await tx.changed(sa.delete(table).where(table.c.id.in_(oldest.limit(BATCH * 10))))
