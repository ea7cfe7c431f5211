"""The queue in full: what waits where, who works on it, and what it did lately."""

from datetime import datetime
from typing import Final

import msgspec

from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.work import (
    QUEUES,
    Breakdown,
    JobEntry,
    Throughput,
    Work,
    counted,
    happened,
    percent,
)
from db import agents, queues, tallies
from db.agents import Agent
from db.models.work import AgentCategory, JobStatus
from db.tallies import Kindred
from db.workers import Presence

_QUEUE_OF: Final = {
    AgentCategory.INPUT: "file_operations",
    AgentCategory.AUDIO: "transcription",
    AgentCategory.ANALYSIS: "ai_analysis",
    AgentCategory.CONTENT: "ai_analysis",
    AgentCategory.EDITING: "video_processing",
}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs are where."""

    pending: int
    processing: int
    completed_today: int
    failed_today: int
    total: int
    completed: int
    failed: int


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker serves."""

    worker_id: str
    status: Presence
    current_tasks: int
    queues: tuple[str, ...] = QUEUES
    last_seen: datetime


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """One queue: jobs whose current step belongs to it."""

    pending: int = 0
    processing: int = 0


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Every queue."""

    video_processing: Depth = Depth()
    transcription: Depth = Depth()
    ai_analysis: Depth = Depth()
    file_operations: Depth = Depth()


class Assignments(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on what."""

    workers: list[Assignment]
    queue_distribution: Distribution
    total_workers: int
    active_workers: int
    """Those that are there, busy or idle."""

    timestamp: datetime
    status: str = "success"


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the queue did."""

    total_jobs_processed: int
    """Completed or failed, ever."""

    average_processing_time: float | None
    peak_queue_length_today: int | None
    current_queue_length: int
    jobs_per_hour_avg: float
    """Completed, over the last 24 hours."""

    success_rate_percentage: float | None
    most_common_job_type: str | None
    queue_health_score: float | None
    timestamp: datetime


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The queue in full."""

    timestamp: datetime
    current_queue: Current
    job_history: list[JobEntry]
    worker_assignments: Assignments
    statistics: Statistics
    queue_depth: int
    queue_throughput: Throughput
    avg_wait_time: float | None
    worker_utilization: float | None
    success_rate_24h: float | None
    jobs_breakdown: Breakdown
    today_jobs_breakdown: Breakdown
    paused: bool
    paused_until: datetime | None
    refusing: bool
    """Whether new jobs are turned away."""

    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> Queue:
    """The queue, from what was counted and one transaction more."""
    work = await counted(sources, frame)
    async with sources.database.transaction(frame.tenant) as tx:
        types = await tallies.types(tx, frame.since)
        known = await agents.everyone(tx)
        state = await queues.state(tx)
    return Queue(
        timestamp=frame.now,
        current_queue=_current(work),
        job_history=[JobEntry.of(job) for job in work.newest],
        worker_assignments=_assignments(work, known),
        statistics=_statistics(work, types),
        queue_depth=work.pending,
        queue_throughput=work.throughput,
        avg_wait_time=work.wait_s,
        worker_utilization=work.utilization_percent,
        success_rate_24h=work.success_percent,
        jobs_breakdown=work.breakdown,
        today_jobs_breakdown=work.breakdown_today,
        paused=state is not None and state.paused,
        paused_until=state.paused_until if state else None,
        refusing=state is not None and state.refusing,
    )


def _current(work: Work) -> Current:
    whole = work.breakdown
    return Current(
        pending=work.pending,
        processing=work.processing,
        completed_today=work.today(JobStatus.COMPLETED),
        failed_today=work.today(JobStatus.FAILED),
        total=whole.total,
        completed=whole.completed,
        failed=whole.failed,
    )


def _assignments(work: Work, known: list[Agent]) -> Assignments:
    return Assignments(
        workers=[
            Assignment(
                worker_id=worker.id,
                status=worker.presence(work.frame.now),
                current_tasks=len(worker.current_jobs),
                last_seen=worker.heartbeat_at,
            )
            for worker in work.workers
        ],
        queue_distribution=_distribution(work, known),
        total_workers=len(work.workers),
        active_workers=len(work.alive),
        timestamp=work.frame.now,
    )


def _distribution(work: Work, known: list[Agent]) -> Distribution:
    waiting, running = work.waiting_for(JobStatus.QUEUED), work.waiting_for(JobStatus.PROCESSING)
    depths = {
        name: Depth(
            pending=sum(waiting.get(agent.id, 0) for agent in known if _QUEUE_OF[agent.category] == name),
            processing=sum(running.get(agent.id, 0) for agent in known if _QUEUE_OF[agent.category] == name),
        )
        for name in QUEUES
    }
    return Distribution(**depths)


def _statistics(work: Work, types: list[Kindred]) -> Statistics:
    whole = work.breakdown
    completed = happened(work.hours, JobStatus.COMPLETED, since=work.frame.yesterday)
    return Statistics(
        total_jobs_processed=whole.completed + whole.failed,
        average_processing_time=work.run_s,
        peak_queue_length_today=None,
        current_queue_length=work.pending,
        jobs_per_hour_avg=round(completed / 24, 2),
        success_rate_percentage=percent(whole.completed, whole.completed + whole.failed),
        most_common_job_type=types[0].workflow_type if types else None,
        queue_health_score=None,
        timestamp=work.frame.now,
    )
