"""How everything stands that actions about jobs, queues and the house may change: to compare before and after."""

from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import clips, jobs, steps
from db.clips import NewClip
from db.database import Database
from db.jobs import NewJob
from db.models.work import JobStatus, StepStatus
from db.models.work import jobs as table

TABLES: Final = (
    "jobs",
    "processing_steps",
    "clips",
    "artifacts",
    "uploads",
    "agents",
    "queue_states",
    "house",
    "job_gauges",
    "events",
)
_NO_MORE_THAN_ON_RECORD: Final = {"events": "WHERE kind <> 'action_executed'"}
"""What is told of every entry of the audit trail is no change of anything."""


async def standing(database: Database) -> dict[str, str]:
    """A digest of all rows of each table."""
    found: dict[str, str] = {}
    async with database.system() as tx:
        for name in TABLES:
            digest = "SELECT md5(coalesce(string_agg(each::text, '|' ORDER BY each::text), ''))"
            rows = f"FROM {name} AS each {_NO_MORE_THAN_ON_RECORD.get(name, '')}"
            found[name] = await tx.scalar(sa.text(f"{digest} {rows}"))
    return found


async def job_in(
    database: Database,
    status: JobStatus,
    *,
    owner: UUID | None = None,
    parent: UUID | None = None,
    tenant: str = "default",
    **more: Any,
) -> UUID:
    """A job in some state, with a step that fits it."""
    step = {
        JobStatus.QUEUED: StepStatus.PENDING,
        JobStatus.PROCESSING: StepStatus.PROCESSING,
        JobStatus.COMPLETED: StepStatus.COMPLETED,
        JobStatus.FAILED: StepStatus.FAILED,
        JobStatus.CANCELLED: StepStatus.CANCELLED,
    }[status]
    ended = sa.func.now() if status in jobs.FINISHED else None
    changes = {
        "status": status,
        "parent_job_id": parent,
        "lease_until": sa.func.now() + sa.text("interval '1 minute'") if status is JobStatus.PROCESSING else None,
        "started_at": None if status is JobStatus.QUEUED else sa.func.now(),
        "completed_at": ended,
        "error_code": "STEP_FAILED" if status is JobStatus.FAILED else None,
        **more,
    }
    async with database.transaction(tenant) as tx:
        job = await jobs.add(tx, NewJob(user_id=owner, source_url="https://example.org/v.mp4", chain=["clipper"]))
        await tx.execute(sa.update(table).where(table.c.id == job.id).values(changes))
        await tx.execute(
            sa.text("UPDATE processing_steps SET status = CAST(:status AS step_status) WHERE job_id = :id"),
            {"status": step.value, "id": job.id},
        )
    return job.id


async def with_clip(database: Database, job_id: UUID, path: str, thumbnail: str | None = None) -> None:
    """Give a job a clip whose file is at a path of the store."""
    made = NewClip(
        title="A clip",
        path=path,
        thumbnail_path=thumbnail,
        start_s=0.0,
        end_s=2.0,
        duration_s=2.0,
        width=90,
        height=160,
        size_bytes=9,
        sha256="0" * 64,
        score=50.0,
        reasons=[],
    )
    async with database.transaction("default") as tx:
        await clips.add(tx, job_id, [made])


async def found(database: Database, job_id: UUID, *, tenant: str = "default") -> jobs.Job | None:
    """A job as it stands, or None."""
    async with database.transaction(tenant) as tx:
        return await jobs.by_id(tx, job_id)


async def steps_of(database: Database, job_id: UUID) -> list[StepStatus]:
    """How the steps of a job stand."""
    async with database.transaction("default") as tx:
        return [step.status for step in await steps.of_job(tx, job_id)]
