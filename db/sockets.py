"""How many legacy sockets are open: every process that has them says so, and one that fell silent has none.

Every function raises what is in `REDIS_AWAY` when Redis is; then nobody knows.
"""

from datetime import timedelta
from typing import Final

from db import keys
from db.redis import Redis

SILENT_AFTER: Final = timedelta(seconds=10)
"""How long what a process said holds."""


async def say(redis: Redis, process: str, count: int) -> None:
    """Say how many sockets a process has open."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.sadd(keys.SOCKETS, process)
        pipe.set(keys.sockets(process), count, px=SILENT_AFTER)
        await pipe.execute()


async def unsay(redis: Redis, process: str) -> None:
    """Say that a process is no more."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.srem(keys.SOCKETS, process)
        pipe.delete(keys.sockets(process))
        await pipe.execute()


async def heard(redis: Redis) -> dict[str, int]:
    """How many each process has open, of those that are heard of."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.smembers(keys.SOCKETS)
        [members] = await pipe.execute()
    names = sorted(name.decode() for name in members)
    if not names:
        return {}
    counts = await redis.mget([keys.sockets(name) for name in names])
    silent = [name for name, count in zip(names, counts, strict=True) if count is None]
    if silent:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.srem(keys.SOCKETS, *silent)
            await pipe.execute()
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count is not None}
