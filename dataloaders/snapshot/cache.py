"""The snapshot's way to its readers: this process's copy, else Redis's, else a build that everybody waits for once.

A snapshot is fresh for 5 s and kept for 15. Between the two it is served while one process, of all, builds the next.
Redis away or hanging: this process serves its own last copy and builds by itself; no reader sees an error because of
Redis. PostgreSQL away: sections keep their last value and say so; only a process that never had any raises.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from dataloaders.snapshot.about import About
from dataloaders.snapshot.announcements import Announcement, Announcements
from dataloaders.snapshot.encodings import PACKED, Bodies, Coding, Encoder, Pack
from dataloaders.snapshot.flights import Flights
from dataloaders.snapshot.followers import Followers
from dataloaders.snapshot.host import Host
from dataloaders.snapshot.patches import Patches
from dataloaders.snapshot.ranges import TimeRange
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.versions import Copy, Versions
from dataloaders.snapshot.whole import SECTIONS, Collect, Section, Snapshot, Stale, build
from db import events, users
from db import snapshots as stored
from db.database import Database, DatabaseUnavailable
from db.events import Kind
from db.health import PoolWatch
from db.models.identity import DEFAULT_TENANT
from db.redis import REDIS_AWAY, Redis
from db.snapshots import FRESH, TTL, Envelope, Slot

LOOK_EVERY: Final = timedelta(milliseconds=250)
"""How long this process trusts its fresh copy without asking Redis for a newer one."""

BACK_OFF: Final = timedelta(seconds=1)
"""How long Redis is left alone after it did not answer, and the least time between two builds after changes."""

BUILDS_AT_ONCE: Final = 2
SECTIONS_AT_ONCE: Final = 4
"""Over all builds of this process; each holds a database connection that a request may be waiting for."""

WAIT: Final = timedelta(seconds=3)
"""How long a process waits for another one's build before it builds by itself."""

_POLL_S: Final = 0.025

log = logging.getLogger(__name__)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How this process stands with one snapshot."""

    version: str | None
    """None when it has no copy."""

    age_s: float | None
    fresh: bool
    expired: bool
    """Whether there is none, or nothing in it was collected within the time that a snapshot is kept."""

    stale: list[Stale]
    last_error: str | None
    """Why the last build failed as a whole; None when it did not."""

    redis_away: bool
    hits: int
    """Answers from a copy, of all snapshots."""

    misses: int
    """Answers that waited for a build."""

    builds: int
    """Builds of this process."""


class Found(msgspec.Struct, frozen=True):
    """A snapshot as a reader finds it."""

    envelope: Envelope
    bodies: Bodies
    hit: bool
    """Whether it was there; else the reader has waited for it to be built."""


@dataclass(slots=True)
class _Held:
    """What this process knows of one snapshot."""

    copy: Copy | None = None
    looked_at: datetime | None = None
    expired_at: datetime | None = None
    error: str | None = None


def _utc() -> datetime:
    return datetime.now(UTC)


class Snapshots:
    """The snapshots of all tenants, as one process reads and builds them."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        about: About,
        *,
        sections: Mapping[Section, Collect] = SECTIONS,
        packed: Mapping[Coding, Pack] = PACKED,
        clock: Callable[[], datetime] = _utc,
    ) -> None:
        """Nothing is read before the first call.

        Args:
            sections: what a snapshot is collected from.
            packed: how its bodies are encoded.
            clock: UTC.
        """
        self._sources = Sources(
            database=database, redis=redis, pool=PoolWatch(database), host=Host(about.data_dir), about=about
        )
        self._redis, self._sections, self._clock = redis, sections, clock
        self._encoder = Encoder(packed)
        self._held: dict[Slot, _Held] = {}
        self._looks, self._builds = Flights[None](), Flights[Copy]()
        self._at_once = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._gate = asyncio.Semaphore(SECTIONS_AT_ONCE)
        self._away_until = datetime.min.replace(tzinfo=UTC)
        self._hits = self._misses = self._built = 0
        self.versions = Versions(redis, self._encoder, away=lambda: self._redis_away)
        self.announcements = Announcements(self.versions, self._served)
        self.patches = Patches()
        self.followers = Followers(redis)

    @property
    def sources(self) -> Sources:
        """What this process can ask, for those who look at one thing only."""
        return self._sources

    async def current(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> Snapshot:
        """A tenant's snapshot, at most 15 s old, and usually less than 5.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        copy, _ = await self._copy(slot_of(tenant, time_range))
        return copy.snapshot

    async def encoded(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> bytes:
        """The same as JSON, byte for byte as it is stored.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        copy, _ = await self._copy(slot_of(tenant, time_range))
        return copy.bodies.encoded

    async def found(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> Found:
        """The same with what is answered of it, for as long as it is the newest that this process holds.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        copy, hit = await self._copy(slot_of(tenant, time_range))
        return Found(copy.envelope, copy.bodies, hit)

    def bodies(self, encoded: bytes) -> Bodies:
        """The bodies of what was made of a snapshot for one answer alone."""
        return self._encoder.bodies(encoded)

    async def rebuild(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> Snapshot:
        """A snapshot collected from now on, whatever there is already; it replaces what there is.

        Raises:
            DatabaseUnavailable: there is no copy anywhere and PostgreSQL is away.
        """
        slot = slot_of(tenant, time_range)
        # One that is under way may have read before the caller's change.
        await self._builds.land(slot)
        copy = await self._builds.join(slot, lambda: self._build(slot, newer_than=self._clock()))
        return copy.snapshot

    async def expire(self, tenant: str) -> None:
        """Have the next reader start a rebuild, in whichever process, because something has changed."""
        now = self._clock()
        for slot, held in self._held.items():
            if slot.tenant == tenant:
                held.expired_at = now
        if not self._redis_away:
            try:
                await stored.mark_expired(self._redis, tenant, now)
            except REDIS_AWAY as error:
                self._back_off(error)

    def state(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> State:
        """How this process stands with a tenant's snapshot."""
        held = self._held.get(slot_of(tenant, time_range), _Held())
        return self._state(held, held.copy)

    async def state_for_readers(self, tenant: str, time_range: TimeRange = TimeRange.DAY) -> State:
        """The same once it was asked for, so that it is told of what a reader gets."""
        slot = slot_of(tenant, time_range)
        try:
            copy, _ = await self._copy(slot)
        except DatabaseUnavailable:
            return self.state(tenant, time_range)
        return self._state(self._held[slot], copy)

    async def warm_all(self) -> None:
        """Rebuild the snapshots that are being read, and tell listeners what has changed; for a cron every 5 s.

        Any number of processes may call it at once: for each snapshot one of them does the work. Those over another
        stretch of time than the usual one are kept warm only while somebody follows them. With Redis away there is
        nothing to keep warm, and nothing is done.
        """
        async with self._sources.database.system() as tx:
            tenants = await users.tenant_ids(tx)
        slots = [slot_of(tenant, time_range) for tenant in tenants for time_range in TimeRange]
        try:
            read = await stored.read_lately(self._redis, slots)
            for slot in dict.fromkeys((slot_of(DEFAULT_TENANT, TimeRange.DAY), *read)):
                await self._warm(slot)
        except REDIS_AWAY as error:
            self._back_off(error)

    async def close(self) -> None:
        """Cancel what is still being looked up or built here."""
        await self._looks.close()
        await self._builds.close()
        await self.versions.close()
        await self.patches.close()
        await self.followers.close()
        await self._encoder.close()

    async def _served(self, slot: Slot) -> Copy:
        copy, _ = await self._copy(slot)
        return copy

    async def _copy(self, slot: Slot) -> tuple[Copy, bool]:
        """A copy, and whether it was there."""
        held = self._held.setdefault(slot, _Held())
        if held.copy is not None and self._trusted(held) and self._fresh(held, held.copy):
            self._hits += 1
            return held.copy, True
        await self._looks.join(slot, lambda: self._look(slot, held))
        copy = held.copy
        if copy is not None and self._fresh(held, copy):
            self._hits += 1
            return copy, True
        building = self._builds.start(slot, lambda: self._build(slot))
        if copy is not None and self._clock() < copy.envelope.expires_at:
            self._hits += 1
            return copy, True
        self._misses += 1
        return await asyncio.shield(building), False

    def _trusted(self, held: _Held) -> bool:
        return held.looked_at is not None and self._clock() - held.looked_at < LOOK_EVERY

    def _fresh(self, held: _Held, copy: Copy) -> bool:
        now, made = self._clock(), copy.envelope.generated_at
        if now >= copy.envelope.fresh_until:
            return False
        # Changes come in bursts; each alone must not cost a build.
        changed = held.expired_at is not None and held.expired_at > made
        return not (changed and now - made >= BACK_OFF)

    async def _look(self, slot: Slot, held: _Held) -> None:
        """Take over a newer copy from Redis, if there is one."""
        now = self._clock()
        held.looked_at = now
        if self._redis_away:
            return
        try:
            seen = await stored.look(self._redis, slot)
            await self._take(slot, held, seen.envelope)
        except REDIS_AWAY as error:
            self._back_off(error)
            return
        if seen.expired_at is not None:
            held.expired_at = max(seen.expired_at, held.expired_at or seen.expired_at)
        if seen.envelope is None:
            # Emptied by hand, or Redis was: the copy here has been disowned.
            held.expired_at = now

    async def _take(self, slot: Slot, held: _Held, envelope: Envelope | None) -> None:
        copy = held.copy
        if envelope is None or (copy is not None and copy.envelope.generated_at >= envelope.generated_at):
            return
        found = await stored.body(self._redis, slot)
        newest = None if found is None else stored.envelope_of(found)
        if found is not None and newest is not None:
            held.copy = Copy(newest, self._encoder.bodies(found))

    async def _build(self, slot: Slot, *, newer_than: datetime | None = None) -> Copy:
        """A fresh copy: another process's, if it is building or has just built one, or one collected here.

        Args:
            newer_than: a copy generated before, or just then, does not count as fresh.
        """
        held = self._held.setdefault(slot, _Held())
        before = held.copy
        async with self._at_once:
            token = await self._lock(slot)
            if token is not None:
                return await self._locked(slot, held, token, newer_than)
            if self._redis_away:
                return await self._collected(slot, held, None)
        theirs = await self._other_built(slot, held, before)
        if theirs is not None:
            return theirs
        async with self._at_once:
            return await self._collected(slot, held, None)

    async def _locked(self, slot: Slot, held: _Held, token: str, newer_than: datetime | None) -> Copy:
        try:
            # Between looking and locking, somebody else may have finished.
            await self._look(slot, held)
            ready = held.copy
            if ready and self._fresh(held, ready) and (not newer_than or ready.envelope.generated_at > newer_than):
                return ready
            return await self._collected(slot, held, token)
        finally:
            # Shielded: a lock left behind by a cancelled builder would hold up everybody for its whole time.
            await asyncio.shield(self._unlock(slot, token))

    async def _other_built(self, slot: Slot, held: _Held, before: Copy | None) -> Copy | None:
        """The copy that another process is building; None when it takes too long, or Redis goes away meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT.total_seconds()):
                while not self._redis_away:
                    await asyncio.sleep(_POLL_S)
                    await self._look(slot, held)
                    if held.copy is not None and held.copy is not before:
                        return held.copy
        return None

    async def _collected(self, slot: Slot, held: _Held, token: str | None) -> Copy:
        frame = Frame(tenant=slot.tenant, time_range=TimeRange(slot.time_range or TimeRange.DAY), now=self._clock())
        last = held.copy.snapshot if held.copy else None
        self._built += 1
        try:
            built = await build(self._sources, frame, last=last, gate=self._gate, sections=self._sections)
        except DatabaseUnavailable as error:
            held.error = str(error)
            raise
        held.error = None
        bodies = self._encoder.bodies(built.encoded)
        copy = Copy(built.snapshot.envelope, bodies, built.snapshot, built.digests)
        if built.complete:
            held.copy = copy
            await self._store(slot, copy, token)
        return copy

    async def _warm(self, slot: Slot) -> None:
        # The connection is held while the sections are collected over others: the lock on it is what keeps the other
        # processes from doing the same, and the event that follows belongs to its transaction.
        async with self._sources.database.system() as tx:
            if not await stored.lead(tx, slot):
                return
            copy = await self._builds.join(slot, lambda: self._build(slot, newer_than=self._clock() - FRESH / 2))
            changed = copy.unlike(await stored.digests(self._redis, slot))
            if not changed:
                return
            # Before the event can be heard: whoever is told of the version asks for it, wherever they are.
            before = (await self.versions.keep(slot, copy, changed)).before()
            payload = msgspec.to_builtins(Announcement(copy.envelope.version, changed, before))
            await events.record(tx, Kind.SNAPSHOT_CHANGED, slot.about, payload, tenant=slot.tenant)
            tx.after_commit(lambda: stored.mark_digests(self._redis, slot, copy.said()))

    def _state(self, held: _Held, copy: Copy | None) -> State:
        now = self._clock()
        return State(
            version=copy.envelope.version if copy else None,
            age_s=(now - copy.envelope.generated_at).total_seconds() if copy else None,
            fresh=copy is not None and self._fresh(held, copy),
            expired=copy is None or now - copy.collected_at >= TTL,
            stale=copy.snapshot.stale if copy else [],
            last_error=held.error,
            redis_away=self._redis_away,
            hits=self._hits,
            misses=self._misses,
            builds=self._built,
        )

    @property
    def _redis_away(self) -> bool:
        return self._clock() < self._away_until

    def _back_off(self, error: BaseException) -> None:
        if not self._redis_away:
            log.info("Redis does not answer, the snapshot does without: %s", error)
        self._away_until = self._clock() + BACK_OFF

    async def _lock(self, slot: Slot) -> str | None:
        if self._redis_away:
            return None
        try:
            return await stored.lock(self._redis, slot)
        except REDIS_AWAY as error:
            self._back_off(error)
            return None

    async def _store(self, slot: Slot, copy: Copy, token: str | None) -> None:
        if token is None or self._redis_away:
            return
        try:
            await stored.store(self._redis, slot, token, copy.bodies.encoded)
        except REDIS_AWAY as error:
            self._back_off(error)

    async def _unlock(self, slot: Slot, token: str) -> None:
        if self._redis_away:
            return
        try:
            await stored.unlock(self._redis, slot, token)
        except REDIS_AWAY as error:
            self._back_off(error)


def slot_of(tenant: str, time_range: TimeRange) -> Slot:
    """Where the snapshot of a tenant over a stretch of time lies; the usual one under the plain key."""
    return Slot(tenant, None if time_range is TimeRange.DAY else time_range.value)
