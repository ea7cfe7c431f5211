"""What can be read of the system itself."""

from functools import partial
from typing import Any

import strawberry

from dataloaders.snapshot import Snapshot as SnapshotRow
from dataloaders.snapshot import State, TimeRange
from db import agents as agent_rows
from db.configuration import Configuration as ConfigurationRow
from guards.permissions import Permission
from resolvers.queries import health, snapshots, system
from schema.access import Seen
from schema.connections import Connection, connection, window
from schema.fields import Info, described, public, requires
from schema.inputs import (
    AgentFilter,
    AgentOrder,
    EventFilter,
    EventOrder,
    LogFilter,
    LogOrder,
    WorkerFilter,
    WorkerOrder,
)
from schema.types.agents import Agent
from schema.types.snapshot import Snapshot, SnapshotState
from schema.types.system import Configuration, Health, LogLine, SystemEvent, Worker


@described
class System:
    """The system as it is."""

    @requires(Permission.SNAPSHOT_READ, gives=Snapshot | None, seen=Seen.CACHED)
    async def snapshot(self, info: Info, time_range: TimeRange = TimeRange.DAY) -> SnapshotRow:
        """Everything the console shows at once, at most a few seconds old."""
        return await info.context.loaders.snapshot.load((info.context.caller.tenant, time_range))

    @requires(Permission.SNAPSHOT_READ, gives=SnapshotState | None)
    async def snapshot_state(self, info: Info, time_range: TimeRange = TimeRange.DAY) -> State:
        """How the snapshot stands: how old it is, and what of it could not be collected."""
        return await snapshots.state(info.context, time_range)

    @requires(Permission.AGENT_READ, gives=Agent | None)
    async def agent(self, info: Info, id: strawberry.ID) -> agent_rows.Agent | None:
        """One agent; null when there is none."""
        return await system.agent(info.context, id)

    @requires(Permission.AGENT_READ, gives=Connection[Agent] | None)
    async def agents(
        self,
        info: Info,
        filter: AgentFilter | None = None,
        order_by: AgentOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """The agents, by id unless told otherwise."""
        wanted = (filter or AgentFilter()).wanted()
        page = await system.agents_listed(
            info.context, wanted, (order_by or AgentOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(system.how_many_agents, info.context, wanted))

    @requires(Permission.LOG_READ, gives=Connection[LogLine] | None)
    async def logs(
        self,
        info: Info,
        filter: LogFilter | None = None,
        order_by: LogOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """What the processes wrote, the newest first unless told otherwise."""
        wanted = (filter or LogFilter()).wanted()
        page = await system.logs_listed(
            info.context, wanted, (order_by or LogOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(system.how_many_logs, info.context, wanted))

    @requires(Permission.EVENT_READ, gives=Connection[SystemEvent] | None)
    async def events(
        self,
        info: Info,
        filter: EventFilter | None = None,
        order_by: EventOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """What happened to the system itself, the newest first unless told otherwise."""
        wanted = (filter or EventFilter()).wanted()
        page = await system.events_listed(
            info.context, wanted, (order_by or EventOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(system.how_many_events, info.context, wanted))

    @requires(Permission.WORKER_READ, gives=Connection[Worker] | None)
    async def workers(
        self,
        info: Info,
        filter: WorkerFilter | None = None,
        order_by: WorkerOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """The worker processes, the one started last first unless told otherwise."""
        alive, sorted_by = filter.alive if filter else None, (order_by or WorkerOrder()).order()
        page = await system.workers_listed(info.context, alive, sorted_by, window(first, after, last, before, offset))
        return connection(page, partial(system.how_many_workers, info.context, alive))

    @requires(Permission.CONFIG_READ, gives=Configuration | None)
    async def configuration(self, info: Info) -> ConfigurationRow | None:
        """The configuration in force; null when nothing was ever set."""
        return await system.configuration_in_force(info.context)

    @public(gives=Health)
    async def health(self, info: Info) -> health.Health:
        """Whether this process can serve."""
        return await health.health(info.context)
