"""The admin snapshot in Redis: one key a tenant, readable by older clients, built by one process at a time.

The value is the snapshot's JSON itself and begins with its envelope, so that a reader learns the version from the first
bytes and fetches the rest only when it is new to them. An envelope of another schema counts as nothing there. Every
function raises what is in `REDIS_AWAY` when Redis is; what to do then is the caller's to say.
"""

from collections.abc import Mapping, Sequence
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

_HEAD: Final = 400
_PREFIX: Final = b'{"envelope":'

# Compare and set: a builder whose lock ran out has been replaced, and must not overwrite what is newer.
_STORE: Final = (
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) redis.call('DEL', KEYS[2]) return 1"
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


async def read_lately(redis: Redis, tenants: Sequence[str]) -> list[str]:
    """Those tenants whose snapshot somebody has looked at within `READ_FOR`."""
    if not tenants:
        return []
    marks = await redis.mget([keys.snapshot_read(tenant) for tenant in tenants])
    return [tenant for tenant, mark in zip(tenants, marks, strict=True) if mark is not None]


async def announced(redis: Redis, tenant: str) -> dict[str, str]:
    """The digest of each section that listeners were last told of."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.snapshot_announced(tenant))
        [found] = await pipe.execute()
    return {name.decode(): digest.decode() for name, digest in found.items()}


async def mark_announced(redis: Redis, tenant: str, digests: Mapping[str, str]) -> None:
    """Note what listeners were told."""
    key = keys.snapshot_announced(tenant)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(key, mapping=dict(digests))
        pipe.expire(key, timedelta(days=1))
        await pipe.execute()


async def lead(tx: Transaction, tenant: str) -> bool:
    """Become the one who keeps a tenant's snapshot warm until this transaction ends; False when somebody else is."""
    return await tx.try_hold(f"{tenant}/snapshot")


def _moment(stamp: bytes | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(float(stamp), UTC)
