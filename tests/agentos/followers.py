"""Followers: clients that watch all jobs over real connections, and come back every half second by themselves.

Each goes from one replica to the next, also to those that are gone, as a client does that knows several addresses.
"""

import asyncio
import json
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import asyncpg
import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode

from db.events import Cursor
from tests.agentos.replicas import STARTED_S, Fleet, Replica
from tests.serving import PROTOCOL, plain_client
from tests.urls import driver_url

INTERVAL_S: Final = 0.5
WATCH: Final = (
    "subscription ($after: String) { jobChanged(after: $after) { ... on JobChange { cursor job { SHOWN } } } }"
)
SHOWN: Final = "id progress"
QUERY: Final = WATCH.replace("SHOWN", SHOWN)


class Refused(Exception):
    """A follower was told that it may not."""

    def __init__(self, told: object) -> None:
        super().__init__(told)
        self.told = told

    @property
    def retry_after_s(self) -> float | None:
        """In how long to ask again; None where that is no use."""
        match self.told:
            case {"payload": [{"extensions": {"code": "UNAVAILABLE", "retryAfter": seconds}}]}:
                return float(seconds)
        return None


@asynccontextmanager
async def subscribed(
    replica: Replica, token: str, after: Cursor | None, *, shown: str = SHOWN, deaf: bool = False
) -> AsyncIterator[ClientConnection]:
    """A socket over which a subscription has been asked for.

    Args:
        shown: what is to be told of each job.
        deaf: the system takes as little as it can for a client that does not read.
    """
    line: dict[str, Any] = {"sock": _narrow(replica.port)} if deaf else {}
    url = f"ws://127.0.0.1:{replica.port}/graphql"
    async with connect(
        url, subprotocols=[PROTOCOL], open_timeout=STARTED_S, ping_interval=None, close_timeout=1, **line
    ) as connection:
        greeting = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
        await connection.send(json.dumps(greeting))
        assert "connection_ack" == json.loads(await connection.recv())["type"]
        payload = {
            "query": WATCH.replace("SHOWN", shown),
            "variables": {"after": None if after is None else str(after)},
        }
        await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        yield connection


async def told(connection: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    """What comes over a socket, until it is closed.

    Raises:
        ConnectionClosed: it was.
        Refused: the subscription has ended before it.
    """
    while True:
        message = msgspec.json.decode(await connection.recv(decode=False))
        if message["type"] == "ping":
            await connection.send('{"type": "pong"}')
        elif message["type"] == "next" and not message["payload"].get("errors"):
            yield message["payload"]
        else:
            raise Refused(message)


def _narrow(port: int) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", port))
    line.setblocking(False)
    return line


@dataclass
class Farewell:
    """How a server ended a socket."""

    code: int
    reason: str
    at: float
    """By the monotonic clock."""

    @property
    def cursor(self) -> Cursor:
        """After which it says to go on."""
        found = re.search("[0-9]+-[0-9]+", self.reason)
        assert found is not None, self.reason
        return Cursor.parsed(found[0])


class Watcher:
    """One who watches all jobs over one socket, for as long as the server has it."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.arrived: dict[Cursor, float] = {}
        """When each change came, by the monotonic clock."""

    async def watch(self, replica: Replica, after: Cursor | None = None) -> Farewell:
        """Take what comes until the server ends it, and say how; come back where it was busy just then."""
        while True:
            try:
                async with subscribed(replica, self.token, after) as connection:
                    farewell = await self.take(connection)
                if farewell.code != CloseCode.TRY_AGAIN_LATER:
                    return farewell
                after = farewell.cursor
            except Refused as refused:
                if refused.retry_after_s is None:
                    raise
                await asyncio.sleep(refused.retry_after_s)

    async def take(self, connection: ClientConnection) -> Farewell:
        """The same over a socket that is open already."""
        with suppress(ConnectionClosed):
            async for result in told(connection):
                self.arrived[_cursor(result)] = time.monotonic()
        assert connection.close_code is not None
        return Farewell(connection.close_code, connection.close_reason or "", time.monotonic())


def _cursor(result: dict[str, Any]) -> Cursor:
    change = result["data"]["jobChanged"]
    if "cursor" not in change:
        raise Refused("what it holds is said to be too old")
    return Cursor.parsed(change["cursor"])


class Follower(ABC):
    """One client, from its first connection until it is cancelled."""

    def __init__(self, fleet: Fleet, token: str, *, after: Cursor | None) -> None:
        """
        Args:
            after: where it begins; None for one that never says where it was: it hears what is told meanwhile.
        """
        self.cursors: list[Cursor] = []
        """In the order in which they came, however often."""

        self.shown: dict[Cursor, tuple[str, int]] = {}
        """Which job came with a cursor, and how far it was."""

        self.on: Replica | None = None
        """To which it is connected."""

        self.turns = 0
        """How often it went by itself."""

        self.cuts = 0
        """How often it was cut off, or not let in."""

        self.interval_s = INTERVAL_S
        """After how long it goes by itself."""

        self._fleet = fleet
        self._token = token
        self._after = after
        self._resumes = after is not None

    @property
    def once(self) -> list[Cursor]:
        """What has come, in its order, each only once."""
        return list(dict.fromkeys(self.cursors))

    async def follow(self) -> None:
        """Listen until cancelled.

        Raises:
            Refused: it may not, or not so often.
        """
        for number in count():
            self.on = self._fleet.replicas[number % len(self._fleet.replicas)]
            try:
                async with asyncio.timeout(self.interval_s) as interval:
                    await self._listen(self.on, self._after if self._resumes else None)
                self.cuts += 1
            except TimeoutError:
                self.turns += interval.expired()
                self.cuts += not interval.expired()
            except (OSError, WebSocketException, httpx.TransportError):
                self.cuts += 1
            except Refused as refused:
                if refused.retry_after_s is None:
                    raise
                self.cuts += 1

    @abstractmethod
    async def _listen(self, replica: Replica, after: Cursor | None) -> None:
        """Hear what a replica tells, until it tells no more."""

    def _take(self, result: dict[str, Any]) -> None:
        if result.get("errors"):
            raise Refused(result)
        cursor = self._after = _cursor(result)
        job = result["data"]["jobChanged"]["job"]
        self.cursors.append(cursor)
        self.shown[cursor] = job["id"], job["progress"]


class OverSocket(Follower):
    """Speaks graphql-transport-ws; every other time it vanishes without a word."""

    async def _listen(self, replica: Replica, after: Cursor | None) -> None:
        async with subscribed(replica, self._token, after) as connection:
            try:
                async for result in told(connection):
                    self._take(result)
            finally:
                if self.turns % 2:
                    connection.transport.abort()


class OverEvents(Follower):
    """Reads server-sent events, and says as `Last-Event-ID` which it had last, as browsers do."""

    async def _listen(self, replica: Replica, after: Cursor | None) -> None:
        headers = {"authorization": f"Bearer {self._token}", "accept": "text/event-stream"}
        if after is not None:
            headers["last-event-id"] = str(after)
        async with (
            plain_client(base_url=f"http://127.0.0.1:{replica.port}", timeout=None) as client,
            client.stream("POST", "/graphql/stream", headers=headers, json={"query": QUERY}) as response,
        ):
            if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
                return
            if response.status_code != HTTPStatus.OK:
                raise Refused(await response.aread())
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "data":
                    self._take(msgspec.json.decode(value))
                elif name == "id":
                    self._after = Cursor.parsed(value)
                elif line == "event: complete":
                    raise Refused("there will be nothing more")


class ByIds:
    """Reads events as one would, by `id > last`, each time somebody says that there are some."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", last: int) -> None:
        self.cursors: list[Cursor] = []
        self._connection = connection
        self._last = last

    @classmethod
    async def from_now(cls, url: str) -> "ByIds":
        """Read what is recorded from now on."""
        connection = await asyncpg.connect(driver_url(url))
        return cls(connection, await connection.fetchval("SELECT coalesce(max(id), 0) FROM events"))

    async def look(self) -> None:
        """Take what is new."""
        rows = await self._connection.fetch(
            "SELECT xid::text::bigint AS xid, id FROM events WHERE id > $1 AND kind = 'job_changed' ORDER BY id",
            self._last,
        )
        for row in rows:
            self.cursors.append(Cursor(row["xid"], row["id"]))
            self._last = row["id"]

    async def close(self) -> None:
        """Hang up."""
        await self._connection.close()
