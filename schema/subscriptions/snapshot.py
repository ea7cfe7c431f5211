"""What can be watched of the admin snapshot."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from dataloaders.snapshot import TimeRange
from db.events import Kind
from guards.permissions import Permission
from schema.access import Seen
from schema.fields import Info, described, nested, requires, shown
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.snapshot import Snapshot


@described
class SnapshotChange(Change):
    """The snapshot was built anew."""

    time_range: strawberry.Private[TimeRange]

    @nested()
    async def snapshot(self, info: Info) -> Snapshot:  # type: ignore[valid-type]  # made at run time
        """As it is now."""
        whole: Snapshot = shown(await info.context.loaders.snapshot.load((info.context.caller.tenant, self.time_range)))  # type: ignore[valid-type]
        return whole


SnapshotUpdate = Annotated[
    SnapshotChange | Resync, strawberry.union("SnapshotUpdate", description="The snapshot was built anew, or often.")
]


@described
class Snapshots:
    """The snapshot as it changes."""

    @requires(Permission.SNAPSHOT_READ, seen=Seen.CACHED)
    async def snapshot_changed(
        self, info: Info, time_range: TimeRange = TimeRange.DAY, after: str | None = None
    ) -> AsyncIterator[SnapshotUpdate]:
        """The snapshot, each time it was built anew."""
        async for update in watched(
            info.context,
            Kind.SNAPSHOT_CHANGED,
            after,
            lambda event: SnapshotChange(event=event, time_range=time_range),
        ):
            yield update
