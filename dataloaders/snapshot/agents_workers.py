"""Agents and workers: which there are, how they are set, and how busy they are."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.wording import span
from dataloaders.snapshot.work import Work, WorkerEntry, counted, happened
from db import agents, jobs, tallies
from db.agents import Agent
from db.models.work import AgentCategory, AgentPriority, JobStatus
from db.tallies import Speed
from db.workers import Presence, Worker

_SECRET: Final = ("key", "token", "secret", "password", "credential")
HIDDEN: Final = "***"


class AgentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One agent and what it is doing."""

    name: str
    """Its id."""

    display_name: str
    category: AgentCategory
    description: str
    version: str
    status: str
    """`running` when it is switched on, else `stopped`."""

    availability: str
    """`available`, `busy` at its limit, `disabled`, or `no_worker` while nobody is there to run it."""

    current_load: int
    """Steps it is working on."""

    max_capacity: int
    queue_depth: int
    """Jobs that wait for their turn with it."""

    last_activity: datetime | None
    """When it last began or ended a step; None when it never did."""

    environment: str | None


class AgentsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All agents."""

    success: bool = True
    total_agents: int
    active_agents: int
    """Those switched on."""

    agents: list[AgentEntry]
    timestamp: datetime


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent may use; None where nothing is set."""

    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None


class AgentSetting(msgspec.Struct, frozen=True, kw_only=True):
    """How one agent is set."""

    name: str
    display_name: str
    category: AgentCategory
    enabled: bool
    auto_start: bool
    max_concurrent: int
    timeout: int
    """Seconds."""

    retry_attempts: int
    priority: AgentPriority
    resource_limits: Limits
    environment: dict[str, Any]
    """Its own options; those named like secrets are hidden."""

    version: str
    last_updated: datetime


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How all agents are set."""

    success: bool = True
    total_configs: int
    enabled_agents: int
    configurations: list[AgentSetting]
    timestamp: datetime

    @classmethod
    def of(cls, known: list[Agent], now: datetime) -> "AgentSettings":
        """The settings of those agents."""
        return cls(
            total_configs=len(known),
            enabled_agents=sum(agent.enabled for agent in known),
            configurations=[
                AgentSetting(
                    name=agent.id,
                    display_name=agent.name,
                    category=agent.category,
                    enabled=agent.enabled,
                    auto_start=agent.auto_start,
                    max_concurrent=agent.max_concurrent,
                    timeout=agent.timeout_s,
                    retry_attempts=agent.retry_attempts,
                    priority=agent.priority,
                    resource_limits=Limits(memory_mb=agent.memory_mb, cpu_cores=agent.cpu_cores, disk_mb=agent.disk_mb),
                    environment=shown(agent.options),
                    version=agent.version,
                    last_updated=agent.updated_at,
                )
                for agent in known
            ],
            timestamp=now,
        )


class AgentTile(msgspec.Struct, frozen=True, kw_only=True):
    """An agent where an older view looks for it."""

    id: str
    name: str
    category: AgentCategory
    status: str
    """`active` or `inactive`."""


class Agents(msgspec.Struct, frozen=True, kw_only=True):
    """The agents' half."""

    status: AgentsStatus
    configuration: AgentSettings
    agents: list[AgentTile]


class WorkerSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """How long one worker's jobs take."""

    id: str
    avg_time: float
    """Seconds."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """How well the workers do, over the last 24 hours."""

    active_workers: int
    """Those that are there."""

    average_job_duration: float | None
    jobs_per_worker_per_hour: float | None
    worker_efficiency: float | None
    queue_processing_speed: str
    worker_utilization: float | None
    peak_load_time: datetime | None
    """The hour in which most jobs were begun; None when none was."""

    slowest_worker: WorkerSpeed | None
    """Among the newest completed jobs."""

    fastest_worker: WorkerSpeed | None
    generated_at: datetime


class WorkerTile(msgspec.Struct, frozen=True, kw_only=True):
    """A worker where an older view looks for it."""

    id: str
    name: str
    status: Presence
    current_task: str | None
    """Id of a job of this tenant that it has; None also while it is at somebody else's."""

    tasks_completed: int
    """Of this tenant, over the last 24 hours, among the newest thousand that ended; so are those that failed."""

    tasks_failed: int
    uptime: str


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """The workers' half."""

    status: list[WorkerEntry]
    performance: Performance
    workers: list[WorkerTile]


class AgentsWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """Agents and workers."""

    timestamp: datetime
    agents: Agents
    workers: Workers
    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> AgentsWorkers:
    """Agents and workers, from what was counted and one transaction more."""
    work = await counted(sources, frame)
    async with sources.database.transaction(frame.tenant) as tx:
        known = await agents.everyone(tx)
        running = await agents.running_steps(tx)
        last = await agents.last_active(tx)
        speeds = await tallies.speeds(tx, frame.yesterday)
        # Workers do the jobs of all tenants; whoever looks at one is told only of their own tenant's.
        own_jobs = await jobs.visible(tx, [job_id for worker in work.workers for job_id in worker.current_jobs])
    waiting = work.waiting_for(JobStatus.QUEUED)
    return AgentsWorkers(
        timestamp=frame.now,
        agents=Agents(
            status=AgentsStatus(
                total_agents=len(known),
                active_agents=sum(agent.enabled for agent in known),
                agents=[
                    AgentEntry(
                        name=agent.id,
                        display_name=agent.name,
                        category=agent.category,
                        description=agent.description,
                        version=agent.version,
                        status="running" if agent.enabled else "stopped",
                        availability=agent.availability(running.get(agent.id, 0), workers=bool(work.alive)),
                        current_load=running.get(agent.id, 0),
                        max_capacity=agent.max_concurrent,
                        queue_depth=waiting.get(agent.id, 0),
                        last_activity=last.get(agent.id),
                        environment=sources.about.environment,
                    )
                    for agent in known
                ],
                timestamp=frame.now,
            ),
            configuration=AgentSettings.of(known, frame.now),
            agents=[
                AgentTile(
                    id=agent.id,
                    name=agent.name,
                    category=agent.category,
                    status=agent.status,
                )
                for agent in known
            ],
        ),
        workers=Workers(
            status=[WorkerEntry.of(worker, work) for worker in work.workers],
            performance=_performance(work, speeds),
            workers=[_tile(worker, own_jobs, work) for worker in work.workers],
        ),
    )


def complete(section: AgentsWorkers) -> bool:
    """Whether it may be cached: every tenant has agents, so 0 of 0 would be a lie for 15 s."""
    return section.agents.status.total_agents > 0


def shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with whatever is named like a secret hidden, at any depth."""
    return {
        name: HIDDEN if _secret(name) else shown(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
    }


def restored(options: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Options as somebody gives them back who was shown the present ones: what is hidden in them is what it was."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if _secret(name) and value == HIDDEN and name in present:
            found[name] = present[name]
        elif isinstance(value, Mapping) and isinstance(inner := present.get(name), Mapping):
            found[name] = restored(value, inner)
        else:
            found[name] = value
    return found


def _secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def _performance(work: Work, speeds: list[Speed]) -> Performance:
    since, alive = work.frame.yesterday, len(work.alive)
    completed = happened(work.hours, JobStatus.COMPLETED, since=since)
    begun = [hour for hour in work.hours if hour.status is JobStatus.PROCESSING and hour.hour >= since]
    peak = max(begun, key=lambda hour: hour.jobs, default=None)
    averages = [WorkerSpeed(id=speed.worker_id, avg_time=round(speed.average_s, 3)) for speed in speeds]
    return Performance(
        active_workers=alive,
        average_job_duration=work.run_s,
        jobs_per_worker_per_hour=round(completed / 24 / alive, 3) if alive else None,
        worker_efficiency=None,
        queue_processing_speed=f"{completed / 24:.1f} jobs/hour",
        worker_utilization=work.utilization_percent,
        peak_load_time=peak.hour if peak else None,
        slowest_worker=averages[-1] if averages else None,
        fastest_worker=averages[0] if averages else None,
        generated_at=work.frame.now,
    )


def _tile(worker: Worker, own_jobs: Collection[UUID], work: Work) -> WorkerTile:
    ended = work.ended_by(worker)
    return WorkerTile(
        id=worker.id,
        name=worker.hostname,
        status=worker.presence(work.frame.now),
        current_task=next((str(job_id) for job_id in worker.current_jobs if job_id in own_jobs), None),
        tasks_completed=ended.completed,
        tasks_failed=ended.failed,
        uptime=span(timedelta(seconds=WorkerEntry.of(worker, work).uptime_seconds)),
    )
