"""Reading an answer that goes on, as it comes: server-sent events by the rules of browsers, and parts by Apollo's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from agentos.transports.flows import Flows
from agentos.transports.graphql import GraphQLOverHTTP
from agentos.transports.streams import GraphQLOverSSE
from db import jobs
from db.database import Database
from db.jobs import Job, NewJob
from tests.serving import Served
from tests.waiting import PATIENCE_S

WATCH = "subscription { jobs }"
"""Of the schema of `tests.agentos.stage`."""

JOBS = "subscription { jobChanged { __typename ... on JobChange { cursor job { id status } } } }"
EVENTS = {"accept": "text/event-stream"}
PARTS = {"accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json;q=0.9"}


@dataclass
class Block:
    """What stands between two empty lines of a stream of events."""

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry: str | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        """The answer in it."""
        assert self.data is not None
        found: dict[str, Any] = json.loads(self.data)
        return found

    @property
    def code(self) -> str:
        """The code of the one error in it."""
        [error] = self.body["errors"]
        code: str = error["extensions"]["code"]
        return code


class Events:
    """A reader of server-sent events that keeps the last id, as a browser does."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self._lines = response.aiter_lines()

    async def block(self) -> Block | None:
        """The next one; None when the answer has ended."""
        found, empty = Block(), True
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if not line:
                    if not empty:
                        self.last_id = self.last_id if found.id is None else found.id
                        return found
                    continue
                empty = False
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "":
                    found.comments.append(value)
                else:
                    setattr(found, name, value)
        return None

    async def event(self) -> Block:
        """The next one that a browser would tell of."""
        while (found := await self.block()) is not None:
            if found.event is not None:
                return found
        raise AssertionError("it has ended")

    async def place(self) -> str:
        """The first id there is; the subscription has begun then."""
        while not self.last_id:
            assert await self.block() is not None
        return self.last_id

    async def rest(self) -> list[Block]:
        """All that comes until it ends."""
        found = []
        while (block := await self.block()) is not None:
            found.append(block)
        return found


class Parts:
    """A reader of parts that takes one for complete when the boundary behind it is there, as Apollo Client does."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.ended = False
        self._chunks = response.aiter_bytes()
        self._read = b""

    async def part(self) -> dict[str, Any] | None:
        """The next one that is no heartbeat; None behind the last boundary."""
        while (found := await self.any_part()) == {}:
            pass
        return found

    async def any_part(self) -> dict[str, Any] | None:
        """The next one; None behind the last boundary."""
        boundary = b"\r\n--graphql"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if self._read.startswith(b"--"):
                    self.ended = True
                    return None
                head, found, rest = self._read.partition(boundary)
                if not found:
                    self._read += await anext(self._chunks)
                    continue
                self._read = rest
                if head:
                    fields, _, body = head.partition(b"\r\n\r\n")
                    assert b"content-type: application/json" == fields.strip().lower()
                    part: dict[str, Any] = json.loads(body)
                    return part


@asynccontextmanager
async def events(
    server: Served, token: str | None, query: str = JOBS, *, last: str | None = None, **variables: object
) -> AsyncIterator[Events]:
    """A stream of events, opened by POST.

    Args:
        last: the last id that was heard.
    """
    headers = EVENTS | bearer(token) | ({} if last is None else {"last-event-id": last})
    asked = {"query": query, "variables": variables}
    async with server.client.stream("POST", "/graphql/stream", json=asked, headers=headers) as response:
        assert 200 == response.status_code, await response.aread()
        yield Events(response)


@asynccontextmanager
async def parts(server: Served, token: str | None, query: str = JOBS, **variables: object) -> AsyncIterator[Parts]:
    """A subscription in parts."""
    asked = {"query": query, "variables": variables}
    headers = PARTS | bearer(token)
    async with server.client.stream("POST", "/graphql", json=asked, headers=headers) as response:
        assert 200 == response.status_code, await response.aread()
        yield Parts(response)


def bearer(token: str | None) -> dict[str, str]:
    """The header of a token."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


async def queued(database: Database, tenant: str, owner: UUID | None = None) -> Job:
    """A new job, which is an event."""
    async with database.transaction(tenant) as tx:
        return await jobs.add(
            tx, NewJob(user_id=owner, source_url="https://example.test/a.mp4", chain=["video-downloader"])
        )


def change_of(job: Job, cursor: str) -> dict[str, Any]:
    """What is told of a job that was queued."""
    shown = {"id": str(job.id), "status": "QUEUED"}
    return {"jobChanged": {"__typename": "JobChange", "cursor": cursor, "job": shown}}


def routes_of(app: Starlette) -> list[GraphQLOverSSE | GraphQLOverHTTP]:
    """The routes of an application that flows go over."""
    kinds = GraphQLOverSSE | GraphQLOverHTTP
    return [each.endpoint for each in app.routes if isinstance(each, Route) and isinstance(each.endpoint, kinds)]


def flows_of(app: Starlette) -> Flows:
    """The flows of an application, to be set otherwise than they are."""
    return routes_of(app)[0].flows


def beating(app: Starlette, every_s: float) -> Starlette:
    """The same with a heartbeat after so many silent seconds."""
    for route in routes_of(app):
        route.beat_s = every_s
    return app
