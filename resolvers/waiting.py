"""Waiting for others to obey: what is waited for is decided and committed, and stays so however long it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

LOOK_EVERY_S: Final = 0.1

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, within_s: float) -> T:
    """What was seen once it is as wanted, or last before the time was over; looked at once at least."""
    ends = time.monotonic() + within_s
    while True:
        seen = await look()
        if holds(seen) or time.monotonic() >= ends:
            return seen
        await asyncio.sleep(LOOK_EVERY_S)
