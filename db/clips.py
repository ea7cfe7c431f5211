"""Clips: what a completed job leaves behind, and where their files are."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.work import clips, jobs
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape


class Clip(Row, frozen=True):
    """One finished clip."""

    id: UUID
    tenant_id: str
    job_id: UUID
    ordinal: int
    """Its rank within the job, from 1."""

    title: str
    path: str
    """Where its file is, relative to the file store."""

    thumbnail_path: str | None
    start_s: float
    """Where it begins in the source, seconds."""

    end_s: float
    duration_s: float
    """Measured on the finished file."""

    width: int
    height: int
    size_bytes: int
    sha256: str
    score: float
    """How promising the moment is, 0..100."""

    reasons: list[dict[str, Any]]
    """What the score is made of: `{"reason": …, "points": …}`, summing to it."""

    created_at: datetime


class NewClip(Row, frozen=True, kw_only=True):
    """A clip as an agent made it."""

    title: str
    path: str
    thumbnail_path: str | None
    start_s: float
    end_s: float
    duration_s: float
    width: int
    height: int
    size_bytes: int
    sha256: str
    score: float
    reasons: Sequence[dict[str, Any]]


class Filter(Row, frozen=True, kw_only=True):
    """Which clips; every part that is set must hold."""

    job_id: UUID | None = None
    min_score: float | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        found = during(clips.c.created_at, self.created_after, self.created_before)
        if self.job_id is not None:
            found.append(clips.c.job_id == self.job_id)
        if self.min_score is not None:
            found.append(clips.c.score >= self.min_score)
        return found


CLIP = Shape(Clip, clips)


async def by_id(tx: Transaction, clip_id: UUID, *, owner: UUID | None = None) -> Clip | None:
    """One clip; with `owner`, only if its job is theirs."""
    return await CLIP.first(tx, CLIP.select().where(clips.c.id == clip_id, *_owned(owner)))


async def of_jobs(tx: Transaction, job_ids: Collection[UUID], *, owner: UUID | None = None) -> list[Clip]:
    """The clips of several jobs, best first within each; with `owner`, only of jobs that are theirs."""
    wanted = CLIP.select().where(clips.c.job_id.in_(job_ids), *_owned(owner)).order_by(clips.c.ordinal)
    return await CLIP.all(tx, wanted)


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window, *, owner: UUID | None) -> Page[Clip]:
    """One page of clips.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, CLIP, where=[*wanted.clauses(), *_owned(owner)], order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> int:
    """How many clips a filter selects."""
    return await total(tx, CLIP, [*wanted.clauses(), *_owned(owner)])


async def add(tx: Transaction, job_id: UUID, made: Sequence[NewClip]) -> None:
    """Store the clips of a job, ranked as given; a job that has clips already makes the transaction fail."""
    if not made:
        return
    await tx.execute(
        sa.insert(clips),
        [
            {"tenant_id": tx.tenant, "job_id": job_id, "ordinal": rank}
            | {name: getattr(clip, name) for name in NewClip.__struct_fields__}
            for rank, clip in enumerate(made, start=1)
        ],
    )


def _owned(owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    if owner is None:
        return []
    return [sa.exists().where(jobs.c.id == clips.c.job_id, jobs.c.user_id == owner)]
