"""How the work stands: jobs, queue and workers, as several sections show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from dataloaders.snapshot.sources import Frame, Sources
from db import jobs, tallies, workers
from db.jobs import Job
from db.models.work import JobStatus
from db.tallies import Ended, Gauge, Hour, Pace
from db.workers import Presence, Worker

WORKERS_SHOWN: Final = 50
JOBS_SHOWN: Final = 50

QUEUES: Final = ("video_processing", "transcription", "ai_analysis", "file_operations")
"""What older clients call queues; here, the categories of agents whose turn it is. Every worker serves all of them."""

# Most cancelled jobs never ran; they would make the others look quick.
_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)


class JobEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the console lists it."""

    id: UUID
    user_id: UUID | None
    status: JobStatus
    progress: int
    video_url: str | None
    video_title: str
    workflow_type: str
    current_step: str | None
    error_message: str | None
    retry_count: int
    priority: int
    worker_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @classmethod
    def of(cls, job: Job) -> "JobEntry":
        """A job, under the names that the console knows."""
        return cls(
            id=job.id,
            user_id=job.user_id,
            status=job.status,
            progress=job.progress,
            video_url=job.source_url,
            video_title=job.title,
            workflow_type=job.workflow_type,
            current_step=job.current_step,
            error_message=job.error_message,
            retry_count=job.retry_count,
            priority=job.priority,
            worker_id=job.worker_id,
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.completed_at,
            updated_at=job.updated_at,
        )


class WorkerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the console lists it."""

    worker_id: str
    hostname: str
    status: Presence
    current_tasks: int
    """Jobs in its hands, whosever they are."""

    total_tasks_completed: int
    """Of this tenant, over the last 24 hours, among the newest thousand that ended."""

    load_average: float | None
    """Percent of one core."""

    memory_usage: float | None
    """MB."""

    pool_size: int
    """Jobs it does at once."""

    last_heartbeat: datetime
    queues: tuple[str, ...] = QUEUES
    uptime_seconds: int
    pid: int
    version: str

    @classmethod
    def of(cls, worker: Worker, work: "Work") -> "WorkerEntry":
        """A worker, under the names that the console knows."""
        now = work.frame.now
        last_there = now if worker.alive else worker.heartbeat_at
        return cls(
            worker_id=worker.id,
            hostname=worker.hostname,
            status=worker.presence(now),
            current_tasks=len(worker.current_jobs),
            total_tasks_completed=work.ended_by(worker).completed,
            load_average=worker.cpu_percent,
            memory_usage=worker.memory_mb,
            pool_size=worker.concurrency,
            last_heartbeat=worker.heartbeat_at,
            uptime_seconds=max(0, int((last_there - worker.started_at).total_seconds())),
            pid=worker.pid,
            version=worker.version,
        )


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs by how they stand."""

    total: int
    completed: int
    failed: int
    processing: int
    pending: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """How fast jobs are completed."""

    per_hour: int
    """Mean of the last 24 hours, rounded."""

    trend: str
    """`up`, `down` or `stable`: the last hour against the one before."""

    last_hour: int
    previous_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What was counted, in one transaction."""

    frame: Frame
    gauges: Sequence[Gauge]
    hours: Sequence[Hour]
    """Of today and of the last 24 hours."""

    pace: Pace
    workers: Sequence[Worker]
    """Those heard of last, at most `WORKERS_SHOWN`."""

    ended: Mapping[str, Ended]
    """What workers made of this tenant's jobs, by their ids. What they say of themselves is about all tenants."""

    newest: Sequence[Job]
    """The newest jobs first, at most `JOBS_SHOWN`."""

    def now(self, status: JobStatus) -> int:
        """How many jobs are in a status."""
        return sum(gauge.jobs for gauge in self.gauges if gauge.status is status)

    def today(self, status: JobStatus) -> int:
        """How many jobs were made (queued), begun (processing) or ended so, today."""
        return happened(self.hours, status, since=self.frame.today)

    def waiting_for(self, status: JobStatus) -> dict[str, int]:
        """How many jobs in a status are with each agent; agents without any are absent."""
        return {g.agent_id: g.jobs for g in self.gauges if g.status is status and g.agent_id is not None}

    @property
    def pending(self) -> int:
        """Jobs that wait."""
        return self.now(JobStatus.QUEUED)

    @property
    def processing(self) -> int:
        """Jobs that a worker has."""
        return self.now(JobStatus.PROCESSING)

    @property
    def total(self) -> int:
        """All jobs there are."""
        return sum(gauge.jobs for gauge in self.gauges)

    @property
    def alive(self) -> list[Worker]:
        """The workers that are there."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def breakdown(self) -> Breakdown:
        """All jobs by how they stand."""
        return Breakdown(
            total=self.total,
            completed=self.now(JobStatus.COMPLETED),
            failed=self.now(JobStatus.FAILED),
            processing=self.processing,
            pending=self.pending,
        )

    @property
    def breakdown_today(self) -> Breakdown:
        """Jobs made and ended today; what is processing or pending, is so now."""
        return Breakdown(
            total=self.today(JobStatus.QUEUED),
            completed=self.today(JobStatus.COMPLETED),
            failed=self.today(JobStatus.FAILED),
            processing=self.processing,
            pending=self.pending,
        )

    @property
    def throughput(self) -> Throughput:
        """How fast jobs are completed."""
        return throughput(self.hours, self.pace, since=self.frame.yesterday)

    @property
    def wait_s(self) -> float | None:
        """How long a job that began in the last 24 hours had waited, on average; None when none began."""
        return wait_s(self.hours, since=self.frame.yesterday)

    @property
    def run_s(self) -> float | None:
        """How long a job that was completed or failed in the last 24 hours had taken, on average; None without any."""
        return run_s(self.hours, since=self.frame.yesterday)

    @property
    def success_percent(self) -> float | None:
        """Completed among those completed or failed in the last 24 hours; None when there are none."""
        return success_percent(self.hours, since=self.frame.yesterday)

    @property
    def utilization_percent(self) -> float | None:
        """Busy places among all places of the workers that are there; None when there is none."""
        return utilization_percent(self.alive)

    def ended_by(self, worker: Worker) -> Ended:
        """What a worker made of this tenant's jobs over the last 24 hours."""
        return self.ended.get(worker.id) or Ended(worker.id, 0, 0)

    def how_many_look(self, presence: Presence) -> int:
        """How many of the workers look so."""
        return sum(worker.presence(self.frame.now) is presence for worker in self.workers)


async def counted(sources: Sources, frame: Frame) -> Work:
    """Count jobs, hours and workers, in one transaction for all sections of a build that show them.

    So they also show the same numbers. A section that fails over this leaves the next one to try for itself.
    """
    async with frame.counting:
        if frame.counted is None:
            frame.counted = await _read(sources, frame)
        return frame.counted


async def _read(sources: Sources, frame: Frame) -> Work:
    async with sources.database.transaction(frame.tenant) as tx:
        return Work(
            frame=frame,
            gauges=await tallies.gauges(tx),
            hours=await tallies.hours(tx, min(frame.today, frame.yesterday)),
            pace=await tallies.pace(tx),
            workers=await workers.heard_last(tx, most=WORKERS_SHOWN),
            ended={ended.worker_id: ended for ended in await tallies.ended(tx, frame.yesterday)},
            newest=await jobs.newest(tx, most=JOBS_SHOWN),
        )


def happened(hours: Iterable[Hour], status: JobStatus, *, since: datetime, until: datetime | None = None) -> int:
    """How many jobs were made (queued), begun (processing) or ended so, from one hour to before another."""
    return sum(
        hour.jobs
        for hour in hours
        if hour.status is status and hour.hour >= since and (until is None or hour.hour < until)
    )


def throughput(hours: Iterable[Hour], pace: Pace, *, since: datetime) -> Throughput:
    """How fast jobs are completed, in the day since then and lately."""
    day = happened(hours, JobStatus.COMPLETED, since=since)
    return Throughput(
        per_hour=round(day / 24),
        trend=trend(pace.last_hour, pace.previous_hour),
        last_hour=pace.last_hour,
        previous_hour=pace.previous_hour,
    )


def wait_s(hours: Sequence[Hour], *, since: datetime) -> float | None:
    """How long a job that began since then had waited, on average; None when none began."""
    begun = happened(hours, JobStatus.PROCESSING, since=since)
    waited = sum(hour.wait_s for hour in hours if hour.hour >= since)
    return round(waited / begun, 3) if begun else None


def utilization_percent(alive: Sequence[Worker]) -> float | None:
    """Busy places among all places of workers that are there; None when there is none."""
    places = sum(worker.concurrency for worker in alive)
    return percent(sum(len(worker.current_jobs) for worker in alive), places)


def run_s(hours: Iterable[Hour], *, since: datetime) -> float | None:
    """How long a job that ended since then had taken, on average; None when none ended."""
    ended = [hour for hour in hours if hour.status in _ENDED and hour.hour >= since]
    jobs = sum(hour.jobs for hour in ended)
    return round(sum(hour.run_s for hour in ended) / jobs, 3) if jobs else None


def success_percent(hours: Sequence[Hour], *, since: datetime, until: datetime | None = None) -> float | None:
    """Completed among those completed or failed in that time; None when there are none."""
    completed = happened(hours, JobStatus.COMPLETED, since=since, until=until)
    failed = happened(hours, JobStatus.FAILED, since=since, until=until)
    return percent(completed, completed + failed)


def percent(part: float, whole: float) -> float | None:
    """The share in percent; None of nothing."""
    return round(100 * part / whole, 2) if whole else None


def growth_percent(now: float, before: float) -> float | None:
    """How much more there is than before, in percent; None after nothing."""
    return round(100 * (now - before) / before, 2) if before else None


def trend(now: float, before: float) -> str:
    """`up`, `down` or `stable`."""
    return "up" if now > before else "down" if now < before else "stable"
