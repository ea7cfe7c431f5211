"""Waiting for what another process or task will make true; never for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""How long stores, servers and clients of tests may take to answer; only a test of their silence gives them less."""


async def eventually(
    probe: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, within_s: float = 60, every_s: float = 0.02
) -> T:
    """What a probe sees once that is as wanted.

    Raises:
        AssertionError: it was not within `within_s`; the message has what was seen last.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while True:
        # Read before the look: a machine that paused for all that time gets a last look once it goes on.
        late = clock() > deadline
        if holds(seen := await probe()):
            return seen
        if late:
            raise AssertionError(f"still not after {within_s} s: {seen!r}")
        await asyncio.sleep(every_s)


async def finished(child: asyncio.subprocess.Process, *, within_s: float = 60) -> tuple[int, bytes, bytes]:
    """How a child process ended, with what it said; it is killed if it has not `within_s`."""
    try:
        async with asyncio.timeout(within_s):
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, out, err


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within_s: float = 60) -> None:
    """Wait for a condition that nothing announces, such as the end of a process that is not our child.

    Raises:
        AssertionError: it did not come about within `within_s`.
    """

    async def met() -> bool:
        found = condition()
        return found if isinstance(found, bool) else await found

    await eventually(met, bool, within_s=within_s, every_s=0.01)
