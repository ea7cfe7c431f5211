"""Processes: which one a pid really is, how to wait for its end, and how to bring it about.

A pid alone names nobody, because it is given out again. Whoever wants to signal a process it did not just start itself
holds an `Identity` (pid, start time, command line) and the signal goes out only if all three still agree.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]  # it ships no types; what is read from it is annotated here

Stopping = Sequence[tuple[signal.Signals, float]]
"""How a process is ended: a signal and the seconds it gets, mildest first; SIGKILL comes after the last."""

LEAVE_S = 1.0
"""What is waited for after SIGKILL; longer only takes a process that hangs in the kernel, and no waiting helps that."""

APART_S = 1.0
"""How long a share of a core is measured for at least; over a shorter time it is noise."""

CLOCK_SLACK_S = 2.0
"""How far two readings of one process's start may differ: the kernel counts ticks since boot, and the clock is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process is, so that a stranger under a recycled pid is never taken for it."""

    pid: int
    created: float
    """Seconds since the epoch when it was started."""

    argv: tuple[str, ...]
    """Its command line as the kernel shows it; empty for a process of which it may not be read."""


def identity(pid: int) -> Identity | None:
    """Who has this pid now, or None if nobody alive has; a zombie is not alive."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            argv = tuple(process.cmdline())
            return Identity(pid=pid, created=process.create_time(), argv=argv)
    except psutil.AccessDenied:
        return Identity(pid=pid, created=0.0, argv=())
    except (psutil.NoSuchProcess, ValueError):
        return None


def same_process(pid: int, created: float) -> bool:
    """Whether the process that was started at `created` (seconds since the epoch) still lives under `pid`."""
    now = identity(pid)
    return now is not None and abs(now.created - created) <= CLOCK_SLACK_S


def same(known: Identity, now: Identity | None) -> bool:
    """Whether the process that was met is the one that is there now.

    One that was met while it was just being started showed no command line yet; then its start alone decides.
    """
    if now is None or abs(now.created - known.created) > CLOCK_SLACK_S:
        return False
    return not known.argv or now.argv == known.argv


def send(known: Identity, number: signal.Signals) -> bool:
    """Signal a process if it is still the one that was met; False when it has gone or the pid is a stranger's."""
    if not same(known, identity(known.pid)):
        return False
    try:
        os.kill(known.pid, number)
    except ProcessLookupError:
        return False
    return True


async def gone(known: Identity, *, every: float = 0.02) -> None:
    """Wait until a process that is not our child has ended."""
    while same_process(known.pid, known.created):  # noqa: ASYNC110 - the kernel tells only parents
        await asyncio.sleep(every)


async def ended(child: "subprocess.Popen[bytes]") -> int:
    """Wait until a child has ended, reap it and return its exit status (negative: the signal that ended it).

    Works on every event loop and may be cancelled at any time; the child stays as it is.
    """
    if sys.platform == "linux" and child.poll() is None:
        with contextlib.suppress(OSError):  # a kernel or sandbox without pidfd; then it is asked for now and then
            await _readable(os.pidfd_open(child.pid))
    while (status := child.poll()) is None:  # noqa: ASYNC110 - where no pidfd says when
        await asyncio.sleep(0.02)
    return status


async def end(child: "subprocess.Popen[bytes]", stopping: Stopping) -> None:
    """End a child that leads a session, mildly first; at last with SIGKILL, together with all of its process group."""
    for number, seconds in stopping:
        if child.poll() is not None:
            return
        child.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended(child)
    kill(child)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            await ended(child)


def kill(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and its process group; nothing happens once it has been reaped, when its pid may be a stranger's."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    try:
        loop.add_reader(descriptor, event.set)
        try:
            await event.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True, kw_only=True)
class Backoff:
    """How long to wait before the next start: doubling, jittered, and short again after a stable stretch."""

    first: float = 0.1
    """Seconds before the first restart."""

    most: float = 30.0
    """Seconds no pause exceeds."""

    stable_after: float = 10.0
    """A process that lived this many seconds counts as healthy: its next pause is `first` again."""

    jitter: Callable[[], float] = random.random
    """A number in 0.0..1.0; tests pin it down."""

    _failures: int = field(default=0, init=False)

    def pause(self, lived: float) -> float:
        """Seconds to wait now that a process has ended after `lived` seconds: between half and the whole step."""
        self._failures = 0 if lived >= self.stable_after else self._failures
        step = min(self.most, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return step * (0.5 + self.jitter() / 2)


class Gauge:
    """What one process takes of the machine, from one look to the next, a second apart at least."""

    def __init__(self, pid: int) -> None:
        self._last: tuple[float | None, int | None] = None, None
        self._at = time.monotonic()
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)
            self._process.cpu_percent(interval=None)

    def read(self) -> tuple[float | None, int | None]:
        """Share of one core since the last look, and bytes of memory; None for what is not known (yet)."""
        now = time.monotonic()
        if self._process is None or now - self._at < APART_S:
            return self._last
        self._at = now
        try:
            self._last = self._process.cpu_percent(interval=None) / 100, self._process.memory_info().rss
        except psutil.Error:
            self._last = None, None
        return self._last
