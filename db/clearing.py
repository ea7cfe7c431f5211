"""Many jobs at once: cancelled, removed, tried again, or stopped, in one statement each.

What a worker holds is touched by `stop_running` alone. A job that changes its state meanwhile is left as it is: each
statement asks for the state it needs once more, when it has the row. Nothing takes more than `MOST` at once.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import jobs
from db.database import Transaction
from db.jobs import JOB, Job
from db.models.identity import users
from db.models.work import JobStatus, StepStatus, UploadStatus, artifacts, clips, processing_steps, uploads
from db.models.work import jobs as table
from db.rows import Row

MOST: Final = 5_000
"""Jobs that one call changes at once."""

SAMPLE: Final = 100
"""Ids that are told of them."""


class Wanted(Row, frozen=True, kw_only=True):
    """Which jobs; every part that is set must hold."""

    statuses: Collection[JobStatus]
    older_than: timedelta | None = None
    """Made at least so long ago."""

    user: UUID | str | None = None
    """Whose: an id, or an e-mail address."""

    turn_of: str | None = None
    """The agent whose turn it is."""

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        found: list[sa.ColumnElement[bool]] = [table.c.status.in_(self.statuses)]
        if self.older_than is not None:
            found.append(table.c.created_at <= sa.func.now() - self.older_than)
        if isinstance(self.user, UUID):
            found.append(table.c.user_id == self.user)
        elif self.user is not None:
            theirs = sa.select(users.c.id).where(sa.func.lower(users.c.email) == self.user.lower())
            found.append(table.c.user_id.in_(theirs))
        if self.turn_of is not None:
            found.append(table.c.current_step == self.turn_of)
        return found


class Found(Row, frozen=True):
    """What a call would change."""

    by_status: dict[JobStatus, int]
    sample: list[UUID]
    """The oldest of them."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_status.values())


class Removed(Row, frozen=True):
    """What went."""

    jobs: list[Job]
    steps: int
    clips: int
    files: list[str]
    """Where their files are, relative to the file store; nobody has removed them yet."""


async def found(tx: Transaction, wanted: Wanted) -> Found:
    """What there is of them."""
    counted = await tx.rows(
        sa.select(table.c.status, sa.func.count()).where(*wanted.clauses()).group_by(table.c.status)
    )
    oldest = await tx.rows(sa.select(table.c.id).where(*wanted.clauses()).order_by(table.c.id).limit(SAMPLE))
    return Found({JobStatus(status): count for status, count in counted}, [job_id for (job_id,) in oldest])


async def cancel(tx: Transaction, wanted: Wanted) -> list[Job]:
    """Cancel those of them that wait, the oldest first."""
    waiting = [*wanted.clauses(), table.c.status == JobStatus.QUEUED]
    statement = (
        sa.update(table)
        .where(table.c.id.in_(_oldest(waiting)), table.c.status == JobStatus.QUEUED)
        .values(
            status=JobStatus.CANCELLED,
            completed_at=sa.func.now(),
            cancel_requested_at=sa.func.now(),
            updated_at=sa.func.now(),
        )
    )
    return await _settled(tx, await JOB.all(tx, statement.returning(*JOB.columns)))


async def remove(tx: Transaction, wanted: Wanted) -> Removed:
    """Remove those of them that are nobody's, the oldest first, with their steps, clips and other rows."""
    idle = [*wanted.clauses(), table.c.status != JobStatus.PROCESSING]
    locked = await tx.rows(sa.select(table.c.id).where(*idle).order_by(table.c.id).limit(MOST).with_for_update())
    return await remove_ids(tx, [job_id for (job_id,) in locked])


async def remove_ids(tx: Transaction, ids: Sequence[UUID]) -> Removed:
    """Remove these jobs, which the transaction has locked, with all that hangs on them."""
    files = sa.union(
        sa.select(clips.c.path).where(clips.c.job_id.in_(ids)),
        sa.select(clips.c.thumbnail_path).where(clips.c.job_id.in_(ids), clips.c.thumbnail_path.is_not(None)),
        sa.select(artifacts.c.path).where(artifacts.c.job_id.in_(ids)),
    )
    paths = sorted(path for (path,) in await tx.rows(files))
    steps = await _count(tx, processing_steps, ids)
    made = await _count(tx, clips, ids)
    gone = await JOB.all(tx, sa.delete(table).where(table.c.id.in_(ids)).returning(*JOB.columns))
    await jobs.announce_all(tx, gone, gone=True)
    return Removed(gone, steps, made, paths)


async def failed_since(tx: Transaction, since: datetime | None, *, most: int) -> list[UUID]:
    """Failed jobs whose video is there, those first that failed first; nobody else changes them meanwhile."""
    whole = sa.select(uploads.c.id).where(uploads.c.id == table.c.upload_id, uploads.c.status == UploadStatus.COMPLETED)
    there = sa.or_(table.c.source_url.is_not(None), whole.exists())
    wanted = sa.select(table.c.id).where(table.c.status == JobStatus.FAILED, there)
    if since is not None:
        wanted = wanted.where(table.c.completed_at >= since)
    ordered = wanted.order_by(table.c.completed_at, table.c.id).limit(most).with_for_update(skip_locked=True)
    return [job_id for (job_id,) in await tx.rows(ordered)]


async def stop_running(tx: Transaction) -> list[Job]:
    """Cancel every running job at once; whatever their workers still write is thrown away."""
    statement = (
        sa.update(table)
        .where(table.c.status == JobStatus.PROCESSING)
        .values(
            status=JobStatus.CANCELLED,
            completed_at=sa.func.now(),
            lease_until=None,
            fence=table.c.fence + 1,
            cancel_requested_at=sa.func.coalesce(table.c.cancel_requested_at, sa.func.now()),
            updated_at=sa.func.now(),
        )
    )
    return await _settled(tx, await JOB.all(tx, statement.returning(*JOB.columns)))


async def put_back(tx: Transaction, agent_ids: Collection[str]) -> list[Job]:
    """Queue the running jobs anew whose step is that of one of these agents; their workers let go of them."""
    statement = (
        sa.update(table)
        .where(table.c.status == JobStatus.PROCESSING, table.c.current_step.in_(agent_ids))
        .values(
            status=JobStatus.QUEUED,
            run_at=sa.func.now(),
            lease_until=None,
            worker_id=None,
            fence=table.c.fence + 1,
            attempt=table.c.attempt - 1,
            updated_at=sa.func.now(),
        )
    )
    back = await JOB.all(tx, statement.where(table.c.cancel_requested_at.is_(None)).returning(*JOB.columns))
    steps = processing_steps.c
    await tx.execute(
        sa.update(processing_steps)
        .where(steps.job_id.in_([job.id for job in back]), steps.status == StepStatus.PROCESSING)
        .values(status=StepStatus.PENDING, progress=0, started_at=None)
    )
    await jobs.announce_all(tx, back)
    return back


async def _settled(tx: Transaction, ended: list[Job]) -> list[Job]:
    steps = processing_steps.c
    await tx.execute(
        sa.update(processing_steps)
        .where(
            steps.job_id.in_([job.id for job in ended]),
            steps.status.in_((StepStatus.PENDING, StepStatus.PROCESSING)),
        )
        .values(status=StepStatus.CANCELLED, finished_at=sa.func.now())
    )
    await jobs.announce_all(tx, ended)
    return sorted(ended, key=lambda job: job.id)


def _oldest(clauses: Sequence[sa.ColumnElement[bool]]) -> Any:
    return sa.select(table.c.id).where(*clauses).order_by(table.c.id).limit(MOST)


async def _count(tx: Transaction, rows: sa.Table, ids: Sequence[UUID]) -> int:
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(rows).where(rows.c.job_id.in_(ids)))
    return counted
