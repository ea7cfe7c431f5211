"""Who owns a data directory: at most one live AgentOS.

The owner holds an exclusive `flock` on a file there. The kernel lets go of it when the owner dies in whatever way, so
a lock is never stale; what is written in the file is trusted only as long as the lock is held.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCK = "embedded.lock"
PATIENCE_S = 0.5
"""How long a taker waits: someone who only looks at the lock holds it for an instant."""


class InUse(Exception):
    """Another live AgentOS owns the data directory; the message names its pid."""


class Ownership:
    """The right to run servers in one data directory, held until it is released or the process ends."""

    def __init__(self, data_dir: Path) -> None:
        """Take the data directory, or refuse.

        Raises:
            InUse: another live process has it.
        """
        self._file = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up = time.monotonic() + PATIENCE_S
        while not _locked(self._file):
            if time.monotonic() >= give_up:
                holder = _read(self._file).get("pid", "unknown")
                os.close(self._file)
                raise InUse(
                    f"the data directory {data_dir} is in use by another AgentOS with pid {holder}; "
                    "stop that one first, or give this one a data directory of its own"
                )
            time.sleep(0.01)
        self.announce({})

    def announce(self, facts: Mapping[str, str]) -> None:
        """Write down who owns the directory and what others on this machine may know about it."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": os.getpid(), **facts}).encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, because removing it would let two owners lock two files of one name."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def announced(data_dir: Path) -> Mapping[str, Any] | None:
    """What the live owner of a data directory has announced, or None if nobody owns it."""
    try:
        file = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(file, fcntl.LOCK_SH) else _read(file)
    finally:
        os.close(file)


def _locked(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def _read(file: int) -> dict[str, Any]:
    """The facts in the file; none while the owner is still writing them."""
    try:
        facts = json.loads(os.pread(file, 65536, 0))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
