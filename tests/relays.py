"""A way to Redis that a test can block: it passes everything on, says nothing any more, or is not there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit


class Relay:
    """Passes a connection on to a server until it is told otherwise."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open = asyncio.Event()
        self._open.set()
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """How the server is reached through it."""
        login = self._to.netloc.rpartition("@")[0]
        database = "0" if self._to.scheme == "unix" else self._to.path.strip("/") or "0"
        return f"redis://{login}{'@' if login else ''}127.0.0.1:{self._port}/{database}"

    async def listen(self) -> None:
        """Be there, on the same port as before."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def lead(self, url: str) -> None:
        """Pass connections on to another server from now on."""
        self._to = urlsplit(url)

    def hang(self) -> None:
        """Take connections and words, and pass none of them on."""
        self._open.clear()

    def flow(self) -> None:
        """Pass on again, what was held back first."""
        self._open.set()

    async def leave(self) -> None:
        """Cut all connections and take no new one."""
        if self._server is not None:
            self._server.close()
        lines = [*self._lines]
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.get_running_loop().create_task(self._pass(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await self._reach()
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(self._copy(reader, there[1])),
                    group.create_task(self._copy(there[0], writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            for end in (writer, there[1]):
                end.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._to.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._to.path))
        return await asyncio.open_connection(self._to.hostname, self._to.port or 6379)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while words := await source.read(65_536):
                await self._open.wait()
                target.write(words)
                await target.drain()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[Relay]:
    """A relay to a server, for as long as the block lasts."""
    relay = Relay(url)
    await relay.listen()
    try:
        yield relay
    finally:
        relay.flow()
        await relay.leave()
