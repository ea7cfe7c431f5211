"""A server program that AgentOS runs for itself: started, awaited, watched, ended.

What is particular to PostgreSQL and Valkey is told by a `Store`; the life of the process is the same for both. Servers
run in sessions of their own, so that Ctrl-C in a terminal reaches AgentOS alone, which drains before it stops them.
Where the kernel allows, they end by themselves when AgentOS is killed.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from agentos import processes
from agentos.embedded import launch
from agentos.embedded.places import Account

log = logging.getLogger(__name__)

LOG_BYTES = 8 * 1024 * 1024
"""Size from which a server's log is moved to `….log.1`; the two together never take much more than twice that."""

LOG_LOOK_S = 60.0
PATIENCE_S = 120.0
"""How long a server may take to be ready: recovery after a crash reads all that was not yet checkpointed."""

PASSING_S = 5.0
"""For how long a start is tried again when what stood in its way is about to go away."""

LEAVE_S = 0.5
"""What is waited for after SIGKILL; the kernel needs an instant."""

ADVICE: Mapping[str, str] = {
    "No space left on device|Disk quota exceeded": "free some space on the disk that holds the data directory",
    "incompatible with server|not compatible with this version": (
        "the data was made by another major version; restore a backup of it into a new data directory"
    ),
    "wrong ownership|Permission denied|Operation not permitted": (
        "start AgentOS as the user who owns the data directory, or give the directory to the present user"
    ),
    "could not map anonymous shared memory|Cannot allocate memory|out of memory": (
        "give this machine or container more memory"
    ),
    "could not resize shared memory segment|/dev/shm": "give the container a larger /dev/shm (--shm-size=256m)",
    "Address already in use|could not bind|is another (postmaster|instance)": (
        "another server answers at the same socket; stop it, or choose another data directory"
    ),
    "effective user ID": (
        "the present user has no name on this machine; give it a line in /etc/passwd, or run as a user who has one"
    ),
    "AOF MANIFEST FILE ERROR|Bad file format reading the append only file|Unexpected end of file": (
        "the append-only file is damaged; move the folder valkey aside: what matters is kept in PostgreSQL"
    ),
    "could not locate a valid checkpoint|invalid checkpoint|PANIC": (
        "the database files are damaged; restore a backup into a new data directory"
    ),
}
"""What to do about a line in the log; the first that fits is told."""


class NotStarted(Exception):
    """A server did not come up; the message has the end of its log and what to do."""


class Store(Protocol):
    """What the life of a server needs to know about it."""

    name: str
    url: str
    log: Path
    account: Account | None
    stopping: processes.Stopping

    passing: re.Pattern[str] | None
    """Lines of the log that name an obstacle about to go away."""

    async def prepare(self) -> None:
        """Make everything the first start needs; do nothing when it is there."""
        ...

    def orphan(self) -> processes.Identity | None:
        """The server an earlier owner left running on the same data, after clearing what a dead one left behind."""
        ...

    def command(self) -> list[str]:
        """Program and arguments; never a password, which everybody could read."""
        ...

    async def ready(self, pid: int) -> bool:
        """Whether the server with this pid answers."""
        ...


class Server:
    """One store's process, from the first start to the last stop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """Its pid, or None while it does not run."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    async def start(self) -> None:
        """Start it on its data, ending first what an earlier owner left, and return once it answers.

        Raises:
            NotStarted: it ended, or did not answer in time.
            OSError: a file or a folder it needs cannot be made.
        """
        self._started = time.monotonic()
        give_up = self._started + PASSING_S
        while True:
            await self._end_orphan()
            await self.store.prepare()
            mark = self._mark()
            try:
                return await self._start_once()
            except NotStarted:
                passing = self.store.passing
                if passing is None or not passing.search(self._tail(mark)) or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it, mildly first; returns when it is gone, within a bounded time."""
        if self._child is not None:
            await processes.end(self._child, self.store.stopping)
            self._child = None

    async def watch(self) -> None:
        """Restart it whenever it ends, with growing pauses, until cancelled; cancel before `stop`."""
        backoff = processes.Backoff(first=0.05)
        while True:
            status = await self._end_seen()
            log.error("%s has ended with status %s; restarting it", self.store.name, status)
            await asyncio.sleep(backoff.pause(time.monotonic() - self._started))
            try:
                await self.start()
            except (NotStarted, OSError) as error:
                log.error("%s does not come back yet: %s", self.store.name, error)
            else:
                log.warning("%s is back", self.store.name)

    async def _start_once(self) -> None:
        mark = self._mark()
        with _appending(self.store.log) as output:
            farewell = self.store.stopping[0][0]
            child = spawn(
                self.store.command(), self.store.account, farewell=farewell, stdin=subprocess.DEVNULL, output=output
            )
        self._child, self._started = child, time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await self.store.ready(child.pid):
                    if child.poll() is not None:
                        raise NotStarted(self._failure(f"ended with status {child.returncode}", mark))
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self.stop()
            raise NotStarted(self._failure(f"did not answer within {PATIENCE_S:.0f} s", mark)) from None
        except asyncio.CancelledError:
            # Shielded: a start that is given up must not leave a server behind that nobody owns.
            await asyncio.shield(self.stop())
            raise

    async def _end_seen(self) -> int | None:
        """Wait for its end, keeping its log within bounds meanwhile."""
        if self._child is None:
            return None
        while True:
            try:
                async with asyncio.timeout(LOG_LOOK_S):
                    return await processes.ended(self._child)
            except TimeoutError:
                shorten(self.store.log)

    async def _end_orphan(self) -> None:
        known = self.store.orphan()
        if known is None:
            return
        log.warning("%s was left running with pid %s by an AgentOS that is gone; ending it", self.store.name, known.pid)
        for number, seconds in (*self.store.stopping, (signal.SIGKILL, LEAVE_S)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    if processes.send(known, number):
                        await processes.gone(known)
                    break
        self.store.orphan()

    def _mark(self) -> int:
        self.store.log.parent.mkdir(mode=0o700, exist_ok=True)
        shorten(self.store.log)
        return self.store.log.stat().st_size if self.store.log.exists() else 0

    def _tail(self, mark: int) -> str:
        return "\n".join(last_lines(self.store.log, since=mark))

    def _failure(self, what: str, mark: int) -> str:
        return failure(self.store.name, what, self._tail(mark), self.store.log)


def spawn(
    argv: Sequence[str], account: Account | None, *, farewell: signal.Signals, stdin: int, output: int | IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start a program as an account, in a session of its own and with nothing of our environment.

    Args:
        farewell: the signal it gets when the calling thread dies, so call from one that lives as long as the owner.
    """
    uid, gid = (-1, -1) if account is None else (account.uid, account.gid)
    ties = [str(int(number)) for number in (os.getpid(), farewell, uid, gid)]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", launch.__file__, *ties, *argv],
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        cwd="/",
        start_new_session=True,
        umask=0o077,
    )


def _appending(file: Path) -> IO[bytes]:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def failure(name: str, what: str, tail: str, whole: Path) -> str:
    """What to tell a person about a server that did not come up."""
    advice = next((advice for line, advice in ADVICE.items() if re.search(line, tail)), f"look into {whole}")
    said = "".join(f"\n  {line}" for line in tail.splitlines())
    return f"{name} {what}; what to do: {advice}{said}"


def shorten(file: Path) -> None:
    """Move a log that has grown large to `….1` and go on with an empty one.

    Copied and cut, not renamed: the server has it open for appending, and goes on at the new end.
    """
    if not file.exists() or file.stat().st_size < LOG_BYTES:
        return
    older = file.with_name(f"{file.name}.1")
    with contextlib.suppress(OSError):  # on a full disk the old lines are given up, or there would never be room again
        older.write_bytes(file.read_bytes()[-LOG_BYTES:])
    os.truncate(file, 0)


def last_lines(file: Path, *, since: int = 0, count: int = 12) -> list[str]:
    """The last lines of a log from byte `since` on; none if there is no log."""
    if not file.exists():
        return []
    with file.open("rb") as text:
        text.seek(max(since, text.seek(0, os.SEEK_END) - 8192))
        return text.read().decode(errors="replace").splitlines()[-count:]
