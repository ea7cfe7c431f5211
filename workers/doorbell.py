"""Ringing the workers: a job's id over arq, so that one looks at once instead of at its next round.

A ring carries no state. When Redis is away it is not heard, and the job waits for the next look at the queue, a second.
"""

import logging
from typing import Final
from uuid import UUID

import msgspec
from arq.connections import ArqRedis

from db import keys
from db.redis import REDIS_AWAY, Redis

RING: Final = "ring"
"""What a ring is called on the way."""

log = logging.getLogger(__name__)


class Doorbell:
    """Rings; one for a process, over the process's own Redis client."""

    def __init__(self, redis: Redis) -> None:
        self._arq = over(redis)

    async def ring(self, job_id: UUID) -> None:
        """Tell a worker that a job is due; never raises and never waits long."""
        try:
            await self._arq.enqueue_job(RING, str(job_id), _expires=60)
        except REDIS_AWAY as error:
            log.info("the doorbell is not heard, workers will look by themselves: %s", error)


def over(redis: Redis) -> ArqRedis:
    """A client of arq over the connections of another, for both ends of the wire."""
    return ArqRedis(
        redis.connection_pool,
        default_queue_name=keys.DOORBELL,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
    )
