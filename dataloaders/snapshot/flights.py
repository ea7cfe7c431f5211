"""Work that many wait for and that is done once; whoever starts it may leave, the flight goes on for the others."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Flights(Generic[T]):
    """The flights of one process, and the owner of their tasks."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The flight of that key that is under way, or a new one; it does not depend on who awaits it."""
        flying = self._tasks.get(key)
        if flying is None:
            flying = asyncio.create_task(work(), name=f"flight {key}")
            self._tasks[key] = flying
            flying.add_done_callback(lambda landed: self._forget(key, landed))
        return flying

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the flight of that key brings; giving up the wait does not end it."""
        return await asyncio.shield(self.start(key, work))

    async def next(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a flight of that key brings that starts after this call, and sees all that was so by then."""
        await self.land(key)
        return await self.join(key, work)

    async def land(self, key: Hashable) -> None:
        """Wait until no flight of that key is under way, however it ends."""
        if key in self._tasks:
            await asyncio.wait([self._tasks[key]])

    async def close(self) -> None:
        """Cancel all flights and wait for their end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: Hashable, landed: asyncio.Task[T]) -> None:
        del self._tasks[key]
        # Asked for even when everybody who waited has left, or the loop would complain of an error nobody saw.
        if not landed.cancelled() and (error := landed.exception()) is not None:
            log.warning("the flight %s failed: %s", key, error)
