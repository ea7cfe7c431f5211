"""How workers hold jobs: claimed under a lease, kept by heartbeats, finished only by whoever holds the newest fence.

Every claim raises the job's fence. Whatever a worker then writes names its fence, and touches nothing when a newer one
exists: a worker that was stalled, declared dead and replaced can wake up and harm nobody. All times are the database's.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db import jobs
from db.database import Transaction
from db.jobs import DEFAULT_QUEUE, JOB, Job
from db.models.identity import tenants
from db.models.work import FailureCode, JobStatus, StepStatus, agents, processing_steps, queue_states
from db.models.work import jobs as table
from db.queues import HALTED, PAUSED, still
from db.rows import Row

LEASE: Final = timedelta(seconds=30)
HEARTBEAT: Final = timedelta(seconds=10)


class Lost(Exception):
    """The job is no longer this claim's: its lease ended, or somebody newer has it. Nothing was written."""


class Claim(Row, frozen=True):
    """A job in the hands of one worker."""

    job: Job
    fence: int

    @property
    def last_attempt(self) -> bool:
        """Whether a failure now is final."""
        return self.job.attempt >= self.job.max_attempts


class Held(Row, frozen=True):
    """What the database says of a job that a worker believes to hold."""

    job_id: UUID
    fence: int
    cancel_requested: bool


# Not `NOT EXISTS`: the planner takes that for a join which leaves hardly a row, and reads and sorts the whole queue
# instead of the beginning of the index.
def _paused() -> sa.ColumnElement[bool]:
    found = sa.select(sa.true()).where(queue_states.c.tenant_id == tenants.c.id, PAUSED).limit(1)
    return sa.func.coalesce(found.scalar_subquery(), sa.false())


def _agent_off() -> sa.ColumnElement[bool]:
    off = sa.and_(agents.c.tenant_id == table.c.tenant_id, agents.c.id == table.c.current_step, ~agents.c.enabled)
    return sa.func.coalesce(sa.select(sa.true()).where(off).limit(1).scalar_subquery(), sa.false())


async def claim(
    tx: Transaction, worker_id: str, *, most: int, lease: timedelta = LEASE, queues: Collection[str] = (DEFAULT_QUEUE,)
) -> list[Claim]:
    """Take the most urgent jobs that are due, wherever no halt, pause or switched-off agent is in their way.

    Among equally urgent ones the tenant goes first that was served longest ago, so that a thousand jobs of one do not
    hold up the single job of another.

    Args:
        queues: only jobs of these.
    """
    if not await still(tx):
        # Somebody is deciding about a queue: what was begun now might be what they forbid.
        return []
    # One stretch of the index for each tenant and queue, so that what waits in other queues costs nothing here.
    wanted = (
        sa.func.unnest(sa.literal(list(queues), pg.ARRAY(sa.Text)))
        .table_valued("queue", name="wanted")
        .render_derived()
    )
    own = (
        sa.select(table.c.id, table.c.priority, table.c.run_at)
        .where(
            table.c.tenant_id == tenants.c.id,
            table.c.queue == wanted.c.queue,
            table.c.status == JobStatus.QUEUED,
            table.c.run_at <= sa.func.now(),
            ~_agent_off(),
        )
        .order_by(table.c.priority.desc(), table.c.run_at, table.c.id)
        .limit(most)
        .with_for_update(of=table, skip_locked=True)
        .lateral("own")
    )
    others = table.alias("others")
    served = sa.select(sa.func.max(others.c.started_at)).where(others.c.tenant_id == tenants.c.id).scalar_subquery()
    place = sa.func.row_number().over(
        partition_by=tenants.c.id, order_by=(own.c.priority.desc(), own.c.run_at, own.c.id)
    )
    turns = (
        sa.select(own.c.id, own.c.priority, own.c.run_at, served.label("served"), place.label("place"))
        .select_from(tenants.join(wanted, sa.true()).join(own, sa.true()))
        .where(~HALTED, ~_paused())
    )
    waiting = turns.cte("waiting")
    due = (
        sa.select(waiting.c.id)
        .order_by(
            waiting.c.priority.desc(),
            waiting.c.place,
            waiting.c.served.asc().nulls_first(),
            waiting.c.run_at,
            waiting.c.id,
        )
        .limit(most)
    )
    statement = (
        sa.update(table)
        .where(table.c.id.in_(due))
        .values(
            status=JobStatus.PROCESSING,
            fence=table.c.fence + 1,
            attempt=table.c.attempt + 1,
            worker_id=worker_id,
            lease_until=sa.func.now() + lease,
            started_at=sa.func.coalesce(table.c.started_at, sa.func.now()),
            updated_at=sa.func.now(),
            error_code=None,
            error_message=None,
        )
        .returning(*JOB.columns, table.c.fence)
    )
    claims = [Claim(JOB.kind(*row), fence) for *row, fence in await tx.rows(statement)]
    for taken in claims:
        await jobs.announce(tx, taken.job)
    return claims


async def keep(tx: Transaction, worker_id: str, held: Collection[tuple[UUID, int]], *, lease: timedelta) -> list[Held]:
    """Renew the leases of held jobs; those missing from the answer are no longer this worker's."""
    statement = (
        sa.update(table)
        .where(_held_by(worker_id, held))
        .values(lease_until=sa.func.now() + lease)
        .returning(table.c.id, table.c.fence, table.c.cancel_requested_at.is_not(None))
    )
    return [Held(*row) for row in await tx.rows(statement)]


async def look(tx: Transaction, worker_id: str, held: Collection[tuple[UUID, int]]) -> list[Held]:
    """Whether held jobs are still this worker's and still wanted, without renewing anything."""
    statement = sa.select(table.c.id, table.c.fence, table.c.cancel_requested_at.is_not(None)).where(
        _held_by(worker_id, held)
    )
    return [Held(*row) for row in await tx.rows(statement)]


async def oldest_at_work(tx: Transaction) -> datetime | None:
    """When that of the running jobs was first begun which is at work the longest; None when none is."""
    found: datetime | None = await tx.scalar(
        sa.select(sa.func.min(table.c.started_at)).where(table.c.status == JobStatus.PROCESSING)
    )
    return found


async def reap(tx: Transaction, *, most: int = 100) -> list[Job]:
    """Take jobs whose worker fell silent away from it: queued again, or failed when they were tried often enough."""
    return await _taken_away(tx, table.c.lease_until < sa.func.now(), most=most, count_attempt=True)


async def take_back(tx: Transaction, worker_id: str, *, count_attempt: bool) -> list[Job]:
    """Take all jobs away from a worker that is known to be gone, whatever its leases say.

    Args:
        count_attempt: False when it was killed on purpose, through no fault of the jobs.
    """
    return await _taken_away(tx, table.c.worker_id == worker_id, most=100, count_attempt=count_attempt)


async def _taken_away(tx: Transaction, whose: sa.ColumnElement[bool], *, most: int, count_attempt: bool) -> list[Job]:
    silent = (
        sa.select(table.c.id)
        .where(table.c.status == JobStatus.PROCESSING, whose)
        .limit(most)
        .with_for_update(skip_locked=True)
        # Not a subquery: joined to the table row by row it would be asked anew for each, and take `most` each time.
        .cte("silent")
    )
    spared = 0 if count_attempt else 1
    wanted = table.c.cancel_requested_at.is_(None)
    spent = table.c.attempt - spared >= table.c.max_attempts
    statement = (
        sa.update(table)
        .where(table.c.id.in_(sa.select(silent.c.id)))
        .values(
            status=sa.case(
                (~wanted, sa.cast(JobStatus.CANCELLED, table.c.status.type)),
                (spent, sa.cast(JobStatus.FAILED, table.c.status.type)),
                else_=sa.cast(JobStatus.QUEUED, table.c.status.type),
            ),
            fence=table.c.fence + 1,
            attempt=table.c.attempt - spared,
            lease_until=None,
            worker_id=None,
            run_at=sa.func.now(),
            completed_at=sa.case((sa.or_(~wanted, spent), sa.func.now()), else_=None),
            error_code=sa.case((sa.and_(wanted, spent), str(FailureCode.WORKER_LOST)), else_=None),
            error_message=sa.case(
                (sa.and_(wanted, spent), "the worker stopped answering each time this job was tried"), else_=None
            ),
            updated_at=sa.func.now(),
        )
    )
    reaped = await JOB.all(tx, statement.returning(*JOB.columns))
    for job in reaped:
        await _settle_steps(tx, job)
        await jobs.announce(tx, job)
    return reaped


async def begin_step(tx: Transaction, claim: Claim, ordinal: int, agent_id: str) -> int | None:
    """Start a step of a held job and say which attempt at it this is; None when its agent is off or has no place free.

    Raises:
        Lost: the job is somebody else's.
    """
    # Counting and starting must not interleave, or two workers would both take the agent's last place.
    await tx.hold(f"{tx.tenant}/agent/{agent_id}")
    await _guarded(tx, claim)
    steps, other = processing_steps.c, processing_steps.alias()
    running = (
        sa.select(sa.func.count())
        .where(other.c.agent_id == agent_id, other.c.status == StepStatus.PROCESSING, other.c.job_id != claim.job.id)
        .scalar_subquery()
    )
    free = sa.exists().where(agents.c.id == agent_id, agents.c.enabled, running < agents.c.max_concurrent)
    begun: int | None = await tx.scalar(
        sa.update(processing_steps)
        .where(steps.job_id == claim.job.id, steps.ordinal == ordinal, free)
        .values(
            status=StepStatus.PROCESSING,
            attempt=steps.attempt + 1,
            progress=0,
            message=None,
            started_at=sa.func.now(),
            finished_at=None,
        )
        .returning(steps.attempt)
    )
    await _changed(tx, claim.job.id, {"current_step": agent_id})
    return begun


async def report(tx: Transaction, claim: Claim, ordinal: int, *, share: float, percent: int) -> None:
    """Note how far a step and its job have come; a share the step has reached already changes neither.

    Raises:
        Lost: the job is somebody else's.
    """
    job = await _guarded(tx, claim)
    steps = processing_steps.c
    risen = await tx.changed(
        sa.update(processing_steps)
        .where(steps.job_id == job.id, steps.ordinal == ordinal, steps.progress < share)
        .values(progress=share)
    )
    if risen and percent != job.progress:
        await _changed(tx, job.id, {"progress": percent})


async def finish_step(
    tx: Transaction,
    claim: Claim,
    ordinal: int,
    status: StepStatus,
    *,
    output: Any = None,
    message: str | None = None,
    percent: int | None = None,
) -> None:
    """Record how a step ended.

    Raises:
        Lost: the job is somebody else's.
    """
    await _guarded(tx, claim)
    steps = processing_steps.c
    await tx.execute(
        sa.update(processing_steps)
        .where(steps.job_id == claim.job.id, steps.ordinal == ordinal)
        .values(
            status=status,
            output=output,
            message=message,
            progress=1 if status is StepStatus.COMPLETED else steps.progress,
            finished_at=sa.func.now(),
        )
    )
    if percent is not None:
        await _changed(tx, claim.job.id, {"progress": percent})


async def complete(tx: Transaction, claim: Claim) -> Job:
    """Mark a held job as completed.

    Raises:
        Lost: the job is somebody else's, and then nothing else of the transaction stands either.
    """
    return await _end(tx, claim, JobStatus.COMPLETED, progress=100, current_step=None)


async def fail(tx: Transaction, claim: Claim, *, code: str, message: str) -> Job:
    """Mark a held job as failed for good.

    Raises:
        Lost: the job is somebody else's.
    """
    return await _end(tx, claim, JobStatus.FAILED, error_code=code, error_message=message)


async def stop(tx: Transaction, claim: Claim) -> Job:
    """Mark a held job as cancelled, as was asked.

    Raises:
        Lost: the job is somebody else's.
    """
    return await _end(tx, claim, JobStatus.CANCELLED)


async def put_back(
    tx: Transaction, claim: Claim, *, delay: timedelta, message: str | None = None, count_attempt: bool
) -> Job:
    """Give a held job back to the queue, or cancel it if somebody asked for that meanwhile.

    Args:
        delay: how long nobody shall take it again.
        message: why, shown with the job until it is taken again.
        count_attempt: False for a job that was put back through no fault of its own (a drain, a busy agent).

    Raises:
        Lost: the job is somebody else's.
    """
    job = await _guarded(tx, claim)
    if job.cancel_requested_at is not None:
        # In the queue it would wait out its delay and be begun once more, only to be stopped.
        return await stop(tx, claim)
    return await _end(
        tx,
        claim,
        JobStatus.QUEUED,
        run_at=sa.func.now() + delay,
        attempt=table.c.attempt - (0 if count_attempt else 1),
        error_message=message,
    )


async def _end(tx: Transaction, claim: Claim, status: JobStatus, **values: Any) -> Job:
    await _guarded(tx, claim)
    finished = {"completed_at": sa.func.now()} if status in jobs.FINISHED else {"worker_id": None}
    job = await _changed(tx, claim.job.id, {"status": status, "lease_until": None, **finished, **values})
    await _settle_steps(tx, job)
    return job


async def _changed(tx: Transaction, job_id: UUID, values: dict[str, Any]) -> Job:
    statement = sa.update(table).where(table.c.id == job_id).values(**values, updated_at=sa.func.now())
    job = await JOB.first(tx, statement.returning(*JOB.columns))
    assert job is not None
    await jobs.announce(tx, job)
    return job


async def _settle_steps(tx: Transaction, job: Job) -> None:
    """A job that is nobody's has no running step: cancelled with it, or pending again."""
    if job.status is JobStatus.CANCELLED:
        await jobs.cancel_steps(tx, job.id)
        return
    steps = processing_steps.c
    await tx.execute(
        sa.update(processing_steps)
        .where(steps.job_id == job.id, steps.status == StepStatus.PROCESSING)
        .values(
            status=StepStatus.FAILED if job.status is JobStatus.FAILED else StepStatus.PENDING,
            finished_at=sa.func.now() if job.status is JobStatus.FAILED else None,
            message=job.error_message,
        )
    )


async def _guarded(tx: Transaction, claim: Claim) -> Job:
    """The job, locked until the end of the transaction, as the claim's fence is still the newest."""
    job = await JOB.first(
        tx,
        JOB.select()
        .where(table.c.id == claim.job.id, table.c.fence == claim.fence, table.c.status == JobStatus.PROCESSING)
        .with_for_update(),
    )
    if job is None:
        raise Lost(f"job {claim.job.id} is no longer held under fence {claim.fence}")
    return job


def _held_by(worker_id: str, held: Collection[tuple[UUID, int]]) -> sa.ColumnElement[bool]:
    pairs: Sequence[tuple[UUID, int]] = list(held)
    return sa.and_(
        table.c.worker_id == worker_id,
        table.c.status == JobStatus.PROCESSING,
        sa.tuple_(table.c.id, table.c.fence).in_(pairs),
    )
