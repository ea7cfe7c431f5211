"""Jobs & Queue: jobs are tried again, stopped and removed; the queue is paused, drained and cleared."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from db.clearing import Found, Wanted
from db.jobs import Job
from db.models.work import JobStatus
from db.queues import QueueState
from db.rows import Row
from resolvers import jobs as work
from resolvers import queues, removals
from resolvers.actions.contract import Action, Big, Call, Empty, JobId, Payload, Priority, View, action

Hours = Annotated[int, Meta(ge=1, le=87_600)]
"""1 to ten years."""


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
    """How often it was begun before."""

    job: Job


@action("job.retry", View.JOBS_QUEUE, target="job_id")
async def job_retry(call: Call[JobRetried], asked: JobRetryInput) -> JobRetried:
    """Queue a failed or cancelled job again; what its finished steps found is kept.

    Raises:
        NotFound: there is no such job.
        Conflict: it waits, runs or is completed, was asked for too often, or the queue takes no jobs on.
        Maintenance: the system is being worked on.
        RateLimited: too many jobs wait already.
    """
    before, job = await work.retried(
        call.context, call.tx, asked.job_id, priority=asked.priority, max_retries=asked.max_retries
    )
    return JobRetried(job.id, before.status, job.status, job.retry_count, job.attempt, job)


class JobCancelInput(Payload, frozen=True, kw_only=True):
    """Which job to cancel."""

    job_id: JobId
    cascade: bool = False
    """Also those that were made of it, and of those, and so on."""

    force: bool = False
    """Cancel one that runs at once, not when its worker has stopped; what that still writes is thrown away."""


class JobCancelled(Row, frozen=True):
    """The job: cancelled if it waited or was forced, asked to stop if it runs."""

    job_id: UUID
    previous_status: JobStatus
    new_status: JobStatus
    aborted: bool
    """Whether a worker was at it; that stops within a second."""

    cascaded: list[UUID]
    """The jobs made of it that were cancelled, or asked to stop, with it."""

    job: Job


@action("job.cancel", View.JOBS_QUEUE, target="job_id")
async def job_cancel(call: Call[JobCancelled], asked: JobCancelInput) -> JobCancelled:
    """Cancel a job that waits, or have one that runs stop.

    Raises:
        NotFound: there is no such job.
        Conflict: it has finished.
    """
    before, job = await work.cancelled(call.context, call.tx, asked.job_id, force=asked.force)
    made = []
    if asked.cascade:
        made = await work.cancelled_with(call.context, call.tx, asked.job_id, force=asked.force)
    aborted = before.status is JobStatus.PROCESSING
    return JobCancelled(job.id, before.status, job.status, aborted, [each.id for each in made], job)


class JobDeleteInput(Payload, frozen=True, kw_only=True):
    """Which job to remove."""

    job_id: JobId
    delete_outputs: bool = False
    """Also take the files of its clips off the disk now; else they go with the next cleanup."""

    cascade: bool = False
    """Also those that were made of it, and of those, and so on; else they stay, and forget where they came from."""

    dry_run: bool = False
    """Change nothing, and say what would go."""


class JobDeleted(Row, frozen=True):
    """What went, or would go."""

    job_id: UUID
    jobs_deleted: int
    clips_deleted: int
    steps_deleted: int
    files_deleted: int
    """Those that nothing else names."""

    bytes_freed: Big
    dry_run: bool


@action("job.delete", View.JOBS_QUEUE, per_minute=10, destructive=True, target="job_id")
async def job_delete(call: Call[JobDeleted], asked: JobDeleteInput) -> JobDeleted:
    """Remove a job that nobody is at, with its steps and clips.

    Raises:
        NotFound: there is no such job.
        Conflict: it, or one that goes with it, is at work.
    """
    context, tx = call.context, call.tx
    ids = await removals.family(context, tx, asked.job_id, cascade=asked.cascade)
    removed, loose = await removals.remove(context, tx, ids, outputs=asked.delete_outputs, dry_run=asked.dry_run)
    told = JobDeleted(
        job_id=asked.job_id,
        jobs_deleted=len(ids),
        clips_deleted=removed.clips,
        steps_deleted=removed.steps,
        files_deleted=len(loose.paths),
        bytes_freed=loose.bytes,
        dry_run=asked.dry_run,
    )

    async def unlinked(result: JobDeleted) -> JobDeleted:
        gone = await removals.unlink(call.services.files, loose)
        return msgspec.structs.replace(result, files_deleted=len(gone.paths), bytes_freed=gone.bytes)

    if loose.paths and not asked.dry_run:
        call.afterwards(unlinked)
    return told


class JobPriorityInput(Payload, frozen=True, kw_only=True):
    """Which job to bring forward, or to put off."""

    job_id: JobId
    priority: Priority
    """0 (can wait) to 10 (first)."""


class JobPrioritized(Row, frozen=True):
    """The job in its new place."""

    job_id: UUID
    previous_priority: int
    priority: int
    job: Job


@action("job.priority", View.EXTRA, target="job_id")
async def job_priority(call: Call[JobPrioritized], asked: JobPriorityInput) -> JobPrioritized:
    """Give a queued job another place in the order of turns.

    Raises:
        NotFound: there is no such job.
        Conflict: it runs or has finished.
    """
    before, job = await work.urgent(call.context, call.tx, asked.job_id, priority=asked.priority)
    return JobPrioritized(job.id, before.priority, job.priority, job)


class Clearable(StrEnum):
    """What the queue can be cleared of."""

    PENDING = "pending"
    """The same as queued."""

    QUEUED = "queued"
    FAILED = "failed"
    CANCELLED = "cancelled"


class QueueClearInput(Payload, frozen=True, kw_only=True):
    """Of which jobs to clear the queue; every part that is given must hold."""

    status_filter: Annotated[list[Clearable], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [Clearable.PENDING, Clearable.QUEUED]
    )
    older_than_hours: Hours | None = None
    """Made at least so long ago."""

    user_filter: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Whose: the id of a user, or their e-mail address."""

    dry_run: bool = False
    """Change nothing, and say what would go."""


class ClearedJobs(Row, frozen=True):
    """How many jobs of one status."""

    status: JobStatus
    jobs: int


class QueueCleared(Row, frozen=True):
    """What was cancelled or removed, or would be."""

    cleared_count: int
    by_status: list[ClearedJobs]
    """By the status they had."""

    remaining: int
    """Jobs that fit as well and are left for another call; one takes 5,000 of a kind at most."""

    dry_run: bool
    sample_ids: list[UUID]
    """At most 100 of them, the oldest first."""


@action("queue.clear", View.JOBS_QUEUE, per_minute=10, destructive=True)
async def queue_clear(call: Call[QueueCleared], asked: QueueClearInput) -> QueueCleared:
    """Cancel jobs that wait, and remove failed and cancelled ones; what runs is never touched."""
    statuses = {JobStatus.QUEUED if each is Clearable.PENDING else JobStatus(each) for each in asked.status_filter}
    wanted = Wanted(
        statuses=sorted(statuses), older_than=removals.older_than(asked.older_than_hours), user=_user(asked.user_filter)
    )
    went, left = await removals.clear(call.context, call.tx, wanted, dry_run=asked.dry_run)
    return QueueCleared(went.total, by_status(went), left.total, asked.dry_run, went.sample)


def by_status(found: Found) -> list[ClearedJobs]:
    """The same as rows, in a fixed order."""
    return [ClearedJobs(status, count) for status, count in sorted(found.by_status.items())]


def _user(text: str | None) -> UUID | str | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return text


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
    acked_workers: int | None = None
    """How many workers have said within a second that they know; all of them are bound whether they say so or not."""

    total_workers: int | None = None
    """How many there are."""


@action("queue.pause", View.JOBS_QUEUE)
async def queue_pause(call: Call[QueuePaused], asked: QueuePauseInput) -> QueuePaused:
    """Have no further job begun; those at work go on.

    Raises:
        Conflict: the queue was stopped in an emergency.
    """
    lasting = None if asked.duration_minutes is None else timedelta(minutes=asked.duration_minutes)
    state = await queues.pause(call.context, call.tx, lasting=lasting, reason=asked.reason)

    async def heard(result: QueuePaused) -> QueuePaused:
        known = await queues.heard(call.context, state)
        return msgspec.structs.replace(result, acked_workers=known.of_them, total_workers=known.workers)

    call.afterwards(heard)
    return QueuePaused(state.paused, state.paused_until, state)


class QueueResumed(Row, frozen=True):
    """The queue, which takes jobs on and begins them again."""

    paused: bool
    queue_depth: int
    """Jobs that wait."""

    state: QueueState
    acked_workers: int | None = None
    """How many workers have said within a second that they know."""

    total_workers: int | None = None
    """How many there are."""


@action("queue.resume", View.JOBS_QUEUE)
async def queue_resume(call: Call[QueueResumed], asked: Empty) -> QueueResumed:
    """Have jobs taken on and begun again, after a pause, a drain or an emergency stop."""
    state = await queues.resume(call.context, call.tx)

    async def heard(result: QueueResumed) -> QueueResumed:
        known = await queues.heard(call.context, state)
        return msgspec.structs.replace(result, acked_workers=known.of_them, total_workers=known.workers)

    call.afterwards(heard)
    return QueueResumed(state.paused, await queues.depth(call.tx), state)


class QueueDrainInput(Payload, frozen=True, kw_only=True):
    """How long it may take, and why."""

    timeout_minutes: Annotated[int, Meta(ge=1, le=120)] = 30
    """After which new jobs are taken on again, should the others not be done."""

    reason: Annotated[str, Meta(max_length=500)] | None = None


class QueueDrained(Row, frozen=True):
    """The queue, which takes no jobs on and pauses once it is empty."""

    draining: bool
    """False when it was empty already, and is paused now."""

    until: datetime | None
    remaining: int
    """Jobs that wait or run."""

    state: QueueState


@action("queue.drain", View.EXTRA, per_minute=10)
async def queue_drain(call: Call[QueueDrained], asked: QueueDrainInput) -> QueueDrained:
    """Take no new jobs on until those that wait and run are done, and pause then.

    Once it is paused it takes none on either, until it is resumed.

    Raises:
        Conflict: the queue is paused, so that nothing in it would ever be done.
    """
    lasting = timedelta(minutes=asked.timeout_minutes)
    state, remaining = await queues.drain(call.context, call.tx, lasting=lasting, reason=asked.reason)
    return QueueDrained(state.draining_until is not None, state.draining_until, remaining, state)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    job_retry,
    job_cancel,
    job_delete,
    queue_clear,
    queue_pause,
    queue_resume,
    job_priority,
    queue_drain,
)
