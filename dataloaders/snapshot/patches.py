"""What differs between two versions of a snapshot, as a JSON Patch (RFC 6902), made once for all who ask.

It is made away from the event loop, and kept while there is room. Applied to the JSON of the older version it gives the
JSON of the newer one.
"""

import asyncio
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import jsonpatch
import msgspec

from dataloaders.snapshot.flights import Flights
from dataloaders.snapshot.versions import Copy
from db.snapshots import Slot

HELD_BYTES: Final = 2**20
"""How much JSON of patches a process holds, of all tenants together."""

ENTRY_BYTES: Final = 256
"""What one counts for at least, so that there are not too many empty ones."""

Operations = list[dict[str, Any]]
"""A JSON Patch."""


class _Pair(NamedTuple):
    slot: Slot
    older: str
    newer: str


class Patch(NamedTuple):
    """What differs, or that it would be larger than the whole."""

    operations: Operations | None
    size: int
    """Bytes that it counts for, of those that are held."""


def compared(older: bytes, newer: bytes) -> Patch:
    """The patch from one JSON to another."""
    operations: Operations = jsonpatch.make_patch(msgspec.json.decode(older), msgspec.json.decode(newer)).patch
    size = len(msgspec.json.encode(operations))
    return Patch(operations, max(size, ENTRY_BYTES)) if size < len(newer) else Patch(None, ENTRY_BYTES)


class Patches:
    """The patches of one process."""

    def __init__(self) -> None:
        self.made = 0
        """How many were made, not counting those that were there already."""

        self._held: OrderedDict[_Pair, Patch] = OrderedDict()
        self._flights = Flights[Patch]()

    async def between(self, slot: Slot, older: Copy, newer: Copy) -> Operations | None:
        """What makes the newer one of the older; None when that would be no smaller than the newer is as a whole."""
        pair = _Pair(slot, older.envelope.version, newer.envelope.version)
        held = self._held.get(pair)
        if held is not None:
            self._held.move_to_end(pair)
            return held.operations
        return (await self._flights.join(pair, lambda: self._make(pair, older, newer))).operations

    async def close(self) -> None:
        """Make none any more."""
        await self._flights.close()

    async def _make(self, pair: _Pair, older: Copy, newer: Copy) -> Patch:
        patch = await asyncio.to_thread(compared, older.bodies.encoded, newer.bodies.encoded)
        self.made += 1
        self._held[pair] = patch
        size = sum(each.size for each in self._held.values())
        while size > HELD_BYTES and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            size -= gone.size
        return patch
