"""What can be watched. An event only says that something changed; how it stands now is read afresh for each.

Every change carries its cursor: who lost the connection asks again with `after`, and misses nothing that is on record.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import strawberry

from dataloaders.snapshot import TimeRange
from db.events import Cursor, Event, Kind
from guards.errors import BadInput, NotFound
from guards.permissions import Permission
from resolvers.context import Context
from resolvers.queries import jobs, operations, system
from schema.access import Seen
from schema.actions import found
from schema.fields import Info, described, requires, shown
from schema.types.jobs import Job
from schema.types.operations import Operation
from schema.types.snapshot import Snapshot
from schema.types.system import Queue


@described
class JobChange:
    """A job has changed."""

    cursor: str
    """Give it as `after` to go on from here."""

    job: Job | None
    """As it is now; null when it was removed."""


@described
class OperationChange:
    """An action on its way has come further, or ended."""

    cursor: str
    """Give it as `after` to go on from here."""

    operation: Operation | None
    """As it is now; null when it was removed."""


@described
class QueueChange:
    """The queue was paused, resumed, or decided about otherwise."""

    cursor: str
    """Give it as `after` to go on from here."""

    queue: Queue


@described
class SnapshotChange:
    """The snapshot was built anew."""

    cursor: str
    """Give it as `after` to go on from here."""

    snapshot: Snapshot  # type: ignore[valid-type]  # made at run time


@described
class Subscription:
    """What can be watched."""

    @requires(Permission.JOB_READ)
    async def job_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[JobChange]:
        """Changes of one job, or of all that the caller may see."""
        watched = None if id is None else found("job", id)
        if watched is not None and await jobs.by_id(afresh(info.context), watched) is None:
            raise NotFound(f"there is no job {watched}")
        entity = None if watched is None else str(watched)
        async for event in _told(info.context, Kind.JOB_CHANGED, after, entity=entity):
            job = await jobs.by_id(afresh(info.context), found("job", event.entity_id))
            yield JobChange(cursor=str(event.cursor), job=shown(job))

    @requires(Permission.OPERATION_READ, Permission.ME_READ)
    async def operation_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[OperationChange]:
        """Changes of one action on its way, or of all that the caller may see."""
        watched = None if id is None else found("operation", id)
        if watched is not None and await operations.by_id(info.context, watched) is None:
            raise NotFound(f"there is no operation {watched}")
        entity = None if watched is None else str(watched)
        async for event in _told(info.context, Kind.OPERATION_CHANGED, after, entity=entity):
            operation = await operations.by_id(info.context, found("operation", event.entity_id))
            yield OperationChange(cursor=str(event.cursor), operation=shown(operation))

    @requires(Permission.QUEUE_READ, seen=Seen.BY_TENANT)
    async def queue_changed(self, info: Info, after: str | None = None) -> AsyncIterator[QueueChange]:
        """Decisions about the queue."""
        async for event in _told(info.context, Kind.QUEUE_CHANGED, after):
            yield QueueChange(cursor=str(event.cursor), queue=shown(await system.queue(info.context)))

    @requires(Permission.SNAPSHOT_READ, seen=Seen.CACHED)
    async def snapshot_changed(
        self, info: Info, time_range: TimeRange = TimeRange.DAY, after: str | None = None
    ) -> AsyncIterator[SnapshotChange]:
        """The snapshot, each time it was built anew."""
        tenant = info.context.caller.tenant
        async for event in _told(info.context, Kind.SNAPSHOT_CHANGED, after):
            whole = await afresh(info.context).loaders.snapshot.load((tenant, time_range))
            yield SnapshotChange(cursor=str(event.cursor), snapshot=shown(whole))


def afresh(context: Context) -> Context:
    """The same caller's context with loaders that have read nothing yet, for one event."""
    return replace(context, loaders=context.loaders.fresh())


async def _told(context: Context, kind: Kind, after: str | None, *, entity: str | None = None) -> AsyncIterator[Event]:
    """Events of a kind that the caller may hear of."""
    caller = context.caller
    owners = {Kind.JOB_CHANGED: caller.owner_filter, Kind.OPERATION_CHANGED: operations.owner(context)}
    async with context.services.hub.listen(
        caller.tenant, (kind,), owner=owners.get(kind), entity=entity, after=_cursor(after)
    ) as told:
        async for event in told:
            yield event


def _cursor(after: str | None) -> Cursor | None:
    try:
        return None if after is None else Cursor.parsed(after)
    except ValueError as error:
        raise BadInput("after: that is no cursor of a change") from error
