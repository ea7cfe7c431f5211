"""What is happening now: one reader of events per process, and a mailbox for everybody who listens.

The reader follows each tenant that somebody listens to by a cursor of its own: in the streams that the relay fills, and
in PostgreSQL as soon as the streams may lack something, because nobody relays, Redis was emptied, or they were cut off.
So it does not matter where an event comes from, and none is lost or handed out twice. A mailbox holds 256 events; when
it is full, older events about a thing give way to newer ones about it. Who is still behind reads on from PostgreSQL at
a pace of their own, and who then takes nothing for eight seconds is let go with `SlowConsumer`: nobody waits for
anybody, and no mailbox grows. Who asks for what came after a cursor, and some of that is not kept any more or there
never was such a place, is told so and begins with what comes now.

PostgreSQL away: what is in the streams is handed out, and the reader goes on from its cursors. Redis away: an event is
seen within a fifth of a second instead of at once.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, TypeVar
from uuid import UUID

from dataloaders.snapshot.flights import Flights
from db import events, keys, streams
from db.bells import Bell
from db.database import Database
from db.events import OCCURRENCES, START, Cursor, Event, Kind
from db.redis import REDIS_AWAY, Redis
from db.tasks import going_on, pause_s, rest
from guards.errors import Refusal, Unavailable

MAILBOX: Final = 256
LOOK_EVERY_S: Final = 0.2
IDLE_LOOK_S: Final = 1.0
PATIENCE_S: Final = 8.0
PAGE: Final = 500
GOING_DOWN: Final = "the server is going down"
REMOVED: Final = "events were removed from the record before they were read"

log = logging.getLogger(__name__)

T = TypeVar("T")


class ResyncReason(StrEnum):
    """Why a listener could not go on from the cursor it had; what it knows has to be read anew."""

    TOO_OLD = "too_old"
    """Events after it are not kept any more."""

    UNKNOWN = "unknown"
    """There was never such a place here: it is of another installation, or of one that was set back since."""


class SlowConsumer(Refusal):
    """Events came and were not taken for too long; listen again, after the last cursor that arrived."""

    code = "SLOW_CONSUMER"

    def __init__(self, message: str, *, cursor: Cursor) -> None:
        super().__init__(f"{message}: listen again after {cursor}")
        self.cursor = cursor
        """What to go on from, once everything handed out has arrived."""


class Stopping(Unavailable):
    """This process is going down; listen again in a moment, after the last cursor that arrived."""

    def __init__(self, message: str, *, cursor: Cursor) -> None:
        super().__init__(f"{message}: listen again in a moment, after {cursor}", retry_after=1)
        self.cursor = cursor
        """What to go on from, once everything handed out has arrived."""


class Listener:
    """The events somebody asked for, from the moment its block is entered; iterate it inside the block."""

    def __init__(
        self,
        hub: "Hub",
        tenant: str,
        kinds: frozenset[Kind],
        *,
        owner: UUID | None,
        owned: frozenset[Kind],
        entity: str | None,
        wants: Callable[[Event], bool] | None,
        after: Cursor | None,
        coalesced: bool,
    ) -> None:
        self.tenant = tenant
        self.position = after or START
        """The cursor of the last event given out, or where it began."""

        self.resync: ResyncReason | None = None
        """Why it begins here and not at the cursor that was asked for; known once the block is entered."""

        self._hub = hub
        self._kinds = kinds
        self._owner = owner
        self._owned = owned
        self._entity = entity
        self._condition = wants
        self._coalesces = coalesced
        self._replaying = after is not None
        self._reading = False
        self._seen = START
        """The last event that the hub has handed in and that was taken, wanted or not."""

        self._mail: OrderedDict[Cursor, Event] = OrderedDict()
        self._arrived = asyncio.Event()
        self._ended: Refusal | None = None
        self._overflowed = False
        self._busy_since: float | None = time.monotonic()
        """Since when nobody waits for the next event; None while somebody does."""

    async def __aenter__(self) -> "Listener":
        floor, here = await self._hub.bounds(self.tenant)
        if self._replaying and self.position > here:
            self.resync = ResyncReason.UNKNOWN
        elif self._replaying and self.position < floor:
            self.resync = ResyncReason.TOO_OLD
        if self.resync or not self._replaying:
            self.position, self._replaying = here, False
        missed = self._hub.attach(self, here)
        self._replaying = self._replaying or missed
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
            SlowConsumer: too many had been waiting for too long, and those still in the mailbox are not given out; or
                some were removed from the record before they could be read.
            Stopping: this process is going down.
        """
        self._busy_since = None
        try:
            while True:
                if self._ended is not None:
                    raise self._ended
                while self._mail:
                    _, event = self._mail.popitem(last=False)
                    if event.cursor > self.position:
                        self.position = event.cursor
                        return event
                if self._replaying:
                    await self._replay()
                    continue
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._busy_since = time.monotonic()

    @property
    def reached(self) -> Cursor:
        """After which cursor to go on: that of the last event given out, or of a later one that was not wanted.

        Who listens to something rare has heard nothing for days: after a cursor of then, nobody could go on.
        """
        behind = self._mail or self._replaying or self._reading
        return self.position if behind else max(self.position, self._seen)

    def put(self, event: Event) -> None:
        """Take an event that is wanted here; called by the hub, never waits and never raises."""
        if self._replaying:
            return
        try:
            wanted = self._wants(event)
        except Exception:
            # A condition that fails ends its own listener; raised on, it would stop the reader of everybody's events.
            log.exception("whether an event is wanted cannot be told")
            self.end(SlowConsumer("whether an event is wanted could not be told", cursor=self.reached))
            return
        if wanted and len(self._mail) >= MAILBOX and not self._coalesced(event):
            # It goes on from what is in the mailbox to what is on record, and from there back to being handed events.
            self._replaying = self._overflowed = True
            return
        self._seen = event.cursor
        if wanted:
            self._mail[event.cursor] = event
            self._arrived.set()

    def stalled(self, patience_s: float) -> bool:
        """Whether events were more than fit, and whoever takes them has been busy with the last one for too long."""
        busy_since = self._busy_since
        return self._overflowed and busy_since is not None and time.monotonic() - busy_since > patience_s

    def end(self, reason: Refusal) -> None:
        """Let the listener go; what it waits for now raises `reason`."""
        self._ended = reason
        self._mail.clear()
        self._hub.detach(self)
        self._arrived.set()

    def _wants(self, event: Event) -> bool:
        return (
            event.kind in self._kinds
            and (self._owner is None or event.kind not in self._owned or event.owner_id == self._owner)
            and (self._entity is None or event.entity_id == self._entity)
            and (self._condition is None or self._condition(event))
        )

    def _coalesced(self, event: Event) -> bool:
        """Drop what newer events make superfluous; False when that makes no room."""
        if not self._coalesces:
            return False
        newest: dict[tuple[Kind, str], Cursor] = {_about(each): each.cursor for each in self._mail.values()}
        newest[_about(event)] = event.cursor
        for cursor, waiting in tuple(self._mail.items()):
            if newest[_about(waiting)] != cursor:
                del self._mail[cursor]
        return len(self._mail) < MAILBOX

    async def _replay(self) -> None:
        """Fill the mailbox from PostgreSQL, a page at a time; the last page is read once the hub delivers again."""
        page = await self._page()
        if len(page) < MAILBOX:
            # From here on the hub fills the mailbox. What it passed before this line is in the page read after it,
            # and what is in both is told apart by its cursor.
            self._replaying = False
            page = await self._last_page()
        self._overflowed = self._overflowed and self._replaying
        wanted = {event.cursor: event for event in page if self._wants(event)}
        self._mail = OrderedDict(sorted({**wanted, **self._mail}.items()))
        if page and not wanted:
            self.position = page[-1].cursor

    async def _last_page(self) -> list[Event]:
        """What was on record when the hub began to deliver; if that cannot be told, or is more, the replay goes on."""
        whole = False
        try:
            page = await self._page()
            whole = len(page) < MAILBOX
        finally:
            if not whole:
                # Whoever took what has been delivered meanwhile would never get what lies before it.
                self._replaying = True
                self._mail.clear()
        return page

    async def _page(self) -> list[Event]:
        """What comes next on record, all of it."""
        self._reading = True
        page, floor = await self._hub.page(self.tenant, self.position, most=MAILBOX)
        self._reading = False
        if floor > self.position:
            raise SlowConsumer(REMOVED, cursor=self.position)
        return page


@dataclass(slots=True)
class _Followed:
    """How far the events of a tenant were handed out."""

    position: Cursor
    epoch: str | None = None
    """The epoch since whose begin nothing can be missing; None until what is on record was looked at."""


class Hub:
    """The one reader of events in a process, and everybody who listens to it."""

    def __init__(self, database: Database, redis: Redis, *, patience_s: float = PATIENCE_S) -> None:
        self._database = database
        self._redis = redis
        self._patience_s = patience_s
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._bell = Bell(redis, keys.EVENTS_BELL, keys.EVENTS_TOLD)
        self._followed: dict[str, _Followed] = {}
        self._bounds = Flights[tuple[Cursor, Cursor]]()
        self._pages = Flights[tuple[list[Event], Cursor]]()
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
        owned: Collection[Kind] | None = None,
        entity: str | None = None,
        wants: Callable[[Event], bool] | None = None,
        after: Cursor | None = None,
        coalesced: bool = True,
    ) -> Listener:
        """The events of some kinds in a tenant: `async with hub.listen(…) as events: async for event in events: …`.

        Args:
            owner: only events about what is theirs.
            owned: of which kinds that is asked; None for all of them.
            entity: only events about the thing of that id.
            wants: only events that this says yes to; the reader of the process asks it, so it must not take long.
            after: begin after this cursor, with what is on record; None begins now. From a cursor that nobody can go
                on from it begins now as well, and says so (`Listener.resync`).
            coalesced: whether newer events about a thing may take the place of older ones when the mailbox is full.
        """
        wanted = frozenset(kinds)
        return Listener(
            self,
            tenant,
            wanted,
            owner=owner,
            owned=wanted if owned is None else frozenset(owned),
            entity=entity,
            wants=wants,
            after=after,
            coalesced=coalesced,
        )

    async def run(self) -> None:
        """Read and hand out until cancelled; the one reader of the process."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._bell.hear(), name="hub bell")
                group.create_task(self._read(), name="hub reader")
        finally:
            for listener in [each for some in self._listeners.values() for each in some]:
                listener.end(Stopping(GOING_DOWN, cursor=listener.reached))
            await self._bounds.close()
            await self._pages.close()

    async def edge(self) -> Cursor:
        """The cursor after which only what is not committed yet will come."""
        async with self._database.system() as tx:
            return await events.edge(tx)

    async def bounds(self, tenant: str) -> tuple[Cursor, Cursor]:
        """The newest event of a tenant that was removed, and the edge; read once for all who come at a time."""

        async def read() -> tuple[Cursor, Cursor]:
            async with self._database.transaction(tenant) as tx:
                return await events.floor(tx), await events.edge(tx)

        return await _landed(self._bounds.next(tenant, read), Unavailable(GOING_DOWN, retry_after=1))

    async def page(self, tenant: str, cursor: Cursor, *, most: int) -> tuple[list[Event], Cursor]:
        """What a tenant has on record after a cursor, and the newest event that was removed; read once, as above."""

        async def read() -> tuple[list[Event], Cursor]:
            async with self._database.transaction(tenant) as tx:
                return await events.after(tx, cursor, most=most), await events.floor(tx)

        return await _landed(self._pages.next((tenant, cursor, most), read), Stopping(GOING_DOWN, cursor=cursor))

    def attach(self, listener: Listener, here: Cursor) -> bool:
        """Hand a listener what comes from now on; True when something was handed out since `here` was the edge."""
        self._listeners[listener.tenant].add(listener)
        followed = self._followed.setdefault(listener.tenant, _Followed(here))
        self._bell.wake()
        return followed.position > here

    def detach(self, listener: Listener) -> None:
        """Hand nothing more to a listener."""
        self._listeners[listener.tenant].discard(listener)
        if not self._listeners[listener.tenant]:
            del self._listeners[listener.tenant]
            self._followed.pop(listener.tenant, None)

    async def _read(self) -> None:
        failures = 0
        while going_on():
            try:
                more = await self._look()
                failures = 0
            except Exception as error:
                # Whatever PostgreSQL answers while it goes down or comes up, the reader has to outlive it: everybody
                # who listens in this process depends on it, and its cursor says where to go on.
                failures += 1
                log.warning("events cannot be read, trying again: %s", error)
                await rest(pause_s(failures, random.random()))
                continue
            if not more:
                await self._rest()

    async def _look(self) -> bool:
        """Hand out a page of each tenant; True when there may be more."""
        followed = dict(self._followed)
        relayed = await self._streamed({tenant: each.position for tenant, each in followed.items()})
        more = False
        for tenant, each in followed.items():
            entries = relayed.entries.get(tenant, [])
            whole = not entries or entries[0].before <= each.position
            if whole and relayed.epoch is not None and relayed.epoch == each.epoch:
                self._hand_out(tenant, each, [entry.event for entry in entries])
                more = more or len(entries) == PAGE
            else:
                more = await self._recorded(tenant, each, relayed.epoch) or more
        stalled = [each for some in self._listeners.values() for each in some if each.stalled(self._patience_s)]
        self._let_go(stalled, "events were not taken for too long")
        if not more:
            self._read_at = time.monotonic()
        return more

    async def _streamed(self, positions: dict[str, Cursor]) -> streams.Read:
        """What is in the streams; nothing, in no epoch, when Redis does not answer."""
        try:
            return await streams.read(self._redis, positions, most=PAGE)
        except REDIS_AWAY:
            return streams.Read(None, {})

    async def _recorded(self, tenant: str, followed: "_Followed", epoch: str | None) -> bool:
        """Hand out what is on record of a tenant; True when there may be more.

        Args:
            epoch: the one that there was before this; what is handed out here is all that it may lack.
        """
        async with self._database.transaction(tenant) as tx:
            edge = await events.edge(tx)
            page = await events.after(tx, followed.position, most=PAGE)
            floor = await events.floor(tx)
        if floor > followed.position:
            # This process was away for longer than events are kept; who came since begins after all that is gone.
            self._let_go([each for each in self._told_by(followed, tenant) if each.position < floor], REMOVED)
            followed.position = floor
            return True
        self._hand_out(tenant, followed, page)
        if len(page) == PAGE:
            return True
        followed.position = max(edge, followed.position)
        followed.epoch = epoch
        return False

    def _hand_out(self, tenant: str, followed: "_Followed", page: Iterable[Event]) -> None:
        for event in page:
            followed.position = event.cursor
            for listener in self._told_by(followed, tenant):
                listener.put(event)

    def _told_by(self, followed: "_Followed", tenant: str) -> tuple[Listener, ...]:
        """Who listens from where it had come to: nobody, once all have left; who came since then began elsewhere."""
        return tuple(self._listeners.get(tenant, ())) if self._followed.get(tenant) is followed else ()

    def _let_go(self, listeners: Collection[Listener], why: str) -> None:
        for listener in tuple(listeners):
            self.dropped += 1
            listener.end(SlowConsumer(why, cursor=listener.reached))

    async def _rest(self) -> None:
        await self._bell.wait(LOOK_EVERY_S if self._listeners else IDLE_LOOK_S)


async def _landed(flight: Coroutine[Any, Any, T], given_up: Refusal) -> T:
    """What a flight brings; one that is cancelled because the hub ends must not look as if who waits for it were."""
    try:
        return await flight
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if waiting is None or waiting.cancelling():
            raise
        raise given_up from None


def _about(event: Event) -> tuple[Kind, str]:
    """What an event is about; one that merely tells that something occurred is about nothing but itself."""
    return event.kind, str(event.cursor) if event.kind in OCCURRENCES else event.entity_id
