"""What can be watched of the admin snapshot: the sections that changed, and what differs from the version before.

An event names the version that was announced, and the one that was told before it to those who ask for the same
sections. So everybody who listens is told the same patch, whenever they came. Only what somebody is told first who
comes back with a version of their own (`from`) is theirs alone: it leads from that version to the newest, and the next
one from there to where the others are, who may have been told of their sections long before.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
import strawberry
from strawberry.scalars import JSON

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.announcements import Announcement
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.patches import Operations
from dataloaders.snapshot.versions import Copy
from dataloaders.snapshot.whole import Section
from db.events import Cursor, Event, Kind
from db.snapshots import Slot
from guards.errors import BadInput
from guards.permissions import Permission
from schema.access import Seen
from schema.fields import Info, described, nested, shown, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.snapshot import Snapshot


class SnapshotWholeReason(StrEnum):
    """Why the whole is told, and not what differs."""

    UNKNOWN = "unknown"
    """The version before is not known any more, or there was none."""

    SMALLER = "smaller"
    """The whole is smaller than what differs."""


@described
class SnapshotPatch:
    """What differs from the version before, for clients that hold a snapshot as JSON; or else the whole."""

    since: str | None = strawberry.field(name="from")
    """The version that the operations apply to; null when there are none."""

    operations: JSON | None
    """A JSON Patch (RFC 6902); null when the whole is told."""

    reason: SnapshotWholeReason | None
    """Why the whole is told; null when it is not."""

    newer: strawberry.Private[Copy]

    @nested()
    def document(self) -> JSON | None:
        """The whole as JSON, as `/api/v1/admin/ssot` has it in its `data`; null when there are operations."""
        return None if self.reason is None else msgspec.json.decode(self.newer.bodies.encoded)


@described
class SnapshotChange(Change):
    """The snapshot has changed."""

    slot: strawberry.Private[Slot]
    asked: strawberry.Private[frozenset[Section]]

    @nested()
    async def version(self, info: Info) -> str:
        """The version that is told of; hold it, and give it as `from` when you come back."""
        return (await self._told(info)).envelope.version

    @nested()
    def previous_version(self) -> str | None:
        """The one that was told before it of these sections; null when it is not known any more."""
        return self._announced.since(self.asked)

    @nested()
    def changed(self) -> list[Section]:
        """The sections that changed since then, of those that were asked for."""
        return [section for section in Section if section in self.asked and section in self._announced.sections]

    @nested()
    async def sections(self, info: Info) -> Snapshot:  # type: ignore[valid-type]  # made at run time
        """The snapshot with the sections that changed, of those that were asked for; all others are null."""
        unchanged = dict.fromkeys(set(Section) - set(self.changed()))
        whole: Snapshot = shown(msgspec.structs.replace((await self._told(info)).snapshot, **unchanged))  # type: ignore[valid-type]
        return whole

    @nested()
    async def snapshot(self, info: Info) -> Snapshot:  # type: ignore[valid-type]  # made at run time
        """The whole of that version; of a newer one when that is not known any more."""
        whole: Snapshot = shown((await self._told(info)).snapshot)  # type: ignore[valid-type]
        return whole

    @nested()
    async def patch(self, info: Info) -> SnapshotPatch:
        """What differs from the version before in the JSON of all sections, whichever were asked for."""
        snapshots, newer, since = info.context.services.snapshots, await self._told(info), self.previous_version()
        older = None if since is None else await snapshots.versions.of(self.slot, since)
        operations: Operations | None = None
        if older is not None:
            operations = await snapshots.patches.between(self.slot, older, newer)
        if operations is not None:
            return SnapshotPatch(since=since, operations=shown(operations), reason=None, newer=newer)
        reason = SnapshotWholeReason.UNKNOWN if older is None else SnapshotWholeReason.SMALLER
        return SnapshotPatch(since=None, operations=None, reason=reason, newer=newer)

    @property
    def _announced(self) -> Announcement:
        return Announcement.of(self.event)

    async def _told(self, info: Info) -> Copy:
        return await info.context.loaders.announced.load((self.slot, self._announced.version))


class Return(SnapshotChange):
    """What leads from the version that one client holds, and no other."""

    shared: ClassVar[bool] = False


SnapshotUpdate = Annotated[
    SnapshotChange | Resync,
    strawberry.union("SnapshotUpdate", description="The snapshot has changed, or did so unheard."),
]


@described
class Snapshots:
    """The snapshot as it changes."""

    @watches(Permission.SNAPSHOT_READ, seen=Seen.CACHED)
    async def snapshot_changed(
        self,
        info: Info,
        sections: list[Section] | None = None,
        time_range: TimeRange = TimeRange.DAY,
        after: str | None = None,
        since: Annotated[str | None, strawberry.argument(name="from")] = None,
    ) -> AsyncIterator[SnapshotUpdate]:
        """The snapshot, each time that one of some sections has changed, or any.

        Who names the version they hold as `from`, or an empty one for none, is told at once what has changed since in
        these sections, if anything has; `after` is not needed then.
        """
        asked, slot = _asked(sections), slot_of(info.context.caller.tenant, time_range)
        # What a transport takes up again goes on from where it was, whatever its document said when it began.
        returning = since is not None and info.context.after is None
        announcements, passed = info.context.services.snapshots.announcements, set[str | None]()
        held = since if returning else None

        async def led(newer: Copy, place: Cursor) -> Return | None:
            """What leads from the version they hold to a newer one; None when these sections are the same in both."""
            nonlocal held
            announced = await announcements.since(slot, held or "", newer)
            if announced is None or asked.isdisjoint(announced.sections):
                return None
            held = announced.version
            return _return(slot, asked, announced, place)

        async def opening(place: Cursor) -> Return | None:
            newest = await announcements.newest(slot, than=held or "")
            passed.update(newest.passed)
            return await led(newest.copy, place)

        async with info.context.services.snapshots.followers.of(slot):
            async for update in watched(
                info.context,
                Kind.SNAPSHOT_CHANGED,
                None if returning else after,
                lambda event: SnapshotChange(event=event, slot=slot, asked=asked),
                entity=slot.about,
                wants=None if sections is None else wants(asked),
                opening=opening if returning else None,
                # A newer one tells of other sections, and not of those that an older one told of.
                coalesced=False,
            ):
                if held is None or type(update) is not SnapshotChange:
                    yield update
                    continue
                announced = Announcement.of(update.event)
                if announced.version in passed:
                    # It came while the first answer was made, which holds what it is about.
                    continue
                change: SnapshotChange | None = update
                if announced.since(asked) != held:
                    change = await led(await announcements.of(slot, announced.version), update.event.cursor)
                if change is not None:
                    held = None
                    yield change


def _asked(sections: Sequence[Section] | None) -> frozenset[Section]:
    if sections is None:
        return frozenset(Section)
    if not sections:
        raise BadInput("sections: name one at least, or leave them out for all")
    return frozenset(sections)


def wants(asked: frozenset[Section]) -> Callable[[Event], bool]:
    """Whether an event tells of one of these sections."""
    return lambda event: not asked.isdisjoint(Announcement.of(event).sections)


def _return(slot: Slot, asked: frozenset[Section], announced: Announcement, place: Cursor) -> Return:
    """The change that one client is told, as if it had happened just now."""
    payload: dict[str, Any] = msgspec.to_builtins(announced)
    event = Event(place, slot.tenant, Kind.SNAPSHOT_CHANGED, slot.about, None, payload, datetime.now(UTC))
    return Return(event=event, slot=slot, asked=asked)
