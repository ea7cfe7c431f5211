"""What all legacy sockets of a tenant are told alike, made once for all of them: numbers of jobs, and the snapshot.

A tenant's feed is there while one of its sockets is. Only the newest of each kind counts: a socket that is slow misses
what was told in between, and nothing is kept for it. Numbers are counted anew after something has changed, once a
second at most, and told when they are others. PostgreSQL away: nothing new is told until it is back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

from agentos.closes import Close
from agentos.transports import legacy_messages as messages
from agentos.transports.seats import Ended
from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.flights import Flights
from dataloaders.snapshot.versions import Copy
from db import workers
from db.events import Event, Kind
from db.health import DATABASE_FAILED
from db.tasks import going_on
from db.workers import Presence
from guards.errors import Refusal
from resolvers.context import Services
from resolvers.queries import queues
from resolvers.queries.queues import Numbers
from schema.rest.snapshots import older

APART_S: Final = 1.0
"""The least time between two counts, and between two tries while PostgreSQL does not answer."""

READ_EVERY_S: Final = 20.0
"""How often a snapshot that somebody follows is looked at, announced or not; and everything is counted."""

log = logging.getLogger(__name__)


class Latest:
    """The newest of some texts, for everybody who waits for one."""

    def __init__(self) -> None:
        self.number = 0
        """How many there have been."""

        self._text = ""
        self._changed = asyncio.Event()
        self._over = False

    def put(self, text: str) -> None:
        """Have everybody see a newer one."""
        self._text = text
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Say that there will be no other."""
        self._over = True
        self._changed.set()

    async def after(self, number: int) -> tuple[int, str]:
        """The newest, once there is one after that number, with its own.

        Raises:
            Ended: there will be none.
        """
        while self.number <= number:
            if self._over:
                raise Ended(Close.RESTARTING, "nothing more is told here: connect again")
            await self._changed.wait()
        return self.number, self._text


class Feed:
    """What one tenant's sockets are told alike."""

    def __init__(self, services: Services, tenant: str) -> None:
        self.numbers = Latest()
        self.snapshots = Latest()
        self.painted = 0
        """How often a snapshot was written as a message."""

        self._services = services
        self._tenant = tenant
        self._workers = Flights[str]()
        self._slot = slot_of(tenant, TimeRange.DAY)
        self._following = 0
        self._listening = asyncio.Event()
        self._recount = asyncio.Event()
        self._repaint = asyncio.Event()
        self._announced: str | None = None
        self._known: str | None = None
        """The version that followers have, or had when they began."""

        self._counted: Numbers | None = None

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Latest]:
        """The snapshots that are other than the one there is now; written and kept warm only while somebody follows."""
        await self._listening.wait()
        if not self._following:
            # Without it, a change between this moment and the first look would be what followers are taken to have.
            self._known = None
            with suppress(*DATABASE_FAILED):
                self._known = (await self._services.snapshots.found(self._tenant)).envelope.version
        self._following += 1
        try:
            async with self._services.snapshots.followers.of(self._slot):
                yield self.snapshots
        finally:
            self._following -= 1

    async def worker(self, event: Event) -> str:
        """How the worker of an event looks, read once for all who are told of it.

        Raises:
            DatabaseUnavailable: it cannot be read.
        """
        return await self._workers.join(event.cursor, lambda: self._look_at(event.entity_id))

    async def _look_at(self, worker_id: str) -> str:
        # What was asked of a worker is an event as well, and tells nothing of how it is.
        async with self._services.database.transaction(self._tenant) as tx:
            worker = await workers.by_id(tx, worker_id)
        return messages.worker_status(worker_id, worker.presence(datetime.now(UTC)) if worker else Presence.OFFLINE)

    async def run(self) -> None:
        """Listen, count and write until cancelled, or until this process hears of no events any more."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(work()) for work in (self._count, self._paint)]
                await self._listen()
                for task in beside:
                    task.cancel()
        finally:
            await self._workers.close()
            self._listening.set()
            self.numbers.end()
            self.snapshots.end()

    async def _listen(self) -> None:
        kinds = (Kind.JOB_CHANGED, Kind.QUEUE_CHANGED, Kind.WORKER_CHANGED, Kind.SNAPSHOT_CHANGED)
        while going_on():
            try:
                async with self._services.hub.listen(self._tenant, kinds) as told:
                    self._listening.set()
                    async for event in told:
                        if event.kind is Kind.SNAPSHOT_CHANGED:
                            # Those over another stretch of time are about something else.
                            if event.entity_id == self._slot.about:
                                self._announced = event.payload["version"]
                                self._repaint.set()
                        else:
                            self._recount.set()
            except Refusal as refusal:
                log.debug("nothing more is told to legacy sockets of %s: %s", self._tenant, refusal)
                return
            except DATABASE_FAILED as error:
                log.info("nothing new is told to legacy sockets of %s: %s", self._tenant, error)
                await asyncio.sleep(APART_S)

    async def _count(self) -> None:
        while going_on():
            self._recount.clear()
            with suppress(*DATABASE_FAILED):
                counted = await queues.numbers(self._services.database, self._tenant)
                if self._counted not in (None, counted):
                    self.numbers.put(messages.queue_stats(counted, type="queue_stats_update"))
                self._counted = counted
            await asyncio.sleep(APART_S)
            await _set_or_due(self._recount)

    async def _paint(self) -> None:
        while going_on():
            await _set_or_due(self._repaint)
            self._repaint.clear()
            announced, self._announced = self._announced, None
            if not self._following:
                continue
            with suppress(*DATABASE_FAILED):
                # Also when nothing was announced: with Redis away nothing is, and this process builds its own.
                told = await self._services.snapshots.announcements.of(self._slot, announced)
                if self._known != told.envelope.version:
                    self._put(told)
                self._known = told.envelope.version

    def _put(self, told: Copy) -> None:
        self.painted += 1
        self.snapshots.put(messages.admin_data(older(told.bodies.encoded), told.envelope.generated_at))


class Feeds:
    """The feeds of all tenants that have a legacy socket in this process."""

    def __init__(self, services: Services) -> None:
        self.open: dict[str, Feed] = {}

        self._services = services
        self._users: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[Feed]:
        """A tenant's feed, which goes on until the last who asked for it has left."""
        if tenant not in self.open:
            feed = self.open[tenant] = Feed(self._services, tenant)
            self._users[tenant] = 0
            self._tasks[tenant] = asyncio.create_task(feed.run(), name=f"feed {tenant}")
        self._users[tenant] += 1
        try:
            yield self.open[tenant]
        finally:
            self._users[tenant] -= 1
            if not self._users[tenant]:
                task = self._tasks.pop(tenant)
                del self.open[tenant], self._users[tenant]
                task.cancel()
                await asyncio.wait([task])


async def _set_or_due(event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(READ_EVERY_S):
            await event.wait()
