"""What is happening now: one reader of events per process, and a mailbox for everybody who listens.

The reader follows `db.events` by its cursor and hands each event to the listeners of its tenant. A mailbox holds 256
events; when it is full, older events about a thing give way to newer ones about it. Who is still behind reads on from
PostgreSQL at a pace of their own, and who then takes nothing for eight seconds is let go with `SlowConsumer`: nobody
waits for anybody, and no mailbox grows. PostgreSQL away: the reader keeps trying and goes on from its cursor, nothing
is lost. Redis only rings the bell: without it an event is seen within a fifth of a second instead of at once.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict, defaultdict
from collections.abc import Collection
from types import TracebackType
from typing import Final
from uuid import UUID

from db import events, keys
from db.database import Database
from db.events import Cursor, Event, Kind
from db.redis import REDIS_AWAY, Redis
from guards.errors import Refusal, Unavailable

MAILBOX: Final = 256
LOOK_EVERY_S: Final = 0.2
IDLE_LOOK_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
PATIENCE_S: Final = 8.0
PAGE: Final = 500

log = logging.getLogger(__name__)


class SlowConsumer(Refusal):
    """Events came and were not taken for too long; listen again, after the last cursor that arrived."""

    code = "SLOW_CONSUMER"


class Listener:
    """The events somebody asked for, from the moment its block is entered; iterate it inside the block."""

    def __init__(
        self,
        hub: "Hub",
        tenant: str,
        kinds: frozenset[Kind],
        *,
        owner: UUID | None,
        entity: str | None,
        after: Cursor | None,
    ) -> None:
        self.tenant = tenant
        self.position = after
        """The cursor of the last event given out, or where it began."""

        self._hub = hub
        self._kinds = kinds
        self._owner = owner
        self._entity = entity
        self._replaying = after is not None
        self._mail: OrderedDict[Cursor, Event] = OrderedDict()
        self._arrived = asyncio.Event()
        self._ended: Refusal | None = None
        self._overflowed = False
        self._taken_at = time.monotonic()

    async def __aenter__(self) -> "Listener":
        here = await self._hub.edge()
        self.position = self.position or here
        self._hub.attach(self, here)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.detach(self)

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            SlowConsumer: too many had been waiting for too long; those still in the mailbox are not given out.
            Unavailable: this process is going down.
        """
        self._taken_at = time.monotonic()
        while True:
            if self._ended is not None:
                raise self._ended
            while self._mail:
                _, event = self._mail.popitem(last=False)
                if self.position is None or _place(event.cursor) > _place(self.position):
                    self.position = event.cursor
                    return event
            if self._replaying:
                await self._replay()
                continue
            self._arrived.clear()
            await self._arrived.wait()

    def put(self, event: Event) -> None:
        """Take an event that is wanted here; called by the hub, never waits."""
        if self._replaying or not self._wants(event):
            return
        if len(self._mail) >= MAILBOX and not self._coalesced(event):
            # It goes on from what is in the mailbox to what is on record, and from there back to being handed events.
            self._replaying = self._overflowed = True
            return
        self._mail[event.cursor] = event
        self._arrived.set()

    def stalled(self, patience_s: float) -> bool:
        """Whether events were more than fit, and none of them was taken for too long."""
        return self._overflowed and time.monotonic() - self._taken_at > patience_s

    def end(self, reason: Refusal) -> None:
        """Let the listener go; what it waits for now raises `reason`."""
        self._ended = reason
        self._mail.clear()
        self._hub.detach(self)
        self._arrived.set()

    def _wants(self, event: Event) -> bool:
        return (
            event.kind in self._kinds
            and (self._owner is None or event.owner_id == self._owner)
            and (self._entity is None or event.entity_id == self._entity)
        )

    def _coalesced(self, event: Event) -> bool:
        """Drop what newer events make superfluous; False when that makes no room."""
        newest: dict[tuple[Kind, str], Cursor] = {_about(each): each.cursor for each in self._mail.values()}
        newest[_about(event)] = event.cursor
        for cursor, waiting in tuple(self._mail.items()):
            if newest[_about(waiting)] != cursor:
                del self._mail[cursor]
        return len(self._mail) < MAILBOX

    async def _replay(self) -> None:
        """Fill the mailbox from PostgreSQL, a page at a time; the last page is read once the hub delivers again."""
        assert self.position is not None
        page = await self._hub.page(self.tenant, self.position, most=MAILBOX)
        if len(page) < MAILBOX:
            # From here on the hub fills the mailbox. What it passed before this line is in the page read after it,
            # and what is in both is told apart by its cursor.
            self._replaying = False
            page = await self._hub.page(self.tenant, self.position, most=MAILBOX)
            self._replaying = self._replaying or len(page) == MAILBOX
        self._overflowed = self._overflowed and self._replaying
        wanted = {event.cursor: event for event in page if self._wants(event)}
        fresh = {} if self._replaying else {c: e for c, e in self._mail.items() if c not in wanted}
        self._mail = OrderedDict(sorted({**wanted, **fresh}.items(), key=lambda item: _place(item[0])))
        if page and not wanted:
            self.position = page[-1].cursor


class Hub:
    """The one reader of events in a process, and everybody who listens to it."""

    def __init__(self, database: Database, redis: Redis, *, patience_s: float = PATIENCE_S) -> None:
        self._database = database
        self._redis = redis
        self._patience_s = patience_s
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._bell = asyncio.Event()
        self._cursor: Cursor | None = None
        self._read_at = time.monotonic()
        self.dropped = 0
        """How many listeners were let go because they were too slow."""

    @property
    def listeners(self) -> int:
        """How many are listening now."""
        return sum(map(len, self._listeners.values()))

    @property
    def behind_s(self) -> float:
        """Seconds since everything there was had been handed out."""
        return time.monotonic() - self._read_at

    def listen(
        self,
        tenant: str,
        kinds: Collection[Kind],
        *,
        owner: UUID | None = None,
        entity: str | None = None,
        after: Cursor | None = None,
    ) -> Listener:
        """The events of some kinds in a tenant: `async with hub.listen(…) as events: async for event in events: …`.

        Args:
            owner: only events about what is theirs.
            entity: only events about the thing of that id.
            after: begin after this cursor, with what is on record; None begins now.
        """
        return Listener(self, tenant, frozenset(kinds), owner=owner, entity=entity, after=after)

    async def run(self) -> None:
        """Read and hand out until cancelled; the one reader of the process."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear(), name="hub bell")
                group.create_task(self._read(), name="hub reader")
        finally:
            for listener in [each for some in self._listeners.values() for each in some]:
                listener.end(Unavailable("the server is going down: listen again in a moment", retry_after=1))

    async def ring(self) -> None:
        """Have every process look now, after a commit that should be seen at once; never raises."""
        self._bell.set()
        try:
            await self._redis.publish(keys.EVENTS_BELL, b"")
        except REDIS_AWAY as error:
            log.info("the bell for events is not heard, readers will look by themselves: %s", error)

    async def edge(self) -> Cursor:
        """The cursor after which only what is not committed yet will come."""
        async with self._database.system() as tx:
            return await events.edge(tx)

    async def page(self, tenant: str, cursor: Cursor, *, most: int) -> list[Event]:
        """What a tenant has on record after a cursor."""
        async with self._database.transaction(tenant) as tx:
            return await events.after(tx, cursor, most=most)

    def attach(self, listener: Listener, here: Cursor) -> None:
        """Hand a listener what comes after `here`, the edge as it was read for them."""
        self._listeners[listener.tenant].add(listener)
        self._cursor = self._cursor or here
        self._bell.set()

    def detach(self, listener: Listener) -> None:
        """Hand nothing more to a listener."""
        self._listeners[listener.tenant].discard(listener)
        if not self._listeners[listener.tenant]:
            del self._listeners[listener.tenant]

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                more = await self._look()
                failures = 0
            except Exception as error:
                # Whatever PostgreSQL answers while it goes down or comes up, the reader has to outlive it: everybody
                # who listens in this process depends on it, and its cursor says where to go on.
                failures += 1
                log.warning("events cannot be read, trying again: %s", error)
                await asyncio.sleep(min(LONGEST_PAUSE_S, LOOK_EVERY_S * 2**failures) * (0.5 + random.random() / 2))
                continue
            if not more:
                await self._rest()

    async def _look(self) -> bool:
        """Hand out one page; True when there may be more."""
        async with self._database.system() as tx:
            edge = await events.edge(tx) if self._cursor is None else None
            # Somebody may have begun to listen meanwhile, and then from an earlier place.
            self._cursor = self._cursor or edge
            assert self._cursor is not None
            page = await events.after(tx, self._cursor, most=PAGE)
        for event in page:
            for listener in tuple(self._listeners.get(event.tenant_id, ())):
                listener.put(event)
        if page:
            self._cursor = page[-1].cursor
        self._let_go()
        if len(page) == PAGE:
            return True
        self._read_at = time.monotonic()
        return False

    def _let_go(self) -> None:
        for listener in [each for some in self._listeners.values() for each in some if each.stalled(self._patience_s)]:
            self.dropped += 1
            listener.end(SlowConsumer(f"events were not taken for too long: listen again after {listener.position}"))

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S if self._listeners else IDLE_LOOK_S):
                await self._bell.wait()
        except TimeoutError:
            return
        finally:
            self._bell.clear()

    async def _hear(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as bell:
                    await bell.subscribe(keys.EVENTS_BELL)
                    while True:
                        if await bell.get_message(timeout=LONGEST_PAUSE_S) is not None:
                            self._bell.set()
            except REDIS_AWAY:
                await asyncio.sleep(LONGEST_PAUSE_S)


def _about(event: Event) -> tuple[Kind, str]:
    return event.kind, event.entity_id


def _place(cursor: Cursor) -> tuple[int, int]:
    return cursor.xid, cursor.id
