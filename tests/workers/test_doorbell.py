"""A ring is heard by a worker, and by nobody when Redis is away; either way the caller goes on."""

import asyncio
from uuid import uuid4

from db import keys
from db.redis import Redis, connect
from workers.doorbell import Doorbell


async def test_a_ring_waits_in_the_queue_that_workers_listen_to(redis: Redis) -> None:
    await Doorbell(redis).ring(uuid4())

    assert 1 == await redis.zcard(keys.DOORBELL)


async def test_ringing_for_the_same_job_twice_rings_twice(redis: Redis) -> None:
    """A retried job must be heard as well as a new one."""
    job_id = uuid4()
    bell = Doorbell(redis)

    await bell.ring(job_id)
    await bell.ring(job_id)

    assert 2 == await redis.zcard(keys.DOORBELL)


async def test_a_ring_that_nobody_hears_costs_a_moment_and_no_error() -> None:
    clock = asyncio.get_running_loop().time
    async with connect("redis://127.0.0.1:1") as away:
        began = clock()
        await Doorbell(away).ring(uuid4())

    assert clock() - began < 5
