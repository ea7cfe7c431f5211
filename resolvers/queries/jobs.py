"""Jobs and clips, as far as the caller may see them."""

import asyncio
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from uuid import UUID

from dataloaders.snapshot.work import percent
from db import clips, jobs
from db.clips import Clip
from db.jobs import Filter, Job
from db.models.work import JobStatus
from db.pages import Order, Page, Window
from db.rows import Row
from resolvers.context import Context


class Statistics(Row, frozen=True, kw_only=True):
    """How some jobs stand, and how those of them went that are over."""

    total: int
    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    success_percent: float | None
    """Completed among those completed or failed; null when there are none."""

    average_run_s: float | None
    """Seconds from the beginning to the end; null when none was completed."""

    p50_run_s: float | None
    p95_run_s: float | None
    p99_run_s: float | None
    average_wait_s: float | None
    """Seconds that jobs had been due when they were begun; null when none was."""

    measured_jobs: int
    """Of how many jobs the run times are: those completed last, at most a thousand. The wait is of as many begun."""


class Shape(StrEnum):
    """How a picture stands."""

    PORTRAIT = "portrait"
    LANDSCAPE = "landscape"
    SQUARE = "square"


async def by_id(context: Context, job_id: UUID) -> Job | None:
    """One job, or None."""
    return await context.loaders.job.load(job_id)


async def listed(context: Context, wanted: Filter, order: Order, window: Window) -> Page[Job]:
    """One page of jobs."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await jobs.listed(tx, wanted, order, window, owner=caller.owner_filter)


async def how_many(context: Context, wanted: Filter) -> int:
    """How many jobs a filter selects."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await jobs.how_many(tx, wanted, owner=caller.owner_filter)


async def statistics(context: Context, wanted: Filter) -> Statistics:
    """How the jobs stand that a filter selects."""
    caller = context.caller
    owner = caller.owner_filter
    async with context.services.database.transaction(caller.tenant) as tx:
        counts = await jobs.counts(tx, wanted, owner=owner)
        durations = await jobs.durations(tx, wanted, owner=owner)
        wait_s = await jobs.wait_s(tx, wanted, owner=owner)
    completed = counts[JobStatus.COMPLETED]
    return Statistics(
        total=sum(counts.values()),
        success_percent=percent(completed, completed + counts[JobStatus.FAILED]),
        average_run_s=_thousandths(durations.average),
        p50_run_s=_thousandths(durations.p50),
        p95_run_s=_thousandths(durations.p95),
        p99_run_s=_thousandths(durations.p99),
        average_wait_s=_thousandths(wait_s),
        measured_jobs=durations.jobs,
        **{status.value: count for status, count in counts.items()},
    )


async def completion(context: Context, job: Job) -> datetime | None:
    """When a job will be done, going by the last 24 hours; None when nothing tells."""
    if job.status not in jobs.OPEN:
        return None
    return (await context.loaders.outlook.load(job.tenant_id)).completion(job)


def message(job: Job) -> str:
    """How a job stands, in words."""
    if job.status is JobStatus.FAILED:
        return job.error_message or "failed"
    if job.status is JobStatus.PROCESSING and job.cancel_requested_at is not None:
        return "is being stopped"
    if job.status is JobStatus.PROCESSING:
        return f"{job.current_step} is at work" if job.current_step else "is being finished"
    return "waits for its turn" if job.status is JobStatus.QUEUED else job.status.value


def file_name(clip: Clip) -> str:
    """What a clip's file is called when it is saved."""
    return f"{clip.title or f'clip-{clip.ordinal}'}{PurePath(clip.path).suffix}"


def shape(clip: Clip) -> Shape:
    """How a clip stands."""
    if clip.width == clip.height:
        return Shape.SQUARE
    return Shape.PORTRAIT if clip.width < clip.height else Shape.LANDSCAPE


async def there(context: Context, clip: Clip) -> bool:
    """Whether a clip's file is where it should be."""
    return await asyncio.to_thread(context.services.files.resolve(clip.path).is_file)


async def clip_by_id(context: Context, clip_id: UUID) -> Clip | None:
    """One clip, or None."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.by_id(tx, clip_id, owner=caller.owner_filter)


async def clips_listed(context: Context, wanted: clips.Filter, order: Order, window: Window) -> Page[Clip]:
    """One page of clips."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.listed(tx, wanted, order, window, owner=caller.owner_filter)


async def how_many_clips(context: Context, wanted: clips.Filter) -> int:
    """How many clips a filter selects."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.how_many(tx, wanted, owner=caller.owner_filter)


def _thousandths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
