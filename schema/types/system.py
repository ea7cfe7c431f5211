"""The system itself: workers, queue, logs, events, configuration, health."""

from datetime import datetime
from typing import cast
from uuid import UUID

from strawberry.scalars import JSON

from dataloaders.snapshot import work
from db import configuration, jobs, logs, queues, system_events, workers
from db import users as user_rows
from db.models.records import Severity
from db.models.work import WorkerState
from resolvers.queries import health, system
from resolvers.queries import queues as figures
from schema.fields import Info, nested, shows
from schema.scalars import BigInt, key
from schema.types.jobs import Job
from schema.types.nodes import Node
from schema.types.people import User


@shows(workers.Worker)
class Worker(Node):
    """A worker process."""

    id: str = key()
    hostname: str
    pid: int
    version: str
    state: WorkerState
    desired_state: WorkerState
    alive: bool
    concurrency: int
    jobs_completed: BigInt
    jobs_failed: BigInt
    cpu_percent: float | None
    memory_mb: float | None
    started_at: datetime
    heartbeat_at: datetime

    @nested(list[Job])
    async def current_jobs(self, info: Info) -> list[jobs.Job]:
        """The jobs in its hands that the caller may see."""
        found = await info.context.loaders.job.load_many(cast(workers.Worker, self).current_jobs)
        return [job for job in found if job is not None]


@shows(queues.QueueState)
class QueueState:
    """What people decided about the queue."""

    paused: bool
    paused_until: datetime | None
    refusing: bool
    draining_until: datetime | None
    stopped: bool
    reason: str | None
    changed_at: datetime

    @nested(User | None)
    async def changed_by(self, info: Info) -> user_rows.User | None:
        """Who decided it; null when it was not a person, or they were removed."""
        by = cast(queues.QueueState, self).changed_by
        return None if by is None else await info.context.loaders.user.load(by)


@shows(work.Throughput)
class Throughput:
    """How fast jobs are completed."""

    per_hour: int
    trend: str
    last_hour: int
    previous_hour: int


@shows(figures.Statistics)
class QueueStatistics:
    """How the queue went."""

    throughput: Throughput
    average_wait_s: float | None
    average_run_s: float | None
    success_percent: float | None
    worker_utilization_percent: float | None
    workers_alive: int
    made_today: int
    completed_today: int
    failed_today: int
    cancelled_today: int


@shows(system.Queue)
class Queue:
    """The queue of jobs."""

    state: QueueState | None
    paused: bool
    refusing: bool
    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    oldest_queued_at: datetime | None
    oldest_age_s: float | None

    @nested(QueueStatistics, weight=100)
    async def statistics(self, info: Info) -> figures.Statistics:
        """How it went today, lately, and over the last 24 hours."""
        return await figures.statistics(info.context)


@shows(logs.LogLine)
class LogLine(Node):
    """A line that a process wrote."""

    id: UUID = key()
    level: Severity
    source: str
    category: str
    message: str
    trace_id: str | None
    data: JSON
    created_at: datetime


@shows(system_events.SystemEvent)
class SystemEvent(Node):
    """Something about the system itself that people should know of."""

    id: UUID = key()
    kind: str
    severity: Severity
    source: str
    message: str
    data: JSON
    created_at: datetime


@shows(configuration.Configuration)
class Configuration:
    """One version of the configuration."""

    version: int
    settings: JSON
    reason: str
    created_at: datetime

    @nested(User | None)
    async def changed_by(self, info: Info) -> user_rows.User | None:
        """Who made it; null when it was not a person, or they were removed."""
        by = cast(configuration.Configuration, self).changed_by
        return None if by is None else await info.context.loaders.user.load(by)


@shows(health.Check)
class HealthCheck:
    """Whether one store answers."""

    name: str
    ok: bool
    latency_ms: float | None


@shows(health.Health)
class Health:
    """Whether this process can serve."""

    status: health.HealthStatus
    checks: list[HealthCheck]
