"""Who watches the snapshot: clients that hold it as JSON, and what they are told of."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

from jsonpath import JSONPatch

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.cache import slot_of
from db import jobs, logs
from db.jobs import NewJob
from db.models.records import Severity
from db.users import User
from resolvers.context import Services
from schema.root import schema
from tests.uploading import context_of
from tests.waiting import until

SLOT = slot_of("default", TimeRange.DAY)
BOTH = "sections { dashboard { jobs { totalJobs } } logs { logs { message } } queue { status } }"
SECTIONS = f"""
subscription($sections: [SnapshotSection!], $range: TimeRange! = DAY) {{
  snapshotChanged(sections: $sections, timeRange: $range) {{ ... on SnapshotChange {{
    version previousVersion changed {BOTH} snapshot {{ envelope {{ version }} analytics {{ timeRange }} }}
  }} }}
}}
"""
PATCHES = """
subscription($from: String, $sections: [SnapshotSection!], $after: String) {
  snapshotChanged(from: $from, sections: $sections, after: $after) { ... on SnapshotChange {
    cursor version changed patch { from operations reason document }
  } }
}
"""


class Viewer:
    """Somebody who watches the snapshot, and holds what they were told of it as JSON."""

    def __init__(self, stream: Any, document: Any = None) -> None:
        self.document = document
        self.coming: asyncio.Future[Any] = asyncio.ensure_future(anext(stream))
        self._stream = stream

    async def told(self) -> Any:
        """What is told next."""
        async with asyncio.timeout(60):
            answer = await self.coming
        self.coming = asyncio.ensure_future(anext(self._stream))
        body = json.loads(answer.body)
        return body["data"]["snapshotChanged"] if answer.ok else body["errors"][0]["extensions"]["code"]

    async def patched(self) -> Any:
        """The same, once it is applied to what they hold, by an implementation that is not the one that made it."""
        change = await self.told()
        patch = change["patch"]
        if patch["operations"] is None:
            self.document = patch["document"]
        else:
            assert self.document["envelope"]["version"] == patch["from"]
            self.document = applied(patch["operations"], self.document)
        return change


class Guest:
    """A client as the guide has it: it applies the patch that fits what it holds, and else comes back with that."""

    def __init__(self, sections: list[str] | None, chance: random.Random) -> None:
        self.sections = sections
        self.held: Any = None
        self.seats = 0
        """How often they came."""

        self._chance = chance
        self._seat: AsyncExitStack | None = None
        self._viewer: Viewer | None = None

    async def settle(self, stack: AsyncExitStack, services: Services, user: User) -> None:
        """Listen somewhere, if they do not."""
        if self._viewer is None:
            self.seats += 1
            self._seat = await stack.enter_async_context(AsyncExitStack())
            variables: dict[str, Any] = {
                "sections": self.sections,
                "from": self.held["envelope"]["version"] if self.held else "",
            }
            self._viewer = await self._seat.enter_async_context(watching(services, user, PATCHES, **variables))

    async def leave(self) -> None:
        if self._seat is not None:
            await self._seat.aclose()
        self._viewer = self._seat = None

    async def hear(self) -> None:
        """Take what has come, and leave now and then."""
        while self._viewer is not None and self._viewer.coming.done():
            await self._take(await self._viewer.told())
        if self._chance.random() < 0.5:
            await self.leave()

    async def hear_until(self, version: str, stack: AsyncExitStack, services: Services, user: User) -> None:
        """Take what comes, and come back where it does not fit, until they hold that version."""
        while not self.held or version != self.held["envelope"]["version"]:
            await self.settle(stack, services, user)
            assert self._viewer is not None
            await self._take(await self._viewer.told())

    async def _take(self, change: Any) -> None:
        patch = change["patch"]
        if patch["document"] is not None:
            self.held = patch["document"]
        elif self.held is not None and patch["from"] == self.held["envelope"]["version"]:
            self.held = applied(patch["operations"], self.held)
        else:
            await self.leave()


@asynccontextmanager
async def reading(services: Services) -> AsyncIterator[Services]:
    reader = asyncio.create_task(services.hub.run())
    try:
        yield services
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await services.snapshots.close()


@asynccontextmanager
async def watching(
    services: Services, user: User, document: str, *, held: Any = None, resumed: str | None = None, **variables: Any
) -> AsyncIterator[Viewer]:
    """Somebody who listens, or has been told something, once the block is entered."""
    listening, context = services.hub.listeners, context_of(services, user)
    context.after = resumed
    async with aclosing(schema.told(document, variables=variables, context=context)) as stream:
        viewer = Viewer(stream, held)
        try:
            await until(lambda: services.hub.listeners > listening or viewer.coming.done())
            yield viewer
        finally:
            viewer.coming.cancel()
            await asyncio.gather(viewer.coming, return_exceptions=True)


async def announced(services: Services, tenant: str = "default", *, line: str | None = None) -> str:
    """Have a job come in, or a line be logged, and the snapshot told of; its version."""
    async with services.database.transaction(tenant) as tx:
        if line is None:
            await jobs.add(tx, NewJob(user_id=None, source_url="https://a.test/a.mp4", chain=["clipper"]))
        else:
            await logs.write(tx, [logs.NewLine(level=Severity.INFO, source="tests", message=line)])
    await services.snapshots.rebuild(tenant)
    await services.snapshots.warm_all()
    return (await services.snapshots.found(tenant)).envelope.version


async def as_stored(services: Services, version: str) -> Any:
    """What a version is, as JSON."""
    copy = await services.snapshots.versions.of(SLOT, version)
    assert copy is not None
    return json.loads(copy.bodies.encoded)


def applied(operations: Any, document: Any) -> Any:
    """What a patch makes of a document, which stays as it is."""
    return JSONPatch(operations).apply(json.loads(letters(document)))


def letters(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
