"""Tasks that go on whatever a store answers, and end all the same once they are cancelled.

A cancellation that comes while a connection is made, or fails, may be lost on its way through a client library; a loop
that only waits to be thrown out would then go on for ever, and a server that is told to stop with it.
"""

import asyncio
from typing import Final

LONGEST_PAUSE_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.4


def going_on() -> bool:
    """Whether the running task was not cancelled."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


async def rest(seconds: float) -> None:
    """Leave a store alone for a while, unless the running task was cancelled."""
    if going_on():
        await asyncio.sleep(seconds)


def pause_s(failures: int, chance: float) -> float:
    """Seconds to leave a store alone: doubling up to five with each failure in a row, spread by a `chance` in 0..1."""
    # After an hour without an answer, two to the power of the failures is more than a float holds.
    doublings = min(failures, 10) - 1
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings) * (0.5 + chance / 2)
