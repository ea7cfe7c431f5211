"""Agents: how they are set, what they have to do, and how they do, as far as the caller may see it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from dataloaders.batches import Stretch
from dataloaders.snapshot.agents_workers import shown
from db import agents, logs
from db.agents import Agent, AgentAvailability, AgentStatus, Record, Trouble
from db.jobs import Job
from db.logs import Filter, LogLine
from db.models.records import Severity
from db.pages import Order, Page, Window, cursor_of
from db.rows import Row
from guards.errors import NotFound
from resolvers.context import Context
from workers.agents import roster

NEWEST_FIRST = Order("created_at")
TURN = Order("turn", descending=False)
"""What cursors of a queue are marked with: they tell its jobs apart, and are those of no other list."""


class Roster(Row, frozen=True, kw_only=True):
    """All agents at once."""

    agents: list[Agent]
    """By category and id; a tenant has a hundred at most."""

    total: int
    active: int
    """Those switched on."""


class Duties(Row, frozen=True, kw_only=True):
    """What an agent has to do."""

    running: int
    """Steps it works on."""

    waiting: int
    """Jobs whose turn is its, whosever they are."""

    max: int
    """How many it may work on at once, over all workers."""


class Health(Row, frozen=True, kw_only=True):
    """Whether an agent does what it is asked to, as far as that is measured."""

    healthy: bool | None
    """False when nobody is there to run it, or its last three runs failed; null while it is switched off."""

    reason: str | None
    """Why it is not; null when it is."""

    last_heartbeat_at: datetime | None
    """When a worker was heard of last, each of which runs every agent; null when none ever was."""

    last_error_at: datetime | None
    """When a run of it failed last, among its newest thousand; null when none did."""

    last_error: str | None
    """Why, in words; null also when the job is not the caller's to see."""


async def everyone(context: Context) -> list[Agent]:
    """All agents of the tenant, by category and id."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await agents.everyone(tx)


async def roster_of(context: Context) -> Roster:
    """All agents of the tenant, counted."""
    found = await everyone(context)
    return Roster(agents=found, total=len(found), active=sum(agent.status is AgentStatus.ACTIVE for agent in found))


async def how_many_available(context: Context, some: Sequence[Agent]) -> int:
    """How many of some agents could begin a step."""
    able = await asyncio.gather(*(availability(context, agent) for agent in some))
    return sum(each is AgentAvailability.AVAILABLE for each in able)


async def duties(context: Context, agent: Agent) -> Duties:
    """What an agent has to do."""
    load = await context.loaders.load_by_agent.load(agent.id)
    return Duties(
        running=0 if load is None else load.running,
        waiting=0 if load is None else load.waiting,
        max=agent.max_concurrent,
    )


async def availability(context: Context, agent: Agent) -> AgentAvailability:
    """Whether an agent could begin a step."""
    load = await context.loaders.load_by_agent.load(agent.id)
    signs = await context.loaders.signs.load(context.caller.tenant)
    return agent.availability(0 if load is None else load.running, workers=signs.alive > 0)


async def last_activity(context: Context, agent_id: str) -> datetime | None:
    """When an agent last began or ended a step; None when it never did."""
    return await context.loaders.last_activity_by_agent.load(agent_id)


async def performance(context: Context, agent_id: str) -> Record:
    """How the newest runs of an agent went."""
    found = await context.loaders.record_by_agent.load(agent_id)
    return found or Record(agent_id, 0, 0, 0, 0, None, None, None, None)


async def health(context: Context, agent: Agent) -> Health:
    """Whether an agent does what it is asked to."""
    trouble = await context.loaders.trouble_by_agent.load(agent.id)
    trouble = trouble or Trouble(agent.id, failing=False, last_error_at=None, last_error=None)
    signs = await context.loaders.signs.load(context.caller.tenant)
    healthy: bool | None = False
    if not agent.enabled:
        healthy, reason = None, "it is switched off"
    elif not signs.alive:
        reason = "no worker is there to run it"
    elif trouble.failing:
        reason = f"its last {agents.IN_A_ROW} runs failed"
    else:
        healthy, reason = True, None
    return Health(
        healthy=healthy,
        reason=reason,
        last_heartbeat_at=signs.heartbeat_at,
        last_error_at=trouble.last_error_at,
        last_error=trouble.last_error,
    )


async def queue(context: Context, agent_id: str, window: Window) -> Page[Job]:
    """The jobs that wait for an agent, as far as the caller may see them, in the order of their turns."""
    wanted = Stretch(agent_id, window.size + 1, window.skipped)
    found = await context.loaders.queue_by_agent.load(wanted)
    items = found[: window.size]
    return Page(
        items=items,
        cursors=[cursor_of(TURN, job.priority, job.id) for job in items],
        more_after=len(found) > window.size,
        more_before=window.skipped > 0,
    )


async def how_many_wait(context: Context, agent_id: str) -> int:
    """How many of those there are."""
    return await context.loaders.waiting_by_agent.load(agent_id)


async def logs_listed(context: Context, agent_id: str, wanted: Filter, window: Window) -> Page[LogLine]:
    """One page of what was written down of an agent's steps, the newest first.

    Raises:
        NotFound: there is no such agent.
    """
    if await context.loaders.agent.load(agent_id) is None:
        raise NotFound(f"there is no agent {agent_id[:50]}")
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.listed(tx, wanted, NEWEST_FIRST, window)


async def how_many_logs(context: Context, wanted: Filter) -> int:
    """How many of those there are."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.how_many(tx, wanted)


def logged(agent_id: str, levels: tuple[Severity, ...]) -> Filter:
    """Which lines are those of an agent's steps."""
    return Filter(source=agents.source_of(agent_id), levels=levels)


def capabilities(agent: Agent) -> tuple[str, ...]:
    """What an agent can do; nothing is known of those that other projects offer."""
    return roster.CAPABILITIES.get(agent.implementation, ())


def environment(agent: Agent) -> dict[str, object]:
    """An agent's own options, with whatever is named like a secret hidden."""
    return shown(agent.options)
