"""One stretch of time of a tenant, counted from the rows that fall into it and no others."""

from datetime import datetime

import sqlalchemy as sa

from db.database import Transaction
from db.models.work import JobStatus, UploadStatus, clips, jobs, uploads
from db.rows import Row


class Failed(Row, frozen=True):
    """How many jobs failed for one reason."""

    error_code: str
    """`UNKNOWN` for those of which nobody said why."""

    jobs: int


class Made(Row, frozen=True):
    """How many files of a kind came."""

    count: int
    bytes: int


async def failures(tx: Transaction, begins: datetime, ends: datetime) -> list[Failed]:
    """How jobs failed from then until before then, the most frequent reason first."""
    code = sa.func.coalesce(jobs.c.error_code, "UNKNOWN")
    statement = (
        sa.select(code, sa.func.count())
        .where(jobs.c.status == JobStatus.FAILED, jobs.c.completed_at >= begins, jobs.c.completed_at < ends)
        .group_by(code)
        .order_by(sa.func.count().desc(), code)
    )
    return [Failed(*row) for row in await tx.rows(statement)]


async def clips_made(tx: Transaction, begins: datetime, ends: datetime) -> Made:
    """How many clips were made from then until before then."""
    within = (clips.c.created_at >= begins, clips.c.created_at < ends)
    return await _made(tx, clips, *within)


async def uploads_completed(tx: Transaction, begins: datetime, ends: datetime) -> Made:
    """How many of the uploads begun from then until before then are complete."""
    within = (uploads.c.created_at >= begins, uploads.c.created_at < ends)
    return await _made(tx, uploads, uploads.c.status == UploadStatus.COMPLETED, *within)


async def _made(tx: Transaction, table: sa.Table, *where: sa.ColumnElement[bool]) -> Made:
    total = sa.func.coalesce(sa.func.sum(table.c.size_bytes), 0)
    [(count, size)] = await tx.rows(sa.select(sa.func.count(), total).select_from(table).where(*where))
    return Made(count, int(size))
