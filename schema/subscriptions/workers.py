"""What can be watched of workers."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from db.events import Kind
from db.workers import Worker as WorkerRow
from guards.errors import NotFound
from guards.permissions import Permission
from resolvers.queries import system
from schema.access import Seen
from schema.fields import Info, described, nested, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.system import Worker


@described
class WorkerChange(Change):
    """A worker came, went or fell silent, takes jobs or takes none, or was asked for something else."""

    @nested()
    def worker_id(self) -> str:
        """Which it is."""
        return self.event.entity_id

    @nested(gives=Worker | None)
    async def worker(self, info: Info) -> WorkerRow | None:
        """As it is now; null when it was forgotten."""
        return await system.worker(info.context, self.event.entity_id)


WorkerUpdate = Annotated[
    WorkerChange | Resync, strawberry.union("WorkerUpdate", description="A worker has changed, or some did.")
]


@described
class Workers:
    """Workers as they change."""

    @watches(Permission.WORKER_READ, seen=Seen.BY_SCOPE)
    async def worker_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[WorkerUpdate]:
        """Changes of one worker, or of all; not that one has a job in hand, nor each heartbeat."""
        if id is not None and await system.worker(info.context, id) is None:
            raise NotFound(f"there is no worker {id}")
        async for update in watched(
            info.context, Kind.WORKER_CHANGED, after, lambda event: WorkerChange(event=event), entity=id
        ):
            yield update
