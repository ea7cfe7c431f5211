"""Versions of snapshots that were announced, for as long as somebody may still name them.

They are kept in Redis, so that a client may name one to another process than the one that told it, and the last few are
held here, decoded at most once. Redis away: only what this process holds is known, and everything else is as if it had
been forgotten.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import zstandard

from dataloaders.snapshot.encodings import Bodies, Encoder
from dataloaders.snapshot.flights import Flights
from dataloaders.snapshot.whole import Section, Snapshot, digests_of
from db import snapshots as stored
from db.redis import REDIS_AWAY, Redis
from db.snapshots import Announced, Envelope, Slot

HELD_BYTES: Final = 4 * 2**20
"""How much JSON of versions a process holds, of all tenants together."""

_DECODER: Final = msgspec.json.Decoder(Snapshot)


@dataclass(slots=True)
class Copy:
    """A snapshot as bytes, decoded when it is first asked for."""

    envelope: Envelope
    bodies: Bodies
    decoded: Snapshot | None = None
    digests: dict[str, str] | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot itself."""
        if self.decoded is None:
            self.decoded = _DECODER.decode(self.bodies.encoded)
        return self.decoded

    @property
    def collected_at(self) -> datetime:
        """When the newest of its sections was; a build in which all failed has none that is its own."""
        stale = self.snapshot.stale
        own = len(stale) < len(Section)
        return self.envelope.generated_at if own else max(part.since for part in stale if part.since is not None)

    def said(self) -> dict[str, str]:
        """The digests of its sections."""
        if self.digests is None:
            self.digests = digests_of(self.snapshot)
        return self.digests

    def unlike(self, said: Mapping[str, str]) -> list[str]:
        """The sections that are other than those of some digests."""
        return [name for name, digest in self.said().items() if said.get(name) != digest]


class Versions:
    """The versions that one process knows."""

    def __init__(self, redis: Redis, encoder: Encoder, *, away: Callable[[], bool]) -> None:
        """
        Args:
            away: whether Redis did not answer just now, and is left alone.
        """
        self._redis, self._encoder, self._away = redis, encoder, away
        self._held: OrderedDict[tuple[Slot, str], Copy] = OrderedDict()
        self._fetching = Flights[Copy | None]()

    async def of(self, slot: Slot, version: str) -> Copy | None:
        """One of them; None when it is not known any more, or never was."""
        held = self._held.get((slot, version))
        if held is not None:
            self._held.move_to_end((slot, version))
            return held
        if self._away():
            return None
        return await self._fetching.join((slot, version), lambda: self._fetched(slot, version))

    async def announced(self, slot: Slot) -> Announced:
        """Which ones there are; none while Redis does not say."""
        if self._away():
            return Announced((), {})
        try:
            return await stored.announced(self._redis, slot)
        except REDIS_AWAY:
            return Announced((), {})

    async def keep(self, slot: Slot, copy: Copy, sections: Collection[str]) -> Announced:
        """Keep one that is about to be announced for these sections; which ones had been before it.

        Raises what is in `REDIS_AWAY` when Redis is: what nobody else could read must not be announced.
        """
        packed = await asyncio.to_thread(zstandard.compress, copy.bodies.encoded)
        before = await stored.keep(self._redis, slot, copy.envelope.version, packed, sections)
        self._hold(slot, copy)
        return before

    async def close(self) -> None:
        """Fetch nothing any more."""
        await self._fetching.close()

    async def _fetched(self, slot: Slot, version: str) -> Copy | None:
        try:
            packed = await stored.packed(self._redis, slot, version)
        except REDIS_AWAY:
            return None
        if packed is None:
            return None
        encoded = await asyncio.to_thread(zstandard.decompress, packed)
        envelope = stored.envelope_of(encoded)
        if envelope is None:
            return None
        copy = Copy(envelope, self._encoder.bodies(encoded))
        self._hold(slot, copy)
        return copy

    def _hold(self, slot: Slot, copy: Copy) -> None:
        self._held[slot, copy.envelope.version] = copy
        size = sum(len(held.bodies.encoded) for held in self._held.values())
        while size > HELD_BYTES and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            size -= len(gone.bodies.encoded)
