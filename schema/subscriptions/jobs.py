"""What can be watched of jobs."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from db.events import Kind
from db.jobs import Job as JobRow
from guards.errors import NotFound
from guards.permissions import Permission
from resolvers.queries import jobs
from schema.access import Seen
from schema.actions import found
from schema.fields import Info, described, nested, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.jobs import Job


@described
class JobChange(Change):
    """A job has changed."""

    @nested()
    def job_id(self) -> strawberry.ID:
        """Which it is, also when it was removed."""
        return strawberry.ID(self.event.entity_id)

    @nested(gives=Job | None)
    async def job(self, info: Info) -> JobRow | None:
        """As it is now; null when it was removed."""
        return await jobs.by_id(info.context, found("job", self.event.entity_id))


JobUpdate = Annotated[JobChange | Resync, strawberry.union("JobUpdate", description="A job has changed, or some did.")]


@described
class Jobs:
    """Jobs as they change."""

    @watches(Permission.JOB_READ, seen=Seen.BY_SCOPE)
    async def job_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[JobUpdate]:
        """Changes of one job, or of all that the caller may see; goes on when it has ended or was removed."""
        entity = None if id is None else found("job", id)
        if entity is not None and await jobs.by_id(info.context.afresh(), entity) is None:
            raise NotFound(f"there is no job {entity}")
        async for update in watched(
            info.context,
            Kind.JOB_CHANGED,
            after,
            lambda event: JobChange(event=event),
            owner=info.context.caller.owner_filter,
            entity=None if entity is None else str(entity),
        ):
            yield update
