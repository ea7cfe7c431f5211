"""The first screen: workers, queue, jobs and system at a glance."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from dataloaders.snapshot.probes import Health, listening
from dataloaders.snapshot.sockets import standing
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.wording import span
from dataloaders.snapshot.work import (
    Breakdown,
    JobEntry,
    Throughput,
    Work,
    WorkerEntry,
    counted,
    percent,
)
from db import health, system_events
from db.health import Pool
from db.jobs import Job
from db.models.records import Severity
from db.models.work import JobStatus
from db.system_events import SystemEvent
from db.workers import Presence

ARCHITECTURE: Final = "v5_graphql"
ACTIVITIES_SHOWN: Final = 10

_CROWDED, _FULL = 80, 95
_WEIGHT: Final = {
    Severity.DEBUG: "low",
    Severity.INFO: "normal",
    Severity.WARNING: "medium",
    Severity.ERROR: "high",
    Severity.CRITICAL: "critical",
}
_TOLD: Final = {
    JobStatus.QUEUED: ("job_queued", "normal"),
    JobStatus.PROCESSING: ("job_started", "normal"),
    JobStatus.COMPLETED: ("job_completed", "normal"),
    JobStatus.FAILED: ("job_failed", "high"),
    JobStatus.CANCELLED: ("job_cancelled", "medium"),
}


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """Who does the work."""

    total: int
    active: int
    idle: int
    offline: int
    """Silent ones included."""

    details: list[WorkerEntry]


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """How the queue stands."""

    pending: int
    processing: int
    completed_today: int
    failed_today: int
    completed: int
    failed: int
    total: int
    avg_processing_time: float | None
    """Seconds, over the last 24 hours."""

    queue_depth: int
    queue_throughput: Throughput
    avg_wait_time: float | None
    """Seconds, over the last 24 hours."""

    worker_utilization: float | None
    success_rate_24h: float | None
    jobs_breakdown: Breakdown
    today_jobs_breakdown: Breakdown

    @classmethod
    def of(cls, work: Work) -> "Queue":
        """The queue as it was counted."""
        whole = work.breakdown
        return cls(
            pending=work.pending,
            processing=work.processing,
            completed_today=work.today(JobStatus.COMPLETED),
            failed_today=work.today(JobStatus.FAILED),
            completed=whole.completed,
            failed=whole.failed,
            total=whole.total,
            avg_processing_time=work.run_s,
            queue_depth=work.pending,
            queue_throughput=work.throughput,
            avg_wait_time=work.wait_s,
            worker_utilization=work.utilization_percent,
            success_rate_24h=work.success_percent,
            jobs_breakdown=whole,
            today_jobs_breakdown=work.breakdown_today,
        )


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """One job that is being done."""

    job_id: str
    workflow_type: str
    current_step: str | None
    progress: int
    started_at: datetime | None


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """The newest jobs, and how many there are."""

    recent_jobs: list[JobEntry]
    total_today: int
    success_rate: float | None
    """Percent completed among those completed or failed, ever."""

    avg_duration: float | None
    active_workflows: int
    workflow_details: list[Workflow]
    """Those of the newest jobs that are being done."""

    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    processing_jobs: int
    pending_jobs: int
    avg_processing_time: float | None


class DatabasePool(msgspec.Struct, frozen=True, kw_only=True):
    """The database connections of the process that collected this."""

    status: Health
    status_color: str
    total_capacity: int
    checked_out: int
    checked_in: int
    available: int
    overflow: int
    usage_percentage: float
    environment: str | None
    pool_size: int
    max_overflow: int
    sessions_created: int
    sessions_closed: int
    active_sessions: int
    failed_connections: int | None
    last_health_check: float
    """Seconds since the epoch."""

    connection_efficiency: float | None
    metrics_timestamp: datetime

    @classmethod
    def of(cls, pool: Pool, environment: str | None, now: datetime) -> "DatabasePool":
        """The pool as it was measured."""
        used = percent(pool.checked_out, pool.capacity) or 0.0
        status, color = _pressure(used)
        return cls(
            status=status,
            status_color=color,
            total_capacity=pool.capacity,
            checked_out=pool.checked_out,
            checked_in=pool.checked_in,
            available=pool.capacity - pool.checked_out,
            overflow=pool.overflow,
            usage_percentage=used,
            environment=environment,
            pool_size=pool.size,
            max_overflow=pool.max_overflow,
            sessions_created=pool.opened,
            sessions_closed=pool.closed,
            active_sessions=pool.checked_out,
            failed_connections=None,
            last_health_check=now.timestamp(),
            connection_efficiency=None,
            metrics_timestamp=now,
        )


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What older clients show of the architecture."""

    active_workflows: int
    events_processed: int | None
    websocket_broadcasts: int | None
    architecture: str


class System(msgspec.Struct, frozen=True, kw_only=True):
    """What was probed; null where nothing is there to probe."""

    api_status: Health | None
    database_status: Health
    redis_status: Health
    websocket_status: Health | None
    workflow_orchestrator_status: Health
    """Healthy while a worker is there to do jobs."""

    event_dispatcher_status: Health | None
    uptime: str
    uptime_seconds: int
    disk_usage: float
    memory_usage: float
    cpu_usage: float | None
    database_latency_ms: float
    """How long the database took to answer that it is there."""

    database_pool: DatabasePool
    v4_metrics: Metrics


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened lately."""

    timestamp: datetime
    type: str
    description: str
    source: str
    severity: str
    """`low`, `normal`, `medium`, `high` or `critical`."""


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """The first screen."""

    timestamp: datetime
    workers: Workers
    queue: Queue
    jobs: Jobs
    system: System
    recent_activity: list[Activity]
    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> Dashboard:
    """The first screen, from what was counted, the newest system events and four probes."""
    work = await counted(sources, frame)
    async with sources.database.transaction(frame.tenant) as tx:
        latency_ms = await health.latency_ms(tx)
        events = await system_events.recent(tx, most=ACTIVITIES_SHOWN)
    return Dashboard(
        timestamp=frame.now,
        workers=Workers(
            total=len(work.workers),
            active=work.how_many_look(Presence.ACTIVE),
            idle=work.how_many_look(Presence.IDLE),
            offline=work.how_many_look(Presence.OFFLINE) + work.how_many_look(Presence.STALE),
            details=[WorkerEntry.of(worker, work) for worker in work.workers],
        ),
        queue=Queue.of(work),
        jobs=_jobs(work),
        system=await _system(sources, frame, work, latency_ms),
        recent_activity=_activity(events, work.newest),
    )


def _pressure(used_percent: float) -> tuple[Health, str]:
    """How a pool looks that is in use to that share."""
    if used_percent >= _FULL:
        return Health.UNHEALTHY, "red"
    return (Health.DEGRADED, "orange") if used_percent >= _CROWDED else (Health.HEALTHY, "green")


def _jobs(work: Work) -> Jobs:
    whole = work.breakdown
    return Jobs(
        recent_jobs=[JobEntry.of(job) for job in work.newest],
        total_today=work.today(JobStatus.QUEUED),
        success_rate=percent(whole.completed, whole.completed + whole.failed),
        avg_duration=work.run_s,
        active_workflows=whole.processing,
        workflow_details=[
            Workflow(
                job_id=str(job.id),
                workflow_type=job.workflow_type,
                current_step=job.current_step,
                progress=job.progress,
                started_at=job.started_at,
            )
            for job in work.newest
            if job.status is JobStatus.PROCESSING
        ],
        total_jobs=whole.total,
        completed_jobs=whole.completed,
        failed_jobs=whole.failed,
        processing_jobs=whole.processing,
        pending_jobs=whole.pending,
        avg_processing_time=work.run_s,
    )


async def _system(sources: Sources, frame: Frame, work: Work, latency_ms: float) -> System:
    about, machine = sources.about, sources.host.machine()
    uptime = frame.now - about.started_at
    return System(
        api_status=await listening(about.host, about.port),
        # Only a transaction that went through gets here.
        database_status=Health.HEALTHY,
        redis_status=Health.of(await health.redis_answers(sources.redis)),
        websocket_status=(await standing(sources)).status,
        workflow_orchestrator_status=Health.of(bool(work.alive)),
        event_dispatcher_status=None,
        uptime=span(uptime),
        uptime_seconds=max(0, int(uptime / timedelta(seconds=1))),
        disk_usage=machine.disk_percent,
        memory_usage=machine.memory_percent,
        cpu_usage=machine.cpu_percent,
        database_latency_ms=round(latency_ms, 3),
        database_pool=DatabasePool.of(sources.pool.figures(), about.environment, frame.now),
        v4_metrics=Metrics(
            active_workflows=work.processing,
            events_processed=None,
            websocket_broadcasts=None,
            architecture=ARCHITECTURE,
        ),
    )


def _activity(events: list[SystemEvent], newest: Sequence[Job]) -> list[Activity]:
    """What happened to the system and to the newest jobs, the latest first."""
    told = [
        Activity(
            timestamp=event.created_at,
            type=event.kind,
            description=event.message,
            source=event.source,
            severity=_WEIGHT[event.severity],
        )
        for event in events
    ]
    for job in newest:
        kind, weight = _TOLD[job.status]
        what = job.title or str(job.id)
        told.append(
            Activity(
                timestamp=job.updated_at,
                type=kind,
                description=f"{what}: {job.error_message}" if job.status is JobStatus.FAILED else what,
                source="jobs",
                severity=weight,
            )
        )
    return sorted(told, key=lambda activity: activity.timestamp, reverse=True)[:ACTIVITIES_SHOWN]
