"""The agents of a tenant: which there are, whether they are on, and how they are configured."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.work import AgentCategory, AgentPriority, JobStatus, StepStatus, agents, jobs, processing_steps
from db.pages import Order, Page, Window, page, total
from db.rows import Row, Shape


class Agent(Row, frozen=True):
    """An agent as configured."""

    id: str
    implementation: str
    """Id of the built-in or installed agent that does the work; equal to `id` for built-in ones."""

    name: str
    category: AgentCategory
    description: str
    version: str
    enabled: bool
    auto_start: bool
    max_concurrent: int
    """Most steps of this agent at once over all workers."""

    timeout_s: int
    retry_attempts: int
    """How often a job is tried again when this agent fails in a way that may pass."""

    priority: AgentPriority
    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None
    options: dict[str, Any]
    revision: int
    """Raised by every change of the configuration."""

    updated_at: datetime


class Known(Row, frozen=True):
    """What the code knows of an agent; written over the row at start-up, never over its configuration."""

    id: str
    name: str
    category: AgentCategory
    description: str
    version: str
    timeout_s: int


class Filter(Row, frozen=True, kw_only=True):
    """Which agents; every part that is set must hold."""

    categories: Collection[AgentCategory] = ()
    enabled: bool | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        found: list[sa.ColumnElement[bool]] = []
        if self.categories:
            found.append(agents.c.category.in_(self.categories))
        if self.enabled is not None:
            found.append(agents.c.enabled.is_(self.enabled))
        return found


AGENT = Shape(Agent, agents)

_LAST_ACTIVE = sa.text(
    "SELECT agents.id, greatest("
    "(SELECT max(finished_at) FROM processing_steps AS done "
    "WHERE done.tenant_id = agents.tenant_id AND done.agent_id = agents.id), "
    "(SELECT max(started_at) FROM processing_steps AS running WHERE running.tenant_id = agents.tenant_id "
    "AND running.agent_id = agents.id AND running.status = 'processing')) FROM agents"
)


async def by_id(tx: Transaction, agent_id: str) -> Agent | None:
    """One agent, or None."""
    return await AGENT.first(tx, AGENT.select().where(agents.c.id == agent_id))


async def by_ids(tx: Transaction, ids: Collection[str]) -> list[Agent]:
    """The agents of those ids that exist, in no order."""
    return await AGENT.all(tx, AGENT.select().where(agents.c.id.in_(ids)))


async def everyone(tx: Transaction) -> list[Agent]:
    """All agents of the tenant, by category and id."""
    return await AGENT.all(tx, AGENT.select().order_by(agents.c.category, agents.c.id))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window) -> Page[Agent]:
    """One page of agents.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, AGENT, where=wanted.clauses(), order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter) -> int:
    """How many agents a filter selects."""
    return await total(tx, AGENT, wanted.clauses())


async def settle(tx: Transaction, known: Sequence[Known]) -> None:
    """Bring the descriptions of the tenant's agents up to the code's, adding those it has not got."""
    fresh = insert(agents).values(
        [
            {
                "tenant_id": tx.tenant,
                "id": agent.id,
                "implementation": agent.id,
                "name": agent.name,
                "category": agent.category,
                "description": agent.description,
                "version": agent.version,
                "timeout_s": agent.timeout_s,
            }
            for agent in known
        ]
    )
    told = ("name", "category", "description", "version")
    await tx.execute(
        fresh.on_conflict_do_update(
            index_elements=[agents.c.tenant_id, agents.c.id], set_={name: fresh.excluded[name] for name in told}
        )
    )


async def running_steps(tx: Transaction) -> dict[str, int]:
    """How many steps each agent is working on; agents without any are absent."""
    counted = await tx.rows(
        sa.select(processing_steps.c.agent_id, sa.func.count())
        .where(processing_steps.c.status == StepStatus.PROCESSING)
        .group_by(processing_steps.c.agent_id)
    )
    return dict(counted)


async def last_active(tx: Transaction) -> dict[str, datetime]:
    """When each agent last began or ended a step; agents that never did are absent."""
    return {agent_id: at for agent_id, at in await tx.rows(_LAST_ACTIVE) if at is not None}


async def mark_enabled(tx: Transaction, agent_id: str, *, enabled: bool) -> Agent | None:
    """Switch an agent on or off; None when there is no such agent."""
    return await _changed(tx, agent_id, {"enabled": enabled})


async def configure(tx: Transaction, agent_id: str, changes: Mapping[str, Any]) -> Agent | None:
    """Change some of an agent's configuration columns; None when there is no such agent."""
    return await _changed(tx, agent_id, changes)


async def _changed(tx: Transaction, agent_id: str, values: Mapping[str, Any]) -> Agent | None:
    statement = (
        sa.update(agents)
        .where(agents.c.id == agent_id)
        .values(**values, revision=agents.c.revision + 1, updated_at=sa.func.now())
    )
    agent = await AGENT.first(tx, statement.returning(*AGENT.columns))
    if agent is not None:
        await events.record(tx, Kind.AGENT_CHANGED, agent.id, {"enabled": agent.enabled, "revision": agent.revision})
    return agent


async def how_many_there_are(tx: Transaction) -> int:
    """How many agents the tenant has, switched on or not."""
    return await total(tx, AGENT, [])


async def add_alias(
    tx: Transaction, of: Agent, agent_id: str, *, name: str, category: AgentCategory, options: Mapping[str, Any]
) -> Agent | None:
    """An agent of the tenant's own that does what a built-in one does, in its own way; None when the id is taken."""
    fresh = insert(agents).values(
        tenant_id=tx.tenant,
        id=agent_id,
        implementation=of.implementation,
        name=name,
        category=category,
        description=of.description,
        version=of.version,
        timeout_s=of.timeout_s,
        options=dict(options),
    )
    made = await AGENT.first(tx, fresh.on_conflict_do_nothing().returning(*AGENT.columns))
    if made is not None:
        await events.record(tx, Kind.AGENT_CHANGED, made.id, {"enabled": made.enabled, "revision": made.revision})
    return made


async def needed_by(tx: Transaction, agent_id: str) -> int:
    """How many jobs that are not over have an agent in their chain."""
    wanted = jobs.c.status.in_((JobStatus.QUEUED, JobStatus.PROCESSING)), sa.literal(agent_id) == sa.any_(jobs.c.chain)
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(jobs).where(*wanted))
    return counted


async def remove(tx: Transaction, agent_id: str) -> bool:
    """Remove an agent of the tenant's own; False for a built-in one, and for none."""
    own = agents.c.id == agent_id, agents.c.implementation != agents.c.id
    removed = await tx.changed(sa.delete(agents).where(*own)) == 1
    if removed:
        await events.record(tx, Kind.AGENT_CHANGED, agent_id, {"removed": True})
    return removed
