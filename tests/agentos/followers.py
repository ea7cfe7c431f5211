"""Followers: clients that watch all jobs over real connections, and come back every half second by themselves.

Each goes from one replica to the next, also to those that are gone, as a client does that knows several addresses.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from itertools import count
from typing import Any, Final

import asyncpg
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from db.events import Cursor
from tests.agentos.replicas import Fleet, Replica
from tests.serving import PROTOCOL
from tests.urls import driver_url

INTERVAL_S: Final = 0.5
WATCH: Final = """
subscription ($after: String) { jobChanged(after: $after) { ... on JobChange { cursor job { id progress } } } }
"""


class Refused(Exception):
    """A follower was told that it may not."""


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
                async with asyncio.timeout(INTERVAL_S) as interval:
                    await self._listen(self.on, str(self._after) if self._resumes else None)
                self.cuts += 1
            except TimeoutError:
                self.turns += interval.expired()
                self.cuts += not interval.expired()
            except (OSError, WebSocketException, httpx.TransportError):
                self.cuts += 1

    @abstractmethod
    async def _listen(self, replica: Replica, after: str | None) -> None:
        """Hear what a replica tells, until it tells no more."""

    def _take(self, result: dict[str, Any]) -> None:
        if result.get("errors"):
            raise Refused(result)
        change = result["data"]["jobChanged"]
        if "cursor" not in change:
            raise Refused("what it holds is said to be too old")
        cursor = self._after = Cursor.parsed(change["cursor"])
        self.cursors.append(cursor)
        self.shown[cursor] = change["job"]["id"], change["job"]["progress"]


class OverSocket(Follower):
    """Speaks graphql-transport-ws; every other time it vanishes without a word."""

    async def _listen(self, replica: Replica, after: str | None) -> None:
        async with connect(
            f"ws://127.0.0.1:{replica.port}/graphql", subprotocols=[PROTOCOL], ping_interval=None, close_timeout=1
        ) as connection:
            try:
                await connection.send(
                    json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {self._token}"}})
                )
                await connection.recv()
                payload = {"query": WATCH, "variables": {"after": after}}
                await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
                async for text in connection:
                    message = json.loads(text)
                    if message["type"] != "next":
                        raise Refused(message)
                    self._take(message["payload"])
            finally:
                if self.turns % 2:
                    connection.transport.abort()


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
