"""The admin snapshot in Redis: one key a tenant, readable by older clients, built by one process at a time.

The value is the snapshot's JSON itself and begins with its envelope, so that a reader learns the version from the first
bytes and fetches the rest only when it is new to them. An envelope of another schema counts as nothing there. Beside
it lie the versions that listeners were told of last, packed, so that a client can be told what differs from the one it
holds. Every function raises what is in `REDIS_AWAY` when Redis is; what to do then is the caller's to say.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from db import keys
from db.database import Transaction
from db.redis import Redis
from db.rows import Row

SCHEMA: Final = 1
"""Raised whenever a snapshot of before could not be read as one of now."""

FRESH: Final = timedelta(seconds=5)
"""How long a snapshot is served without anybody rebuilding it."""

TTL: Final = timedelta(seconds=15)
"""How long a snapshot is kept, and served while it is being rebuilt."""

LOCK: Final = timedelta(seconds=5)
"""How long a builder may take before another one starts; longer than the sections' deadline, shorter than `TTL`."""

READ_FOR: Final = timedelta(minutes=1)
"""How long after its last reader a snapshot is kept warm."""

VERSIONS: Final = 32
"""How many versions are kept of those that were announced; a busy tenant's are announced every five seconds."""

VERSIONS_BYTES: Final = 2**20
"""How large those of one snapshot may be together, packed; the newest is kept whatever its size."""

VERSIONS_FOR: Final = timedelta(days=1)
"""How long they are kept while no newer one is announced."""

LONGEST_VERSION: Final = 64

_HEAD: Final = 400
_PREFIX: Final = b'{"envelope":'

# Compare and set: a builder whose lock ran out has been replaced, and must not overwrite what is newer.
_STORE: Final = (
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) redis.call('DEL', KEYS[2]) return 1"
)
_KEEP: Final = (
    "local told = redis.call('HGETALL', KEYS[3]) local names = redis.call('LRANGE', KEYS[1], 0, -1) "
    "redis.call('LREM', KEYS[1], 0, ARGV[1]) redis.call('RPUSH', KEYS[1], ARGV[1]) "
    "redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) "
    "for each = 6, #ARGV do redis.call('HSET', KEYS[3], ARGV[each], ARGV[1]) end "
    "local kept = redis.call('LRANGE', KEYS[1], 0, -1) local size = 0 "
    "for _, name in ipairs(kept) do size = size + redis.call('HSTRLEN', KEYS[2], name) end "
    "local gone = 0 while #kept - gone > 1 and (#kept - gone > tonumber(ARGV[3]) or size > tonumber(ARGV[4])) do "
    "gone = gone + 1 size = size - redis.call('HSTRLEN', KEYS[2], kept[gone]) "
    "redis.call('HDEL', KEYS[2], kept[gone]) redis.call('LPOP', KEYS[1]) end "
    "for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[5]) end return {names, told}"
)
_UNLOCK: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Slot(Row, frozen=True):
    """Which snapshot."""

    tenant: str
    time_range: str | None = None
    """None for the one over the usual stretch of time."""

    @property
    def key(self) -> str:
        """Where it lies."""
        return keys.snapshot(self.tenant) if self.time_range is None else keys.snapshot_range(*self._pair)

    @property
    def about(self) -> str:
        """What events about it are about: the tenant, for the usual one. No tenant's id has an @ in it."""
        return self.tenant if self.time_range is None else f"{self.tenant}@{self.time_range}"

    @property
    def _pair(self) -> tuple[str, str]:
        return self.tenant, self.time_range or ""


class Envelope(Row, frozen=True, kw_only=True):
    """What is said about a snapshot in its first bytes."""

    schema: int
    version: str
    """Another one for each build."""

    generated_at: datetime
    fresh_until: datetime
    """After this it should be rebuilt, and may be served meanwhile."""

    expires_at: datetime
    """After this it is not served while a new one can be had."""


class Look(Row, frozen=True):
    """What is there for a reader."""

    envelope: Envelope | None
    """None when nothing is stored, or nothing of this schema."""

    expired_at: datetime | None
    """When something last changed that the snapshot should show."""


class Announced(Row, frozen=True):
    """Which versions listeners were told of."""

    kept: tuple[str, ...]
    """Those that are still there, oldest first."""

    last: dict[str, str]
    """The one that last told of each section."""

    def before(self) -> list[tuple[str, list[str]]]:
        """Those of them that were the last to tell of a section, newest first, with the sections."""
        told = {version: [name for name, last in self.last.items() if last == version] for version in self.kept}
        return [(version, sorted(told[version])) for version in reversed(self.kept) if told[version]]


_DECODER: Final = msgspec.json.Decoder(Envelope)


def envelope_of(head: bytes) -> Envelope | None:
    """The envelope at the start of a stored snapshot; None for anything else, or another schema."""
    end = head.find(b"}")
    if not head.startswith(_PREFIX) or end < 0:
        return None
    try:
        envelope = _DECODER.decode(head[len(_PREFIX) : end + 1])
    except msgspec.MsgspecError:
        return None
    return envelope if envelope.schema == SCHEMA else None


async def look(redis: Redis, slot: Slot) -> Look:
    """What is there, without fetching it; and note that somebody reads it."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.getrange(slot.key, 0, _HEAD - 1)
        pipe.get(keys.snapshot_expired(slot.tenant))
        pipe.set(keys.snapshot_read(slot.tenant), 1, ex=READ_FOR)
        head, expired, _ = await pipe.execute()
    return Look(envelope_of(head), _moment(expired))


async def body(redis: Redis, slot: Slot) -> bytes | None:
    """The snapshot's JSON, or None when it is gone or of another schema."""
    found: bytes | None = await redis.get(slot.key)
    return found if found is not None and envelope_of(found[:_HEAD]) is not None else None


async def lock(redis: Redis, slot: Slot) -> str | None:
    """Become the one who builds; None when somebody else is."""
    token = uuid4().hex
    taken = await redis.set(keys.snapshot_lock(slot.key), token, nx=True, px=LOCK)
    return token if taken else None


async def unlock(redis: Redis, slot: Slot, token: str) -> None:
    """Let others build, if they do not already."""
    await redis.register_script(_UNLOCK)(keys=[keys.snapshot_lock(slot.key)], args=[token])


async def store(redis: Redis, slot: Slot, token: str, encoded: bytes) -> bool:
    """Put a built snapshot there and let others build; False, and nothing changed, for a builder who was too slow."""
    lasting = int(TTL / timedelta(milliseconds=1))
    both = [slot.key, keys.snapshot_lock(slot.key)]
    stored = await redis.register_script(_STORE)(keys=both, args=[token, encoded, lasting])
    return bool(stored)


async def mark_expired(redis: Redis, tenant: str, at: datetime) -> None:
    """Note that something has changed which the tenant's snapshots should show."""
    await redis.set(keys.snapshot_expired(tenant), at.timestamp(), ex=TTL)


async def mark_read(redis: Redis, slot: Slot) -> None:
    """Note that somebody follows a snapshot, which is as good as reading it."""
    await redis.set(keys.snapshot_read(slot.about), 1, ex=READ_FOR)


async def read_lately(redis: Redis, slots: Sequence[Slot]) -> list[Slot]:
    """Those that somebody has followed within `READ_FOR`; for the usual one, any look at one of the tenant counts."""
    if not slots:
        return []
    marks = await redis.mget([keys.snapshot_read(slot.about) for slot in slots])
    return [slot for slot, mark in zip(slots, marks, strict=True) if mark is not None]


async def digests(redis: Redis, slot: Slot) -> dict[str, str]:
    """The digest of each section that listeners were last told of."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.snapshot_announced(slot.about))
        [found] = await pipe.execute()
    return {name.decode(): digest.decode() for name, digest in found.items()}


async def mark_digests(redis: Redis, slot: Slot, digests: Mapping[str, str]) -> None:
    """Note what listeners were told."""
    key = keys.snapshot_announced(slot.about)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(key, mapping=dict(digests))
        pipe.expire(key, timedelta(days=1))
        await pipe.execute()


async def keep(redis: Redis, slot: Slot, version: str, packed: bytes, sections: Collection[str]) -> Announced:
    """Keep a version that is about to be announced for these sections; which ones had been before it."""
    bounds = [VERSIONS, VERSIONS_BYTES, int(VERSIONS_FOR / timedelta(milliseconds=1))]
    names, told = await redis.register_script(_KEEP)(
        keys=list(keys.snapshot_versions(slot.about)), args=[version, packed, *bounds, *sections]
    )
    return _announced([name for name in names if name != version.encode()], dict(zip(*[iter(told)] * 2, strict=True)))


async def announced(redis: Redis, slot: Slot) -> Announced:
    """Which versions were announced."""
    versions, _, sections = keys.snapshot_versions(slot.about)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.lrange(versions, 0, -1)
        pipe.hgetall(sections)
        names, told = await pipe.execute()
    return _announced(names, told)


async def packed(redis: Redis, slot: Slot, version: str) -> bytes | None:
    """A version as it was kept; None when it is not there any more, or never was."""
    if len(version) > LONGEST_VERSION:
        return None
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hget(keys.snapshot_versions(slot.about)[1], version)
        [found] = await pipe.execute()
    return found if isinstance(found, bytes) else None


async def lead(tx: Transaction, slot: Slot) -> bool:
    """Become the one who keeps a snapshot warm until this transaction ends; False when somebody else is."""
    return await tx.try_hold(f"{slot.about}/snapshot")


def _announced(names: Sequence[bytes], told: Mapping[bytes, bytes]) -> Announced:
    return Announced(
        tuple(name.decode() for name in names), {name.decode(): version.decode() for name, version in told.items()}
    )


def _moment(stamp: bytes | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(float(stamp), UTC)
