"""Jobs as people see them: made, found, listed, cancelled, retried. How workers take them is in `db.leases`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import events, tallies
from db.database import Transaction
from db.events import Kind
from db.models.work import JobStatus, StepStatus, jobs, processing_steps
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape
from db.tallies import SAMPLE, Durations

DEFAULT_QUEUE: Final = "default"
"""In which jobs wait that no profile was asked for."""

USUAL_TYPE: Final = "video_processing"
"""What kind of work a job is counted as of which nothing is said."""

OPEN = (JobStatus.QUEUED, JobStatus.PROCESSING)
FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Job(Row, frozen=True):
    """One video on its way through a chain of agents."""

    id: UUID
    tenant_id: str
    user_id: UUID | None
    upload_id: UUID | None
    parent_job_id: UUID | None
    source_url: str | None
    title: str
    workflow_type: str
    options: dict[str, Any]
    chain: list[str]
    """The agents' ids, in the order in which they take their turn."""

    status: JobStatus
    progress: int
    """Done share in percent, 0..100."""

    priority: int
    """0 (can wait) to 10 (first)."""

    current_step: str | None
    """The agent at work, or the next one whose turn it is."""

    error_code: str | None
    error_message: str | None
    attempt: int
    """How often it was begun; 0 before the first time."""

    max_attempts: int
    retry_count: int
    """How often a person asked for it again."""

    run_at: datetime
    """Not before this time."""

    worker_id: str | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @property
    def duration_s(self) -> float | None:
        """Seconds it took, from its first step to its end; None before that, or when it never began."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()


class NewJob(Row, frozen=True, kw_only=True):
    """What is needed to queue a job; exactly one of `upload_id` and `source_url` is set."""

    user_id: UUID | None
    upload_id: UUID | None = None
    source_url: str | None = None
    title: str = ""
    workflow_type: str = USUAL_TYPE
    queue: str = DEFAULT_QUEUE
    """Served by every worker; that of a profile only by the profile's own."""

    options: Mapping[str, Any] = {}
    chain: Sequence[str] = ()
    priority: int = 5
    max_attempts: int = 3


class Filter(Row, frozen=True, kw_only=True):
    """Which jobs; every part that is set must hold."""

    statuses: Collection[JobStatus] = ()
    user_id: UUID | None = None
    upload_id: UUID | None = None
    worker_id: str | None = None
    current_step: str | None = None
    title_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    today: bool = False
    """Only those made on the present day, UTC."""

    @property
    def plain(self) -> bool:
        """Whether it asks for nothing but statuses, if for anything."""
        return self == Filter(statuses=self.statuses)

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = jobs.c
        found = during(c.created_at, self.created_after, self.created_before)
        if self.statuses:
            found.append(c.status.in_(self.statuses))
        for column, value in (
            (c.user_id, self.user_id),
            (c.upload_id, self.upload_id),
            (c.worker_id, self.worker_id),
            (c.current_step, self.current_step),
        ):
            if value is not None:
                found.append(column == value)
        if self.title_contains:
            found.append(c.title.icontains(self.title_contains, autoescape=True))
        if self.today:
            found.append(c.created_at >= sa.func.date_trunc("day", sa.func.now(), "UTC"))
        return found


JOB = Shape(Job, jobs)


async def by_id(tx: Transaction, job_id: UUID, *, owner: UUID | None = None) -> Job | None:
    """One job; with `owner`, only if it is theirs."""
    return await JOB.first(tx, JOB.select().where(jobs.c.id == job_id, *_owned(owner)))


async def by_ids(tx: Transaction, ids: Collection[UUID], *, owner: UUID | None = None) -> list[Job]:
    """The jobs of those ids that exist, in no order."""
    return await JOB.all(tx, JOB.select().where(jobs.c.id.in_(ids), *_owned(owner)))


async def for_change(tx: Transaction, job_id: UUID, *, owner: UUID | None = None) -> Job | None:
    """One job, which nobody else changes until this transaction ends; with `owner`, only if it is theirs."""
    return await JOB.first(tx, JOB.select().where(jobs.c.id == job_id, *_owned(owner)).with_for_update())


async def descendants(tx: Transaction, job_id: UUID, *, owner: UUID | None = None) -> list[Job]:
    """The jobs that were made of a job, and of those, and so on, oldest first; nobody else changes them meanwhile."""
    found = sa.select(jobs.c.id).where(jobs.c.parent_job_id == job_id).cte("found", recursive=True)
    # UNION, not UNION ALL: should two jobs ever name each other, each is found once.
    found = found.union(sa.select(jobs.c.id).where(jobs.c.parent_job_id == found.c.id))
    wanted = JOB.select().where(jobs.c.id.in_(sa.select(found.c.id)), jobs.c.id != job_id, *_owned(owner))
    return await JOB.all(tx, wanted.order_by(jobs.c.id).with_for_update())


async def visible(tx: Transaction, ids: Collection[UUID]) -> set[UUID]:
    """Which of these ids are those of jobs that the transaction may see."""
    return {job_id for (job_id,) in await tx.rows(sa.select(jobs.c.id).where(jobs.c.id.in_(ids)))}


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window, *, owner: UUID | None) -> Page[Job]:
    """One page of jobs.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, JOB, where=[*wanted.clauses(), *_owned(owner)], order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> int:
    """How many jobs a filter selects."""
    if owner is None and wanted.plain:
        return sum((await counts(tx, wanted, owner=None)).values())
    return await total(tx, JOB, [*wanted.clauses(), *_owned(owner)])


async def counts(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> dict[JobStatus, int]:
    """How many jobs of those that a filter selects are in each status; 0 where none is.

    The tenant's as a whole are added up from counters; anything narrower is counted row by row.
    """
    if owner is None and wanted.plain:
        found = await tallies.counts(tx)
        return {status: n if status in (wanted.statuses or JobStatus) else 0 for status, n in found.items()}
    narrowed = sa.select(jobs.c.status, sa.func.count()).where(*wanted.clauses(), *_owned(owner))
    counted = dict(await tx.rows(narrowed.group_by(jobs.c.status)))
    return {status: counted.get(status, 0) for status in JobStatus}


async def durations(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> Durations:
    """How long those took, of the jobs that a filter selects, that were completed last."""
    if wanted.statuses and JobStatus.COMPLETED not in wanted.statuses:
        # Looking for them would mean to look at all.
        return Durations(0, None, None, None, None)
    run_s = sa.func.extract("epoch", jobs.c.completed_at - jobs.c.started_at).cast(sa.Double).label("run_s")
    newest = _newest(run_s, jobs.c.completed_at, jobs.c.status == JobStatus.COMPLETED, wanted, owner)
    percentiles = [sa.func.percentile_cont(share).within_group(newest.c.run_s) for share in (0.5, 0.95, 0.99)]
    [row] = await tx.rows(sa.select(sa.func.count(), sa.func.avg(newest.c.run_s), *percentiles).select_from(newest))
    return Durations(*row)


async def wait_s(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> float | None:
    """How long those had been due, of the jobs that a filter selects, that were begun last; None when none was."""
    if set(wanted.statuses) == {JobStatus.QUEUED}:
        return None
    waited = sa.func.extract("epoch", jobs.c.started_at - jobs.c.run_at).cast(sa.Double).label("wait_s")
    # One that was put back after it had begun is due later than that.
    newest = _newest(waited, jobs.c.started_at, jobs.c.started_at >= jobs.c.run_at, wanted, owner)
    average: float | None = await tx.scalar(sa.select(sa.func.avg(newest.c.wait_s)))
    return average


async def newest(tx: Transaction, *, most: int, owner: UUID | None = None) -> list[Job]:
    """The newest jobs first."""
    return await JOB.all(
        tx, JOB.select().where(*_owned(owner)).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(most)
    )


async def add(tx: Transaction, new: NewJob) -> Job:
    """Queue a job with a pending step for each agent of its chain."""
    statement = sa.insert(jobs).values(
        tenant_id=tx.tenant,
        user_id=new.user_id,
        upload_id=new.upload_id,
        source_url=new.source_url,
        title=new.title,
        workflow_type=new.workflow_type,
        queue=new.queue,
        options=dict(new.options),
        chain=list(new.chain),
        priority=new.priority,
        max_attempts=new.max_attempts,
        current_step=new.chain[0],
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    assert job is not None
    await tx.execute(
        sa.insert(processing_steps),
        [
            {"tenant_id": tx.tenant, "job_id": job.id, "ordinal": ordinal, "agent_id": agent_id}
            for ordinal, agent_id in enumerate(new.chain)
        ],
    )
    await announce(tx, job)
    return job


async def mark_cancelled(
    tx: Transaction, job_id: UUID, *, owner: UUID | None = None, force: bool = False
) -> Job | None:
    """Cancel a queued job at once, or ask the worker of a running one to stop.

    None when it has finished or is not there. The worker sees the request within a second.

    Args:
        force: cancel a running one at once, too; whatever its worker still writes is thrown away.
    """
    at_once = sa.true() if force else jobs.c.status == JobStatus.QUEUED
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(OPEN), *_owned(owner))
        .values(
            status=sa.case((at_once, sa.cast(JobStatus.CANCELLED, jobs.c.status.type)), else_=jobs.c.status),
            completed_at=sa.case((at_once, sa.func.now()), else_=None),
            lease_until=sa.case((at_once, None), else_=jobs.c.lease_until),
            fence=sa.case((at_once, jobs.c.fence + 1), else_=jobs.c.fence),
            cancel_requested_at=sa.func.coalesce(jobs.c.cancel_requested_at, sa.func.now()),
            updated_at=sa.func.now(),
        )
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    if job is not None and job.status is JobStatus.CANCELLED:
        await cancel_steps(tx, job.id)
    if job is not None:
        await announce(tx, job)
    return job


async def mark_retried(
    tx: Transaction, job_id: UUID, *, owner: UUID | None = None, priority: int | None = None
) -> Job | None:
    """Queue a failed or cancelled job again, keeping what its finished steps found; None in any other state."""
    values: dict[str, Any] = {
        "status": JobStatus.QUEUED,
        "retry_count": jobs.c.retry_count + 1,
        "max_attempts": jobs.c.attempt + 3,
        "run_at": sa.func.now(),
        "worker_id": None,
        "started_at": None,
        "completed_at": None,
        "cancel_requested_at": None,
        "error_code": None,
        "error_message": None,
        "updated_at": sa.func.now(),
    }
    if priority is not None:
        values["priority"] = priority
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_((JobStatus.FAILED, JobStatus.CANCELLED)), *_owned(owner))
        .values(values)
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    if job is None:
        return None
    await tx.execute(
        sa.update(processing_steps)
        .where(
            processing_steps.c.job_id == job_id,
            processing_steps.c.status.in_((StepStatus.FAILED, StepStatus.CANCELLED)),
        )
        .values(status=StepStatus.PENDING, progress=0, message=None, started_at=None, finished_at=None)
    )
    await announce(tx, job)
    return job


async def mark_failed(
    tx: Transaction, job_id: UUID, *, code: str, message: str, owner: UUID | None = None
) -> Job | None:
    """Mark a job that waits or runs as failed; None when it has finished or is not there.

    Whatever its worker still writes is thrown away.
    """
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(OPEN), *_owned(owner))
        .values(
            status=JobStatus.FAILED,
            completed_at=sa.func.now(),
            lease_until=None,
            fence=jobs.c.fence + 1,
            error_code=code,
            error_message=message,
            updated_at=sa.func.now(),
        )
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    if job is not None:
        await cancel_steps(tx, job.id)
        await announce(tx, job)
    return job


async def mark_urgent(tx: Transaction, job_id: UUID, *, priority: int, owner: UUID | None = None) -> Job | None:
    """Give a queued job another place in the order of turns; None in any other state."""
    statement = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED, *_owned(owner))
        .values(priority=priority, updated_at=sa.func.now())
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    if job is not None:
        await announce(tx, job)
    return job


async def mark_progress(tx: Transaction, job_id: UUID, percent: int, *, owner: UUID | None = None) -> Job | None:
    """Say how far a job is that runs; None in any other state, and when it is farther already."""
    statement = (
        sa.update(jobs)
        .where(
            jobs.c.id == job_id,
            jobs.c.status == JobStatus.PROCESSING,
            jobs.c.progress <= percent,
            *_owned(owner),
        )
        .values(progress=percent, updated_at=sa.func.now())
    )
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    if job is not None:
        await announce(tx, job)
    return job


async def cancel_steps(tx: Transaction, job_id: UUID) -> None:
    """Mark what a job has not finished as cancelled."""
    await tx.execute(
        sa.update(processing_steps)
        .where(
            processing_steps.c.job_id == job_id,
            processing_steps.c.status.in_((StepStatus.PENDING, StepStatus.PROCESSING)),
        )
        .values(status=StepStatus.CANCELLED, finished_at=sa.func.now())
    )


async def announce(tx: Transaction, job: Job) -> None:
    """Tell listeners how a job now stands."""
    await events.record(
        tx,
        Kind.JOB_CHANGED,
        str(job.id),
        {"status": job.status, "progress": job.progress, "current_step": job.current_step},
        owner=job.user_id,
        tenant=job.tenant_id,
    )


async def announce_all(tx: Transaction, changed: Sequence[Job], *, gone: bool = False) -> None:
    """Tell listeners how many jobs now stand, or that they are gone."""
    await events.record_all(
        tx,
        Kind.JOB_CHANGED,
        [
            (
                str(job.id),
                {
                    "status": "removed" if gone else job.status,
                    "progress": job.progress,
                    "current_step": job.current_step,
                },
                job.user_id,
                job.tenant_id,
            )
            for job in changed
        ],
    )


def _newest(
    measured: sa.ColumnElement[Any],
    moment: sa.ColumnElement[Any],
    where: sa.ColumnElement[bool],
    wanted: Filter,
    owner: UUID | None,
) -> sa.Subquery:
    some = sa.select(measured).where(jobs.c.started_at.is_not(None), where, *wanted.clauses(), *_owned(owner))
    return some.order_by(moment.desc()).limit(SAMPLE).subquery()


def _owned(owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    return [] if owner is None else [jobs.c.user_id == owner]
