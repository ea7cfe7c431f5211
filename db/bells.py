"""Bells: how processes wake each other when there is something to look at; nothing is said but that.

Redis away: nobody is woken, and everybody looks by themselves at their own pace.
"""

import asyncio
import logging
from functools import partial
from typing import Final

from db import keys
from db.database import Hook
from db.redis import REDIS_AWAY, Redis
from db.tasks import going_on, rest

LONGEST_PAUSE_S: Final = 5.0

log = logging.getLogger(__name__)


class Bell:
    """One process's ear for some channels."""

    def __init__(self, redis: Redis, *channels: str) -> None:
        self._redis = redis
        self._channels = channels
        self._rung = asyncio.Event()

    def wake(self) -> None:
        """Wake who waits in this process."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until it rings, and no longer than that."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()

    async def hear(self) -> None:
        """Listen until cancelled."""
        while going_on():
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as heard:
                    await heard.subscribe(*self._channels)
                    while going_on():
                        if await heard.get_message(timeout=LONGEST_PAUSE_S) is not None:
                            self._rung.set()
            except REDIS_AWAY:
                await rest(LONGEST_PAUSE_S)


def of_events(redis: Redis) -> Hook:
    """What wakes those who wait for events, for `Database.bell`."""
    return partial(ring, redis, keys.EVENTS_BELL)


async def ring(redis: Redis, channel: str) -> None:
    """Wake every process that listens; never raises."""
    try:
        await redis.publish(channel, b"")
    except REDIS_AWAY as error:
        log.info("%s is not heard, others will look by themselves: %s", channel, error)
