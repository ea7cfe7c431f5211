"""The lifeline between a child process and the supervisor that started it.

A supervisor keeps the write end of a pipe open and never writes to it; the read end is the child's standard input. When
the supervisor goes away in whatever manner, kill -9 included, the kernel closes its end and the child reads end of
file. So no child ever outlives its parent, without signals that could reach a stranger and on every Unix alike.

Only a process that was started by a supervisor may watch it: at the end of `</dev/null` any other would leave at once.
"""

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable

STDIN = 0


async def parent_gone(descriptor: int = STDIN) -> None:
    """Wait until the other end of the pipe has been closed; whatever is written to it before is thrown away."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()

    def look() -> None:
        # Read right here: the task would be woken a turn later, when a second look may have been scheduled already,
        # and the read after it would block the loop.
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            gone.set()

    loop.add_reader(descriptor, look)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)


def follow_parent(gone: Callable[[], None] | None = None, *, descriptor: int = STDIN) -> threading.Thread:
    """Watch the lifeline from a daemon thread, for programs whose loop may be busy or that have none.

    Args:
        gone: called once in that thread when the parent is gone; without it the process ends at once with status 1,
            without clean-up, because nobody is left who could wait for one.
        descriptor: the read end; the standard input unless told otherwise.
    """

    def watch() -> None:
        while True:
            select.select([descriptor], [], [])
            if not os.read(descriptor, 4096):
                break
        if gone is not None:
            gone()
        else:
            sys.stderr.flush()
            os._exit(1)

    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
