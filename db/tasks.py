"""Tasks that go on whatever a store answers, and end all the same once they are cancelled.

A cancellation that comes while a connection is made, or fails, may be lost on its way through a client library; a loop
that only waits to be thrown out would then go on for ever, and a server that is told to stop with it.
"""

import asyncio


def going_on() -> bool:
    """Whether the running task was not cancelled."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
