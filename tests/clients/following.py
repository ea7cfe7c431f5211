"""Clients from outside that follow changes: those of npm in a process of their own, gql in this one."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from uuid import uuid4

from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.clients.judging import FOLDER, installed, node
from tests.clients.live.changes import changes, over_http, over_socket
from tests.waiting import until

PATIENCE_S = 60.0

Told: TypeAlias = dict[str, Any]
"""`next`: a result; `errors`: what was refused; `failed`: why the client gave up; `complete`: nothing more comes."""


class Follower(ABC):
    """A client in somebody's hands, and what its subscriptions are told, by names they were given."""

    def __init__(self) -> None:
        self.told: defaultdict[str, asyncio.Queue[Told]] = defaultdict(asyncio.Queue)

    async def hear(self, name: str) -> Told:
        """What comes next under a name."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.told[name].get()

    @abstractmethod
    async def follow(self, name: str, query: str, **variables: Any) -> None:
        """Subscribe."""

    @abstractmethod
    async def ask(self, query: str) -> Told:
        """Have one query answered."""

    @abstractmethod
    async def connected(self) -> None:
        """Wait until what was subscribed to over a socket is asked for there."""

    @abstractmethod
    async def hold(self, token: str) -> None:
        """Have a fresh token for the next connection."""

    @abstractmethod
    async def renew(self, token: str) -> None:
        """Have a fresh token from now on; what has a socket takes it there."""

    @abstractmethod
    async def close(self) -> None:
        """Go."""


class Scripted(Follower):
    """One of the clients of npm, which live together."""

    def __init__(self, script: asyncio.subprocess.Process) -> None:
        super().__init__()
        self.key = uuid4().hex
        self._script = script

    async def do(self, **command: Any) -> None:
        """Have the script do something with it."""
        assert self._script.stdin is not None
        self._script.stdin.write(json.dumps({"as": self.key, **command}).encode() + b"\n")
        await self._script.stdin.drain()

    async def follow(self, name: str, query: str, **variables: Any) -> None:
        await self.do(name=name, follow=query, variables=variables)

    async def ask(self, query: str) -> Told:
        await self.do(name="answer", ask=query)
        return await self.hear("answer")

    async def connected(self) -> None:
        await self.do(name="connected", connected=True)
        assert {} == await self.hear("connected")

    async def hold(self, token: str) -> None:
        await self.do(token=token)

    async def renew(self, token: str) -> None:
        await self.do(token=token, renew=True)

    async def close(self) -> None:
        await self.do(close=True)


class Gql(Follower):
    """gql, which has a connection for each subscription here."""

    def __init__(self, url: str, token: str, *, socket: bool) -> None:
        super().__init__()
        self._url = url
        self._token = token
        self._over = over_socket if socket else over_http
        self._newest = self._connection()
        self._tasks: list[asyncio.Task[None]] = []

    async def follow(self, name: str, query: str, **variables: Any) -> None:
        self._tasks.append(asyncio.create_task(self._follow(name, query, variables)))

    async def ask(self, query: str) -> Told:
        async with Client(transport=self._connection()) as session:
            answer = await session.execute(GraphQLRequest(query), get_execution_result=True)
        return {"next": {"data": answer.data}}

    async def connected(self) -> None:
        await until(lambda: "connection_ack" in self._newest.payloads)

    async def hold(self, token: str) -> None:
        self._token = token

    async def renew(self, token: str) -> None:
        self._token = token
        if isinstance(self._newest, WebsocketsTransport):
            await self._newest.send_ping({"authorization": f"Bearer {token}"})

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connection(self) -> Any:
        self._newest = self._over(self._url, self._token)
        return self._newest

    async def _follow(self, name: str, query: str, variables: dict[str, Any]) -> None:
        told = self.told[name]
        try:
            async for result in changes(self._connection, query, **variables):
                await told.put({"next": {"data": result.data, "extensions": result.extensions}})
        except TransportQueryError as error:
            await told.put({"errors": error.errors})
        except TransportError as error:
            await told.put({"failed": str(error.__cause__ or error)})


class Clients:
    """Everybody who follows the server at one address."""

    def __init__(self, url: str, script: asyncio.subprocess.Process | None) -> None:
        self._url = url
        self._script = script
        self._scripted: dict[str, Scripted] = {}

    @asynccontextmanager
    async def client(self, kind: str, token: str) -> AsyncIterator[Follower]:
        """A client of a kind, until the block ends."""
        made = await self._made(kind, token)
        try:
            yield made
        finally:
            await made.close()

    async def hand_out(self) -> None:
        """Give every client of the script what it is told."""
        assert self._script is not None
        assert self._script.stdout is not None
        while line := await self._script.stdout.readline():
            told = json.loads(line)
            await self._scripted[told.pop("as")].told[told.pop("name")].put(told)

    async def _made(self, kind: str, token: str) -> Follower:
        if kind.startswith("gql-"):
            return Gql(self._url, token, socket=kind == "gql-ws")
        installed("graphql-ws")
        assert self._script is not None
        made = Scripted(self._script)
        self._scripted[made.key] = made
        await made.do(open=kind, token=token)
        return made


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Clients]:
    """Clients of GraphQL at an address, until the block ends."""
    program = node()
    if program is None or not (FOLDER / "node_modules/graphql-ws").is_dir():
        yield Clients(url, None)
        return
    script = await asyncio.create_subprocess_exec(
        program, FOLDER / "live.js", url, cwd=FOLDER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    clients = Clients(url, script)
    handing_out = asyncio.create_task(clients.hand_out())
    try:
        yield clients
    finally:
        script.kill()
        await script.wait()
        await handing_out
