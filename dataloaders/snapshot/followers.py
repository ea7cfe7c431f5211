"""Who follows a snapshot without reading it: as long as somebody does, it is kept warm, and its changes are announced.

Redis away: nothing is kept warm, and nothing announced; once it answers, it is told again within `MARK_EVERY_S`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from db import snapshots as stored
from db.redis import REDIS_AWAY, Redis
from db.snapshots import Slot
from db.tasks import going_on

MARK_EVERY_S: Final = 20.0
"""How often it is noted that somebody follows; a third of the time that a note is good for."""


class Followers:
    """Who follows which snapshots in one process."""

    def __init__(self, redis: Redis, *, every_s: float = MARK_EVERY_S) -> None:
        self.tasks: dict[Slot, asyncio.Task[None]] = {}
        """What notes that somebody follows, by what they do."""

        self._redis = redis
        self._every_s = every_s
        self._following = Counter[Slot]()

    @asynccontextmanager
    async def of(self, slot: Slot) -> AsyncIterator[None]:
        """Follow a snapshot for as long as the block lasts."""
        self._following[slot] += 1
        if slot not in self.tasks:
            self.tasks[slot] = asyncio.create_task(self._mark(slot), name=f"followers of {slot.about}")
        try:
            yield
        finally:
            self._following[slot] -= 1
            if not self._following[slot]:
                del self._following[slot]
                self.tasks.pop(slot).cancel()

    async def close(self) -> None:
        """Note nothing any more, whoever is still there."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _mark(self, slot: Slot) -> None:
        while going_on():
            with suppress(*REDIS_AWAY):
                await stored.mark_read(self._redis, slot)
            await asyncio.sleep(self._every_s)
