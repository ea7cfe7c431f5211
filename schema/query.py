"""What can be read. Every field says who may use it, and is one call into `resolvers.queries`.

Whatever can be refused can be null, so that an operation still gets what it may see beside what it may not.
"""

from functools import partial
from typing import Any

import strawberry

from dataloaders.snapshot import Snapshot as SnapshotRow
from dataloaders.snapshot import TimeRange
from db import agents as agent_rows
from db import clips as clip_rows
from db import jobs as job_rows
from db import uploads as upload_rows
from db import users as user_rows
from db.configuration import Configuration as ConfigurationRow
from db.rows import Row
from guards.permissions import Permission
from resolvers import identity
from resolvers.queries import health, jobs, nodes, system, uploads
from schema.connections import Connection, connection, window
from schema.fields import Info, described, public, requires
from schema.inputs import (
    AgentFilter,
    AgentOrder,
    ClipFilter,
    ClipOrder,
    EventFilter,
    EventOrder,
    JobFilter,
    JobOrder,
    LogFilter,
    LogOrder,
    UploadFilter,
    UploadOrder,
    WorkerFilter,
    WorkerOrder,
)
from schema.scalars import uuid_of
from schema.types.agents import Agent
from schema.types.jobs import Clip, Job, Upload
from schema.types.nodes import Node
from schema.types.people import User
from schema.types.snapshot import Snapshot
from schema.types.system import Configuration, Health, LogLine, Queue, SystemEvent, Worker


@described
class Query:
    """What can be read."""

    @requires(Permission.ME_READ, gives=User | None)
    async def me(self, info: Info) -> user_rows.User | None:
        """Who is calling; null when they were removed since they signed in."""
        return await identity.me(info.context)

    @requires(Permission.SNAPSHOT_READ, gives=Snapshot | None)
    async def snapshot(self, info: Info, time_range: TimeRange = TimeRange.DAY) -> SnapshotRow:
        """Everything the console shows at once, at most a few seconds old."""
        return await info.context.loaders.snapshot.load((info.context.caller.tenant, time_range))

    @requires(Permission.JOB_READ, gives=Job | None)
    async def job(self, info: Info, id: strawberry.ID) -> job_rows.Job | None:
        """One job; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await jobs.by_id(info.context, key)

    @requires(Permission.JOB_READ, gives=Connection[Job] | None)
    async def jobs(
        self,
        info: Info,
        filter: JobFilter | None = None,
        order_by: JobOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Any]:
        """The jobs that the caller may see, the newest first unless told otherwise."""
        wanted = (filter or JobFilter()).wanted()
        page = await jobs.listed(
            info.context, wanted, (order_by or JobOrder()).order(), window(first, after, last, before)
        )
        return connection(page, partial(jobs.how_many, info.context, wanted))

    @requires(Permission.CLIP_READ, gives=Clip | None)
    async def clip(self, info: Info, id: strawberry.ID) -> clip_rows.Clip | None:
        """One clip; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await jobs.clip_by_id(info.context, key)

    @requires(Permission.CLIP_READ, gives=Connection[Clip] | None)
    async def clips(
        self,
        info: Info,
        filter: ClipFilter | None = None,
        order_by: ClipOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Any]:
        """The clips that the caller may see, the newest first unless told otherwise."""
        wanted = (filter or ClipFilter()).wanted()
        page = await jobs.clips_listed(
            info.context, wanted, (order_by or ClipOrder()).order(), window(first, after, last, before)
        )
        return connection(page, partial(jobs.how_many_clips, info.context, wanted))

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
    ) -> Connection[Any]:
        """The agents, by id unless told otherwise."""
        wanted = (filter or AgentFilter()).wanted()
        page = await system.agents_listed(
            info.context, wanted, (order_by or AgentOrder()).order(), window(first, after, last, before)
        )
        return connection(page, partial(system.how_many_agents, info.context, wanted))

    @requires(Permission.QUEUE_READ, gives=Queue | None)
    async def queue(self, info: Info) -> system.Queue:
        """The queue as it is now."""
        return await system.queue(info.context)

    @requires(Permission.UPLOAD_READ, gives=Upload | None)
    async def upload(self, info: Info, id: strawberry.ID) -> upload_rows.Upload | None:
        """One upload; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await info.context.loaders.upload.load(key)

    @requires(Permission.UPLOAD_READ, gives=Connection[Upload] | None)
    async def uploads(
        self,
        info: Info,
        filter: UploadFilter | None = None,
        order_by: UploadOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Any]:
        """The uploads that the caller may see, the newest first unless told otherwise."""
        wanted = (filter or UploadFilter()).wanted()
        page = await uploads.listed(
            info.context, wanted, (order_by or UploadOrder()).order(), window(first, after, last, before)
        )
        return connection(page, partial(uploads.how_many, info.context, wanted))

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
    ) -> Connection[Any]:
        """What the processes wrote, the newest first unless told otherwise."""
        wanted = (filter or LogFilter()).wanted()
        page = await system.logs_listed(
            info.context, wanted, (order_by or LogOrder()).order(), window(first, after, last, before)
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
    ) -> Connection[Any]:
        """What happened to the system itself, the newest first unless told otherwise."""
        wanted = (filter or EventFilter()).wanted()
        page = await system.events_listed(
            info.context, wanted, (order_by or EventOrder()).order(), window(first, after, last, before)
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
    ) -> Connection[Any]:
        """The worker processes, the one started last first unless told otherwise."""
        alive, sorted_by = filter.alive if filter else None, (order_by or WorkerOrder()).order()
        page = await system.workers_listed(info.context, alive, sorted_by, window(first, after, last, before))
        return connection(page, partial(system.how_many_workers, info.context, alive))

    @requires(Permission.CONFIG_READ, gives=Configuration | None)
    async def configuration(self, info: Info) -> ConfigurationRow | None:
        """The configuration in force; null when nothing was ever set."""
        return await system.configuration_in_force(info.context)

    @public(gives=Health)
    async def health(self, info: Info) -> health.Health:
        """Whether this process can serve."""
        return await health.health(info.context)

    @requires(Permission.ME_READ, gives=Node | None)
    async def node(self, info: Info, id: strawberry.ID) -> Row | None:
        """Anything by its id; null when there is nothing that the caller may see."""
        return await nodes.by_id(info.context, uuid_of(id) or id)
