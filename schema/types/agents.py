"""Agents, as a tenant has configured them, and how they do."""

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry
from strawberry.scalars import JSON

from db import agents
from db.agents import AgentAvailability, AgentStatus
from db.models.work import AgentCategory, AgentPriority
from resolvers.queries import agents as reads
from schema.connections import Connection, connection, window
from schema.fields import Info, described, nested, shows
from schema.scalars import BigInt, key
from schema.types.nodes import Node

if TYPE_CHECKING:
    from schema.types.jobs import Job


@shows(reads.Duties)
class AgentLoad:
    """What an agent has to do."""

    running: int
    waiting: BigInt
    max: int


@shows(agents.Record)
class AgentPerformance:
    """How the newest runs of an agent went, a thousand at most; a job tried again counts as it went the last time."""

    runs: int
    """How many those are; so are the others."""

    completed: int
    failed: int
    skipped: int
    p50_s: float | None
    p95_s: float | None
    average_s: float | None
    since: datetime | None


@shows(reads.Health)
class AgentHealth:
    """Whether an agent does what it is asked to, as far as that is measured."""

    healthy: bool | None
    reason: str | None
    last_heartbeat_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None


@described
class AgentLimits:
    """What a step of an agent may take; null where nothing is set."""

    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None


@shows(agents.Agent)
class Agent(Node):
    """An agent as it is configured."""

    id: str = key()
    implementation: str
    name: str
    category: AgentCategory
    description: str
    version: str
    enabled: bool
    auto_start: bool
    max_concurrent: int
    timeout_s: int
    retry_attempts: int
    priority: AgentPriority
    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None
    options: JSON
    revision: int
    updated_at: datetime
    status: AgentStatus

    @nested(list[str])
    def capabilities(self) -> tuple[str, ...]:
        """What it can do, in words that programs compare; none for an agent that another project offers."""
        return reads.capabilities(_agent(self))

    @nested(AgentLimits)
    def resource_limits(self) -> AgentLimits:
        """What a step of it may take."""
        return AgentLimits(memory_mb=self.memory_mb, cpu_cores=self.cpu_cores, disk_mb=self.disk_mb)

    @nested(JSON)
    def environment(self) -> dict[str, object]:
        """Its own options, with whatever is named like a secret hidden."""
        return reads.environment(_agent(self))

    @nested(AgentLoad)
    async def load(self, info: Info) -> reads.Duties:
        """What it has to do."""
        return await reads.duties(info.context, _agent(self))

    @nested(AgentAvailability)
    async def availability(self, info: Info) -> AgentAvailability:
        """Whether it could begin a step."""
        return await reads.availability(info.context, _agent(self))

    @nested(datetime | None)
    async def last_activity_at(self, info: Info) -> datetime | None:
        """When it last began or ended a step; null when it never did."""
        return await reads.last_activity(info.context, self.id)

    @nested(AgentPerformance)
    async def performance(self, info: Info) -> agents.Record:
        """How its newest runs went."""
        return await reads.performance(info.context, self.id)

    @nested(AgentHealth)
    async def health(self, info: Info) -> reads.Health:
        """Whether it does what it is asked to."""
        return await reads.health(info.context, _agent(self))

    @nested(Connection[Annotated["Job", strawberry.lazy("schema.types.jobs")]])
    async def queue(self, info: Info, first: int | None = None, offset: int | None = None) -> Connection[Any]:
        """The jobs that wait for its turn, as far as the caller may see them, the next one first."""
        page = await reads.queue(info.context, self.id, window(first, offset=offset))
        return connection(page, partial(reads.how_many_wait, info.context, self.id))


@shows(reads.Roster)
class AgentRoster:
    """All agents at once."""

    agents: list[Agent]
    total: int
    active: int

    @nested(int)
    async def available(self, info: Info) -> int:
        """Those that could begin a step just now."""
        return await reads.how_many_available(info.context, cast(reads.Roster, self).agents)


def _agent(shown: Agent) -> agents.Agent:
    return cast(agents.Agent, shown)
