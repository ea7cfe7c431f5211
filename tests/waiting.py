"""Waiting for what another process or task will make true; never for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, within_s: float = 15, every_s: float = 0.02
) -> T:
    """What a probe sees once that is as wanted.

    Raises:
        AssertionError: it was not within `within_s`; the message has what was seen last.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds(seen := await probe()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"still not after {within_s} s: {seen!r}")
        await asyncio.sleep(every_s)
    return seen
