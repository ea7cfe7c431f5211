"""The system itself: agents, queue, workers, logs, events, configuration."""

from collections.abc import Collection
from datetime import datetime

from db import agents, configuration, logs, queues, system_events, tallies, workers
from db.agents import Agent
from db.configuration import Configuration
from db.logs import LogLine
from db.models.work import JobStatus
from db.pages import Order, Page, Window
from db.queues import QueueState
from db.rows import Row
from db.system_events import SystemEvent
from db.workers import Worker
from resolvers.context import Context


class Queue(Row, frozen=True, kw_only=True):
    """The queue of jobs."""

    state: QueueState | None
    """What people decided about it; None when nothing ever was."""

    queued: int
    """Jobs that wait."""

    processing: int
    """Jobs that workers are at."""

    completed: int
    failed: int
    cancelled: int
    oldest_queued_at: datetime | None
    """Since when the job that has waited longest is there; None when none waits."""

    oldest_age_s: float | None
    """How long that is."""

    @property
    def paused(self) -> bool:
        """Whether no job is begun just now."""
        return self.state is not None and self.state.paused

    @property
    def refusing(self) -> bool:
        """Whether new jobs are turned away."""
        return self.state is not None and self.state.refusing


async def agent(context: Context, agent_id: str) -> Agent | None:
    """One agent, or None."""
    return await context.loaders.agent.load(agent_id)


async def agents_listed(context: Context, wanted: agents.Filter, order: Order, window: Window) -> Page[Agent]:
    """One page of agents."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await agents.listed(tx, wanted, order, window)


async def how_many_agents(context: Context, wanted: agents.Filter) -> int:
    """How many agents a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await agents.how_many(tx, wanted)


async def queue(context: Context) -> Queue:
    """The queue as it is now."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        state, counts, oldest = await queues.state(tx), await tallies.counts(tx), await queues.oldest_due(tx)
        now = await logs.moment(tx)
    age_s = None if oldest is None else round((now - oldest).total_seconds(), 3)
    return Queue(
        state=state,
        oldest_queued_at=oldest,
        oldest_age_s=age_s,
        **{status.value: counts[status] for status in JobStatus},
    )


async def workers_listed(context: Context, alive: bool | None, order: Order, window: Window) -> Page[Worker]:
    """One page of workers."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await workers.listed(tx, order, window, alive=alive)


async def worker(context: Context, worker_id: str) -> Worker | None:
    """One worker, or None."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await workers.by_id(tx, worker_id)


async def how_many_workers(context: Context, alive: bool | None) -> int:
    """How many workers there are."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await workers.how_many(tx, alive=alive)


async def logs_listed(context: Context, wanted: logs.Filter, order: Order, window: Window) -> Page[LogLine]:
    """One page of log lines."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.listed(tx, wanted, order, window)


async def log_lines(context: Context, lines: Collection[logs.Mention], wanted: logs.Filter) -> list[LogLine]:
    """Those of some lines that a filter selects and that are still there, the oldest first."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.chosen(tx, [line.id for line in lines], wanted)


async def how_many_logs(context: Context, wanted: logs.Filter) -> int:
    """How many log lines a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.how_many(tx, wanted)


async def events_listed(
    context: Context, wanted: system_events.Filter, order: Order, window: Window
) -> Page[SystemEvent]:
    """One page of system events."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await system_events.listed(tx, wanted, order, window)


async def how_many_events(context: Context, wanted: system_events.Filter) -> int:
    """How many system events a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await system_events.how_many(tx, wanted)


async def configuration_in_force(context: Context) -> Configuration | None:
    """The configuration in force, or None when nothing was ever set."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await configuration.in_force(tx)
