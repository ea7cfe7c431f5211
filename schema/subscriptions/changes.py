"""What every subscription tells: changes that carry their cursor, or one `Resync` where some of them are lost.

An event only says that something changed. What a change shows is read afresh, beneath it, by whoever executes it, once
for all who asked the same (`schema.watching`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import ClassVar, TypeVar
from uuid import UUID

import strawberry

from dataloaders.snapshot import TimeRange
from db.events import Cursor, Event, Kind
from guards.errors import BadInput
from guards.permissions import Permission
from resolvers.context import Context
from resolvers.live import ResyncReason
from resolvers.queries import snapshots
from schema.fields import Info, described, nested
from schema.watching import Placed


@described
class Change(Placed):
    """Something has changed."""

    event: strawberry.Private[Event]

    @property
    def place(self) -> Cursor:
        """The event's."""
        return self.event.cursor

    @nested()
    def cursor(self) -> str:
        """Give it as `after` to go on from here."""
        return str(self.event.cursor)


@described
class Resync(Placed):
    """Changes were lost to this subscription: read anew whatever it is about. What comes after this is whole."""

    shared: ClassVar[bool] = False

    begun_at: strawberry.Private[Cursor]

    reason: ResyncReason

    @property
    def place(self) -> Cursor:
        """Where the subscription goes on."""
        return self.begun_at

    @nested()
    def cursor(self) -> str:
        """Give it as `after` to go on from here."""
        return str(self.begun_at)

    @nested()
    async def snapshot_version(self, info: Info) -> str | None:
        """The version of the snapshot that there is now; null when there is none, or the caller may not read it."""
        if not info.context.may(Permission.SNAPSHOT_READ):
            return None
        return (await snapshots.state(info.context, TimeRange.DAY)).version


C = TypeVar("C", bound=Change)


async def watched(
    context: Context,
    kinds: Kind | Collection[Kind],
    after: str | None,
    change: Callable[[Event], C],
    *,
    owner: UUID | None = None,
    owned: Collection[Kind] | None = None,
    entity: str | None = None,
    wants: Callable[[Event], bool] | None = None,
    opening: Callable[[Cursor], Awaitable[C | None]] | None = None,
    coalesced: bool = True,
) -> AsyncIterator[C | Resync]:
    """The changes of some kinds that the caller may hear of, as long as they listen.

    Args:
        after: the cursor to begin after; None begins now. What the transport says stands above it.
        change: makes what is told of an event.
        owner: only what is theirs.
        owned: of which kinds that is asked; None for all of them.
        entity: only of the thing of that id.
        wants: only events that this says yes to.
        opening: makes what is told before all others, given where the stream begins; None of nothing.
        coalesced: whether a newer event about a thing may stand for older ones to who is behind.
    """
    wanted = (kinds,) if isinstance(kinds, Kind) else kinds
    begin = _cursor(context.after or after)
    async with context.services.hub.listen(
        context.caller.tenant,
        wanted,
        owner=owner,
        owned=owned,
        entity=entity,
        wants=wants,
        after=begin,
        coalesced=coalesced,
    ) as told:
        if context.begun is not None:
            context.begun(told.position)
        if told.resync is not None:
            yield Resync(begun_at=told.position, reason=told.resync)
        if opening is not None and (first := await opening(told.position)) is not None:
            yield first
        async for event in told:
            yield change(event)


def _cursor(after: str | None) -> Cursor | None:
    try:
        return None if after is None else Cursor.parsed(after)
    except ValueError as error:
        raise BadInput("after: that is no cursor of a change") from error
