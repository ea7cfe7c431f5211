"""Both servers of a data directory together, under one owner."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agentos.embedded.ownership import Ownership, announced
from agentos.embedded.places import Unreachable
from agentos.embedded.postgres import Postgres
from agentos.embedded.server import NotStarted, Server, Store, failure
from agentos.embedded.valkey import Valkey


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the servers answer; the same after every restart. They contain passwords."""

    database_url: str
    """For SQLAlchemy with asyncpg; empty when no PostgreSQL was asked for."""

    redis_url: str
    """For redis-py; empty when no Valkey was asked for."""


class Stores:
    """The servers of one data directory, for an owner who starts, watches and stops them by hand.

    Bound to no event loop: started in one, they may be stopped in another.
    """

    def __init__(
        self, data_dir: Path, *, postgres: bool = True, valkey: bool = True, fast_unsafe: bool = False
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._postgres = postgres
        self._valkey = valkey
        self._fast_unsafe = fast_unsafe
        self._ownership: Ownership | None = None
        self._servers: list[Server] = []

    async def start(self) -> Addresses:
        """Take the data directory and start both servers side by side.

        Raises:
            InUse: another live AgentOS has the data directory.
            NotStarted: the data directory cannot be used, or a server did not come up; then none is left running.
        """
        try:
            _make(self._data_dir)
            self._ownership = Ownership(self._data_dir)
            self._servers = [Server(store) for store in self._stores()]
            await _together(*(server.start() for server in self._servers))
        except Unreachable as error:
            await self.stop()
            raise NotStarted(str(error)) from error
        except OSError as error:
            await self.stop()
            raise NotStarted(failure("the data directory", "cannot be used", str(error), self._data_dir)) from error
        except BaseException:
            # Shielded: whoever gives up on a start must not leave servers behind.
            await asyncio.shield(self.stop())
            raise
        addresses = self._addresses()
        self._ownership.announce(asdict(addresses))
        return addresses

    async def watch(self) -> None:
        """Restart each server that ends, until cancelled; cancel before `stop`."""
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(server.watch(), name=f"watch {server.store.name}")

    async def stop(self) -> None:
        """End the servers, within five seconds, and give the data directory free; harmless when repeated."""
        try:
            await _together(*(server.stop() for server in self._servers))
        finally:
            if self._ownership is not None:
                self._ownership.release()
                self._ownership = None

    def pids(self) -> dict[str, int | None]:
        """The pid of each server by its name, None for one that does not run just now."""
        return {server.store.name: server.pid for server in self._servers}

    def _stores(self) -> Iterator[Store]:
        if self._postgres:
            yield Postgres(self._data_dir, fast_unsafe=self._fast_unsafe)
        if self._valkey:
            yield Valkey(self._data_dir, fast_unsafe=self._fast_unsafe)

    def _addresses(self) -> Addresses:
        urls = {server.store.name: server.store.url for server in self._servers}
        return Addresses(database_url=urls.get(Postgres.name, ""), redis_url=urls.get(Valkey.name, ""))


@asynccontextmanager
async def stores(
    data_dir: Path, *, postgres: bool = True, valkey: bool = True, fast_unsafe: bool = False
) -> AsyncIterator[Addresses]:
    """Run the servers of a data directory for as long as the block lasts, restarting one that dies.

    Args:
        data_dir: made if it is not there; everything the servers keep is below it.
        fast_unsafe: do not wait for the disk; for tests only, a power failure would ruin the data.

    Raises:
        InUse: another live AgentOS has the data directory.
        NotStarted: a server did not come up; the message has the end of its log and what to do.
    """
    pair = Stores(data_dir, postgres=postgres, valkey=valkey, fast_unsafe=fast_unsafe)
    addresses = await pair.start()
    watch = asyncio.create_task(pair.watch(), name="watch stores")
    try:
        yield addresses
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        # Shielded: servers outlive a cancelled owner otherwise.
        await asyncio.shield(pair.stop())
        if not watch.cancelled():
            watch.result()  # it has failed, and nobody else would say so


def running(data_dir: Path) -> Addresses | None:
    """Where the servers of a data directory answer right now, run by whichever AgentOS owns it; None if none does."""
    facts = announced(data_dir.absolute())
    if not facts or "database_url" not in facts:
        return None
    return Addresses(database_url=facts["database_url"], redis_url=facts["redis_url"])


def _make(data_dir: Path) -> None:
    """Make the data directory: the present user's alone, or, for root, one its server accounts may pass through."""
    root = os.geteuid() == 0
    data_dir.mkdir(mode=0o711 if root else 0o700, parents=True, exist_ok=True)
    if root:
        data_dir.chmod(data_dir.stat().st_mode | 0o111)


async def _together(*steps: Coroutine[None, None, None]) -> None:
    """Take steps side by side; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
