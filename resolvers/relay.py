"""The relay: takes events from PostgreSQL, where they stand beside their cause, to the streams that processes read.

Any number of processes may run one; a single one relays at a time. It dies, or Redis is emptied, and another begins
where PostgreSQL is: what passed by meanwhile is what readers get from PostgreSQL themselves (`resolvers.live`), so
nothing depends on where the last relay had come to.
"""

import asyncio
import logging
import random
from typing import Final
from uuid import uuid4

from db import bells, events, keys, streams
from db.bells import Bell
from db.database import Database
from db.events import Cursor, Event
from db.redis import REDIS_AWAY, Redis
from db.tasks import going_on, pause_s, rest

PAGE: Final = 500
LOOK_EVERY_S: Final = 0.2
AWAIT_S: Final = 0.5
"""How often a relay that does not relay looks whether it should."""


log = logging.getLogger(__name__)


class Relay:
    """Takes events to their streams, while no other process does."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._bell = Bell(redis, keys.EVENTS_BELL)
        self._epoch: str | None = None
        self._start = self._cursor = events.START
        self._last: dict[str, Cursor] = {}
        self.relayed = 0
        """Events taken over by this process."""

    @property
    def leading(self) -> bool:
        """Whether it is this process that relays."""
        return self._epoch is not None

    async def run(self) -> None:
        """Relay until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bell.hear(), name="relay bell")
                group.create_task(self._relay(), name="relay")
        finally:
            await self._resign()

    async def _relay(self) -> None:
        failures = 0
        while going_on():
            try:
                more = await (self._lead() if self._epoch is None else self._take_over(self._epoch))
                failures = 0
            except Exception as error:
                # Whatever a store answers while it goes down or comes up, the relay has to outlive it.
                failures += 1
                log.warning("events are not relayed, trying again: %s", error)
                await rest(pause_s(failures, random.random()))
                continue
            if not more:
                await self._bell.wait(LOOK_EVERY_S if self.leading else AWAIT_S)

    async def _lead(self) -> bool:
        """Begin to relay, if nobody does; True when it did."""
        if await streams.led(self._redis):
            return False
        # Read before the epoch begins: whoever sees the epoch, and then catches up, has everything before this.
        async with self._database.system() as tx:
            edge = await events.edge(tx)
        epoch = uuid4().hex
        if not await streams.taken(self._redis, epoch):
            return False
        self._epoch, self._start, self._cursor, self._last = epoch, edge, edge, {}
        log.info("relaying events from %s on", edge)
        return True

    async def _take_over(self, epoch: str) -> bool:
        """Add one page to the streams; True when there may be more."""
        async with self._database.system() as tx:
            page = await events.after(tx, self._cursor, most=PAGE)
        if not await streams.add(self._redis, epoch, self._chained(page)):
            log.info("somebody else relays events, or Redis was emptied")
            self._epoch = None
            return True
        if page:
            self._cursor = page[-1].cursor
            self._last |= {event.tenant_id: event.cursor for event in page}
            self.relayed += len(page)
            await bells.ring(self._redis, keys.EVENTS_TOLD)
        return len(page) == PAGE

    def _chained(self, page: list[Event]) -> list[tuple[Cursor, Event]]:
        """Each event with the one of its tenant before it; before the first lies where this epoch began."""
        last = dict(self._last)
        chained = []
        for event in page:
            chained.append((last.get(event.tenant_id, self._start), event))
            last[event.tenant_id] = event.cursor
        return chained

    async def _resign(self) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            return
        try:
            await streams.end(self._redis, epoch)
        except REDIS_AWAY as error:
            log.info("the next relay begins a little later: %s", error)
