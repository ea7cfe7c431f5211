"""What listeners are told of a snapshot: the very version that was announced, and what came before it.

An event names a version. Whoever is told of it reads that version, and not whatever this process happens to hold: it
may still have the one before. A version that is not kept any more is told as the newest that was announced; where none
is known at all, because Redis is away or was emptied, this process's own copy is, once it is not older.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

import msgspec

from dataloaders.snapshot.versions import Copy, Versions
from dataloaders.snapshot.whole import made_ms
from db.events import Event
from db.snapshots import Slot

LOOK_EVERY_S: Final = 0.1
PATIENCE_S: Final = 3.0
"""How long the snapshot that was announced is waited for; then the one that is there is told."""


class Announcement(msgspec.Struct, frozen=True):
    """What an event says of a snapshot."""

    version: str | None = None
    sections: list[str] = []
    """Those that are others than when they were told last."""

    before: list[tuple[str, list[str]]] = []
    """The versions that had been the last to tell of a section, newest first, with the sections; those still kept."""

    @classmethod
    def of(cls, event: Event) -> "Announcement":
        """What the event of a snapshot says."""
        return msgspec.convert(event.payload, cls)

    def since(self, sections: Collection[str]) -> str | None:
        """The version that was told before it to who asks for these sections; None when it is not kept any more."""
        return next((version for version, told in self.before if not set(told).isdisjoint(sections)), None)


class Newest(msgspec.Struct, frozen=True):
    """The newest announcement of a snapshot."""

    copy: Copy
    passed: frozenset[str]
    """The versions that it stands for: whoever knows it need not be told of them."""


class Announcements:
    """The announcements of one process."""

    def __init__(
        self, versions: Versions, current: Callable[[Slot], Awaitable[Copy]], *, patience_s: float = PATIENCE_S
    ) -> None:
        """
        Args:
            current: reads the copy that this process serves.
        """
        self._versions, self._current, self._patience_s = versions, current, patience_s

    async def of(self, slot: Slot, version: str | None) -> Copy:
        """The snapshot that was announced; a newer one where that is not known any more, or None names none.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        if version is None:
            return await self._current(slot)
        known = await self._versions.of(slot, version)
        if known is not None:
            return known
        copy = await self._current(slot)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                while not _since(version, copy):
                    await asyncio.sleep(LOOK_EVERY_S)
                    copy = await self._current(slot)
        if copy.envelope.version == version:
            return copy
        newest = (await self.newest(slot)).copy
        return newest if _since(version, newest) else copy

    async def newest(self, slot: Slot, *, than: str = "") -> Newest:
        """The version that was announced last; the one that is there, where none was.

        Args:
            than: a version that may never have been announced; nobody is told an older one for it.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        kept = (await self._versions.announced(slot)).kept
        copy = await self._versions.of(slot, kept[-1]) if kept else None
        if copy is None or not _since(than, copy):
            copy = await self._current(slot)
        return Newest(copy, frozenset({*kept, copy.envelope.version}))

    async def since(self, slot: Slot, held: str, newest: Copy) -> Announcement | None:
        """What is told of a version to who holds another one, and only to them; None when it is the one they hold."""
        if held == newest.envelope.version:
            return None
        older = await self._versions.of(slot, held)
        if older is None:
            return Announcement(newest.envelope.version, newest.unlike({}))
        return Announcement(newest.envelope.version, newest.unlike(older.said()), [(held, list(older.said()))])


def _since(version: str, copy: Copy) -> bool:
    """Whether a copy is at least as new as a version."""
    return made_ms(copy.envelope.version) >= made_ms(version)
