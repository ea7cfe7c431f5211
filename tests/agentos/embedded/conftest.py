"""Data directories for real servers, and owners of them that can be killed."""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from agentos import embedded
from agentos.embedded import Addresses, Stores

ROOT = Path(__file__).parents[3]

OWNER = """
import asyncio, dataclasses, json, sys
from pathlib import Path
from agentos import embedded

async def own():
    async with embedded.stores(Path(sys.argv[1]), postgres="postgres" in sys.argv, fast_unsafe=True) as addresses:
        print(json.dumps(dataclasses.asdict(addresses)), flush=True)
        await asyncio.Event().wait()

asyncio.run(own())
"""


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder with a short path, reachable for the account PostgreSQL runs as; pytest's own is neither."""
    folder = Path(tempfile.mkdtemp(prefix="agentos-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _used() -> Iterator[Path]:
    async def set_up(folder: Path) -> None:
        async with embedded.stores(folder, fast_unsafe=True):
            pass

    with _folder() as folder:
        asyncio.run(set_up(folder))
        yield folder


used = pytest.mark.parametrize("data_dir", ["used"], indirect=True)
"""The data directory is one that others had and have left whole: to set PostgreSQL up takes two seconds of CPU."""


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty data directory, or one that was `used` and that nobody owns."""
    if hasattr(request, "param"):
        folder: Path = request.getfixturevalue("_used")
        yield folder
        assert embedded.running(folder) is None
        return
    with _folder() as folder:
        yield folder


@pytest.fixture
async def both(data_dir: Path) -> AsyncIterator[Stores]:
    """Both servers of an empty data directory, not started yet; stopped after the test."""
    both = Stores(data_dir, fast_unsafe=True)
    yield both
    await both.stop()


@pytest.fixture
async def valkey(data_dir: Path) -> AsyncIterator[Stores]:
    """Valkey alone, which is quicker, not started yet; stopped after the test."""
    valkey = Stores(data_dir, postgres=False)
    yield valkey
    await valkey.stop()


@contextlib.contextmanager
def another_owner(data_dir: Path, *, postgres: bool = False) -> Iterator[tuple["subprocess.Popen[bytes]", Addresses]]:
    """Another AgentOS process that runs the servers of a data directory until it is killed, at the latest here."""
    argv = [sys.executable, "-c", OWNER, str(data_dir), *(["postgres"] if postgres else [])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        try:
            assert owner.stdout is not None
            yield owner, Addresses(**json.loads(owner.stdout.readline()))
        finally:
            owner.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has nothing to do with AgentOS."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            yield sleeper
        finally:
            sleeper.kill()


async def answer(url: str, statement: str) -> object:
    """The first value a statement returns over a connection of its own; committed."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def written(addresses: Addresses) -> str:
    """Write into both servers, under a name that is returned and was never used before."""
    name = f"kept_{uuid4().hex}"
    await answer(addresses.database_url, f"CREATE TABLE {name} AS SELECT 7 AS value")
    async with Redis.from_url(addresses.redis_url) as redis:
        await redis.set(name, "8")
    return name


async def kept(addresses: Addresses, name: str) -> bool:
    """Whether both servers have what was written."""
    async with Redis.from_url(addresses.redis_url) as redis:
        return (7, b"8") == (await answer(addresses.database_url, f"SELECT value FROM {name}"), await redis.get(name))


def alive(pid: int) -> bool:
    """Whether a process with this pid runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def server_pids(data_dir: Path) -> list[int]:
    """The pids of both servers of a data directory, whoever runs them."""
    files = (data_dir / "valkey/valkey.pid", data_dir / "postgres/data/postmaster.pid")
    return [int(file.read_text().split()[0]) for file in files]
