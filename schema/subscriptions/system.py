"""What can be watched of the system itself."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from db.events import Kind
from guards.permissions import Permission
from resolvers.queries import system
from schema.access import Seen
from schema.fields import Info, described, nested, shown, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.system import Queue


@described
class QueueChange(Change):
    """The queue was paused, resumed, or decided about otherwise."""

    @nested()
    async def queue(self, info: Info) -> Queue:
        """As it is now."""
        return shown(await system.queue(info.context))  # type: ignore[no-any-return]


QueueUpdate = Annotated[
    QueueChange | Resync, strawberry.union("QueueUpdate", description="The queue was decided about, or was so before.")
]


@described
class System:
    """The system as it changes."""

    @watches(Permission.QUEUE_READ, seen=Seen.BY_TENANT)
    async def queue_changed(self, info: Info, after: str | None = None) -> AsyncIterator[QueueUpdate]:
        """Decisions about the queue."""
        async for update in watched(info.context, Kind.QUEUE_CHANGED, after, lambda event: QueueChange(event=event)):
            yield update
