"""The steps of jobs: one row for each agent's turn."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa

from db.database import Transaction
from db.models.work import StepStatus, jobs, processing_steps
from db.rows import Row, Shape


class Step(Row, frozen=True):
    """One agent's turn in one job."""

    id: UUID
    job_id: UUID
    ordinal: int
    """Its place in the chain, from 0."""

    agent_id: str
    status: StepStatus
    attempt: int
    progress: float
    """Done share, 0.0..1.0; only grows within one attempt."""

    message: str | None
    """Why it was skipped or failed, for a person."""

    started_at: datetime | None
    finished_at: datetime | None

    @property
    def duration_s(self) -> float | None:
        """Seconds it took; None while it can still run."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


STEP = Shape(Step, processing_steps)


async def of_job(tx: Transaction, job_id: UUID) -> list[Step]:
    """A job's steps in the order of its chain."""
    wanted = STEP.select().where(processing_steps.c.job_id == job_id).order_by(processing_steps.c.ordinal)
    return await STEP.all(tx, wanted)


async def of_jobs(tx: Transaction, job_ids: Collection[UUID], *, owner: UUID | None = None) -> list[Step]:
    """The steps of several jobs, each job's in the order of its chain; with `owner`, only of jobs that are theirs."""
    wanted = STEP.select().where(processing_steps.c.job_id.in_(job_ids)).order_by(processing_steps.c.ordinal)
    if owner is not None:
        wanted = wanted.where(sa.exists().where(jobs.c.id == processing_steps.c.job_id, jobs.c.user_id == owner))
    return await STEP.all(tx, wanted)


async def outputs(tx: Transaction, job_id: UUID) -> dict[str, bytes]:
    """What the completed steps of a job found, as JSON by agent id."""
    rows = await tx.rows(
        sa.select(processing_steps.c.agent_id, processing_steps.c.output).where(
            processing_steps.c.job_id == job_id, processing_steps.c.status == StepStatus.COMPLETED
        )
    )
    return {agent_id: msgspec.json.encode(output) for agent_id, output in rows}
