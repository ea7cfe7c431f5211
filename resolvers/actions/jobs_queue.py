"""Jobs & Queue: jobs are tried again, stopped and removed; the queue is paused, drained and cleared."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta

from db.jobs import Job
from db.models.work import JobStatus
from db.queues import QueueState
from db.rows import Row
from resolvers import jobs as work
from resolvers import queues
from resolvers.actions.contract import Action, Call, Empty, JobId, Payload, Priority, View, action


class JobRetryInput(Payload, frozen=True, kw_only=True):
    """Which job to try again."""

    job_id: JobId
    priority: Priority | None = None
    """0 (can wait) to 10 (first); left out, it stays as it was."""

    max_retries: Annotated[int, Meta(ge=1, le=5)] | None = None
    """How often a person may ask for it again, this time included."""


class JobRetried(Row, frozen=True):
    """The job, queued again."""

    job_id: UUID
    previous_status: JobStatus
    new_status: JobStatus
    retry_count: int
    attempt: int
    job: Job


@action("job.retry", View.JOBS_QUEUE, target="job_id")
async def job_retry(call: Call[JobRetried], asked: JobRetryInput) -> JobRetried:
    """Queue a failed or cancelled job again; what its finished steps found is kept.

    Raises:
        NotFound: there is no such job.
        Conflict: it waits, runs or is completed, or the queue takes no jobs on.
        RateLimited: too many jobs wait already.
    """
    before, job = await work.retried(call.context, call.tx, asked.job_id, priority=asked.priority)
    return JobRetried(job.id, before.status, job.status, job.retry_count, job.attempt, job)


class JobCancelInput(Payload, frozen=True, kw_only=True):
    """Which job to cancel."""

    job_id: JobId


class JobCancelled(Row, frozen=True):
    """The job: cancelled if it waited, asked to stop if it runs."""

    job_id: UUID
    previous_status: JobStatus
    new_status: JobStatus
    job: Job


@action("job.cancel", View.JOBS_QUEUE, target="job_id")
async def job_cancel(call: Call[JobCancelled], asked: JobCancelInput) -> JobCancelled:
    """Cancel a job that waits, or have one that runs stop.

    Raises:
        NotFound: there is no such job.
        Conflict: it has finished.
    """
    before, job = await work.cancelled(call.context, call.tx, asked.job_id)
    return JobCancelled(job.id, before.status, job.status, job)


class QueuePauseInput(Payload, frozen=True, kw_only=True):
    """For how long, and why."""

    duration_minutes: Annotated[int, Meta(ge=1, le=1440)] | None = None
    """After which it goes on by itself; left out, somebody has to resume it."""

    reason: Annotated[str, Meta(max_length=500)] | None = None


class QueuePaused(Row, frozen=True):
    """The queue, which begins no job now."""

    paused: bool
    until: datetime | None
    state: QueueState


@action("queue.pause", View.JOBS_QUEUE)
async def queue_pause(call: Call[QueuePaused], asked: QueuePauseInput) -> QueuePaused:
    """Have no further job begun; those at work go on."""
    lasting = None if asked.duration_minutes is None else timedelta(minutes=asked.duration_minutes)
    state = await queues.pause(call.context, call.tx, lasting=lasting, reason=asked.reason)
    return QueuePaused(state.paused, state.paused_until, state)


class QueueResumed(Row, frozen=True):
    """The queue, which begins jobs again."""

    paused: bool
    state: QueueState


@action("queue.resume", View.JOBS_QUEUE)
async def queue_resume(call: Call[QueueResumed], asked: Empty) -> QueueResumed:
    """Have jobs begun again."""
    state = await queues.resume(call.context, call.tx)
    return QueueResumed(state.paused, state)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (job_retry, job_cancel, queue_pause, queue_resume)
