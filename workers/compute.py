"""Killable CPU work: one function in a process of its own, with its result and its progress over a socket.

A thread cannot be stopped and a codec can take its process down with it, so nothing that decodes or encodes runs inside
a worker. The process is forked from a server that has the media libraries loaded already, which makes a start cost some
ten milliseconds. Whoever waits holds the other end of the socket: a process that sees it close ends itself, so even a
worker killed with -9 leaves nothing running behind it.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final, NoReturn, TypeVar

from workers.failures import Interrupted, SourceUnavailable, StepFailed, StepSkipped

T = TypeVar("T")

PRELOADED: Final = (
    "workers.media.analysis",
    "workers.media.clipping",
    "workers.media.cropping",
    "workers.media.cutting",
    "workers.media.faces",
    "workers.media.moments",
    "workers.media.probe",
    "workers.media.speech",
)
"""Imported once by the server every process is forked from."""

NICENESS: Final = 5
"""Below the processes that answer people, above what is truly idle."""

MEMORY_MB: Final = 3072
"""Data one process may hold; a hostile picture size then fails its own step and not the machine."""

GRACE_S: Final = 0.4
"""How long a process has to go after it was asked to, before it is killed."""

REPORT_EVERY_S: Final = 0.1
_HEAD: Final = struct.Struct(">I")
_ENDS: Final = (StepFailed, StepSkipped, SourceUnavailable)

log = logging.getLogger(__name__)

# The bookkeeping of multiprocessing is not safe across threads: two of them reaping one process can both read its exit
# code, and the second gets nonsense. Starts and reaps therefore take turns; both last milliseconds.
_turn = threading.Lock()


class _Reporter:
    """The child's way back to whoever waits for it."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._told = -1.0
        self._told_at = 0.0

    def tell(self, share: float) -> None:
        """Send the done share, unless one went out a moment ago or nothing was gained."""
        now = time.monotonic()
        if share <= self._told or (now - self._told_at < REPORT_EVERY_S and share < 1.0):
            return
        self._told, self._told_at = share, now
        self.send("progress", min(share, 1.0))

    def send(self, kind: str, value: object) -> None:
        body = pickle.dumps((kind, value), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with self._lock:
                self._line.sendall(_HEAD.pack(len(body)) + body)
        except ConnectionError:
            # Nobody waits any more, so there is nobody to tell that either; see `_leave_with_parent`.
            os._exit(1)


_reporter: _Reporter | None = None
"""Set in a child only, once, before its function runs."""


def report(share: float) -> None:
    """Tell whoever waits for this process how much is done, 0.0..1.0; does nothing outside such a process."""
    if _reporter is not None:
        _reporter.tell(share)


async def run(
    function: Callable[..., T],
    *args: object,
    on_progress: Callable[[float], Awaitable[None]] | None = None,
    timeout_s: float | None = None,
    memory_mb: int = MEMORY_MB,
) -> T:
    """Run a picklable function in its own process and return its result.

    Cancelling the caller ends the process, within a second.

    Args:
        on_progress: awaited with each share the function reports, at most ten times a second.
        timeout_s: seconds until the process is ended; None leaves the deadline to the caller.
        memory_mb: data the process may hold beside the loaded libraries, in megabytes.

    Raises:
        StepFailed: the function raised it or anything unforeseen, ran out of time or memory, or its process crashed.
        Interrupted: its process was ended from outside.
        StepSkipped: the function raised it.
        SourceUnavailable: the function raised it.
    """
    here, there = socket.socketpair()
    process = _context().Process(target=_serve, args=(there, function, args, memory_mb), daemon=True)
    starting = asyncio.ensure_future(asyncio.to_thread(_start, process, there))
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            result: T = await _outcome(process, here, starting, on_progress)
            return result
    except TimeoutError:
        if not deadline.expired():
            raise
        raise StepFailed(f"took longer than {timeout_s:g} s and was stopped") from None
    finally:
        # Shielded, because the task may be being cancelled, and its process must be gone when it is.
        await asyncio.shield(asyncio.ensure_future(_end(process, starting)))


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _start(process: ForkServerProcess, there: socket.socket) -> None:
    with there, _turn:
        process.start()


async def _outcome(
    process: ForkServerProcess,
    here: socket.socket,
    starting: asyncio.Future[None],
    on_progress: Callable[[float], Awaitable[None]] | None,
) -> Any:
    try:
        await asyncio.shield(starting)
    except BaseException:
        here.close()
        raise
    reader, writer = await asyncio.open_unix_connection(sock=here)
    try:
        while True:
            kind, value = await _message(reader)
            if kind == "result":
                return value
            if kind == "end":
                _refuse(value)
            if on_progress is not None:
                await on_progress(value)
    except EOFError:
        await _gone(process, within_s=5.0)
        raise _how_it_died(process) from None
    finally:
        writer.close()


async def _message(reader: asyncio.StreamReader) -> tuple[str, Any]:
    try:
        (length,) = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        kind, value = pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None
    return kind, value


def _refuse(value: Exception | tuple[str, str]) -> NoReturn:
    """Raise what the child ended with: its own word, or a plain one for what nobody foresaw."""
    if isinstance(value, Exception):
        raise value
    name, trace = value
    log.error("a step stopped by an unexpected %s\n%s", name, trace)
    raise StepFailed(f"stopped by an unexpected {name}")


def _how_it_died(process: ForkServerProcess) -> StepFailed | Interrupted:
    """A crash would only happen again; to be asked to go, or to be killed, says nothing about the video."""
    code = process.exitcode
    if code is None or code >= 0:
        return StepFailed(f"its process ended without a result (exit code {code})")
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return Interrupted(f"its process was ended by {name}, most likely because memory ran out")
    if -code in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Interrupted(f"its process was ended by {name}")
    return StepFailed(f"its process was ended by {name}")


async def _end(process: ForkServerProcess, starting: asyncio.Future[None]) -> None:
    """See the process off: it leaves by itself once the line is closed, unless it is stuck inside a codec."""
    await starting
    process.terminate()
    if not await _gone(process, within_s=GRACE_S):
        process.kill()
        await _gone(process, within_s=5.0)
    with _turn:
        if process.exitcode is not None:
            process.close()


async def _gone(process: ForkServerProcess, *, within_s: float) -> bool:
    """Wait for the process to end; whether it did."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        async with asyncio.timeout(within_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(process.sentinel)
    with _turn:
        process.join(1.0)
    return True


def _serve(line: socket.socket, function: Callable[..., Any], args: tuple[object, ...], memory_mb: int) -> None:
    """Be the child: do the one thing, say how it went."""
    global _reporter
    # Ctrl-C reaches the whole terminal; the worker decides what it means for its steps.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(NICENESS)
    most = _held_bytes() + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with_parent, args=(line,), daemon=True).start()
    _reporter = _Reporter(line)
    try:
        result = function(*args)
    except _ENDS as end:
        _reporter.send("end", type(end)(*end.args))
    except MemoryError:
        _reporter.send("end", StepFailed(f"needs more than {memory_mb} MB of memory"))
    except Exception as error:
        _reporter.send("end", (type(error).__name__, "".join(traceback.format_exception(error))))
    else:
        _reporter.send("result", result)


def _held_bytes() -> int:
    """Data this process holds already; the loaded libraries are not the function's to answer for."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[5]) * resource.getpagesize()
    except FileNotFoundError:  # not Linux, where the limit has no effect either
        return 0


def _leave_with_parent(line: socket.socket) -> None:
    """End this process at once when nobody holds the other end any more."""
    # A parent that was killed before it had read all that it was told answers with an error, not with an end.
    with contextlib.suppress(ConnectionError):
        while line.recv(1):
            pass
    os._exit(1)
