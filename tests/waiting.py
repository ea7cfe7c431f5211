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


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within_s: float = 10) -> None:
    """Wait for a condition that nothing announces, such as the end of a process that is not our child.

    Raises:
        AssertionError: it did not come about within `within_s`.
    """

    async def met() -> bool:
        found = condition()
        return found if isinstance(found, bool) else await found

    await eventually(met, bool, within_s=within_s, every_s=0.01)
