"""Ringing the workers: a job's id over arq, so that one looks at once instead of at its next round.

A ring carries no state. When Redis is away it is not heard, and the job waits for the next look at the queue, a second.
"""

import logging
from uuid import UUID

import msgspec
from arq.connections import ArqRedis

from db.redis import REDIS_AWAY, Redis

QUEUE = "agentos:doorbell"

log = logging.getLogger(__name__)


class Doorbell:
    """Rings; one for a process, over the process's own Redis client."""

    def __init__(self, redis: Redis) -> None:
        self._arq = ArqRedis(
            redis.connection_pool,
            default_queue_name=QUEUE,
            job_serializer=msgspec.msgpack.encode,
            job_deserializer=msgspec.msgpack.decode,
        )

    async def ring(self, job_id: UUID) -> None:
        """Tell a worker that a job is due; never raises and never waits long."""
        try:
            await self._arq.enqueue_job("ring", str(job_id), _expires=60)
        except REDIS_AWAY as error:
            log.info("the doorbell is not heard, workers will look by themselves: %s", error)
