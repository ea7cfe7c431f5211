"""Streams: events on their way from PostgreSQL to every process, a Redis Stream for each tenant.

The id of an entry is the cursor of its event, so an event added twice is there once, and none ever stands before an
older one. One process at a time adds, for as long as it renews the epoch, a token that expires within seconds. While an
epoch lasts, a reader who had everything up to its begin misses nothing; a new epoch, or none, means that events may
have passed by, for instance because Redis was emptied, and PostgreSQL knows which. Each entry names the one before it,
so that whoever comes too late for what was cut off notices as well.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from db import keys
from db.events import Cursor, Event
from db.redis import Redis
from db.rows import Row

EPOCH_LASTS: Final = timedelta(seconds=2.5)
"""How long nobody adds before somebody else may; events are read from PostgreSQL meanwhile."""

KEPT: Final = 5_000
"""Entries of a tenant, about; older ones are in PostgreSQL."""

IDLE_KEPT: Final = timedelta(hours=1)

# KEYS: the epoch, then a stream for each event. ARGV: epoch, milliseconds, entries kept, seconds kept; then for each
# event its cursor, the cursor before it, and the event.
_ADD: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for number = 2, #KEYS do
    local at = 5 + (number - 2) * 3
    redis.pcall('XADD', KEYS[number], 'MAXLEN', '~', ARGV[3], ARGV[at], 'before', ARGV[at + 1], 'event', ARGV[at + 2])
    redis.call('EXPIRE', KEYS[number], ARGV[4])
end
return 1
"""
_END: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"
_EVENT: Final = msgspec.msgpack.Decoder(Event)


class Entry(Row, frozen=True):
    """One event in a stream."""

    before: Cursor
    """Nothing of the tenant lies between this and the event."""

    event: Event


class Read(Row, frozen=True):
    """What was found, all at one moment."""

    epoch: str | None
    """None while nobody adds."""

    entries: dict[str, list[Entry]]
    """By tenant, oldest first; tenants without any are not there."""


async def taken(redis: Redis, epoch: str) -> bool:
    """Begin an epoch, unless there is one."""
    return bool(await redis.set(keys.EVENTS_EPOCH, epoch, nx=True, px=EPOCH_LASTS))


async def led(redis: Redis) -> bool:
    """Whether somebody adds."""
    return bool(await redis.exists(keys.EVENTS_EPOCH))


async def add(redis: Redis, epoch: str, told: Sequence[tuple[Cursor, Event]]) -> bool:
    """Add events, each with the cursor before it, and renew the epoch; False when it has ended: nothing is added."""
    streams = [keys.events_of(event.tenant_id) for _, event in told]
    entries = [
        part for before, event in told for part in (str(event.cursor), str(before), msgspec.msgpack.encode(event))
    ]
    lasts_ms, kept_s = int(EPOCH_LASTS.total_seconds() * 1000), int(IDLE_KEPT.total_seconds())
    script = redis.register_script(_ADD)
    return bool(await script(keys=[keys.EVENTS_EPOCH, *streams], args=[epoch, lasts_ms, KEPT, kept_s, *entries]))


async def end(redis: Redis, epoch: str) -> None:
    """Have somebody else add from now on."""
    await redis.register_script(_END)(keys=[keys.EVENTS_EPOCH], args=[epoch])


async def read(redis: Redis, positions: Mapping[str, Cursor], *, most: int) -> Read:
    """What comes after each tenant's position, together with the epoch at that very moment.

    Args:
        most: entries of each tenant.
    """
    async with redis.pipeline(transaction=True) as pipe:
        pipe.get(keys.EVENTS_EPOCH)
        if positions:
            pipe.xread({keys.events_of(tenant): str(cursor) for tenant, cursor in positions.items()}, count=most)
        epoch, *found = await pipe.execute()
    tenants = {keys.events_of(tenant).encode(): tenant for tenant in positions}
    entries = {tenants[stream]: [_entry(fields) for _, fields in rows] for stream, rows in (found[0] if found else ())}
    return Read(epoch.decode() if epoch else None, entries)


def _entry(fields: Mapping[bytes, Any]) -> Entry:
    return Entry(Cursor.parsed(fields[b"before"].decode()), _EVENT.decode(fields[b"event"]))
