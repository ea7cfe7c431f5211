"""The arq side of a worker: it hears the doorbell and warms the admin snapshot every five seconds.

arq ends when it loses Redis; nothing else here does. It is started again with growing pauses, and until then jobs are
found by looking and readers of the snapshot build it themselves.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from arq import cron
from arq.connections import ArqRedis
from arq.worker import Worker, func

from db import keys
from db.database import DatabaseUnavailable
from db.redis import REDIS_AWAY, connect
from db.tasks import going_on, rest
from workers.doorbell import RING, over
from workers.engine import Engine

ANSWER_TIMEOUT_S: Final = 2.0
LONGEST_PAUSE_S: Final = 5.0
WARM_AT: Final = set(range(0, 60, 5))

Warm = Callable[[], Awaitable[object]]
"""Rebuilds what is old of the snapshots."""

log = logging.getLogger(__name__)


async def ring(context: dict[str, Any], job_id: str) -> None:
    """A job is due: have the engine look."""
    engine: Engine = context["engine"]
    engine.ring()


async def warm_admin_cache(context: dict[str, Any]) -> None:
    """Have the admin snapshot rebuilt before its readers find it old."""
    warm: Warm = context["warm"]
    try:
        await warm()
    except DatabaseUnavailable as error:
        log.warning("the snapshot is not warmed this time: %s", error)


async def listen(redis_url: str, engine: Engine | None, warm: Warm, *, queue: str = keys.DOORBELL) -> None:
    """Hear the bell, if there is an engine for it, and keep the snapshot warm until cancelled."""
    pause = 0.1
    while going_on():
        started = asyncio.get_running_loop().time()
        try:
            await _once(redis_url, engine, warm, queue)
        except REDIS_AWAY as error:
            log.warning("the doorbell is out of order: %s", error)
        if asyncio.get_running_loop().time() - started > LONGEST_PAUSE_S:
            pause = 0.1
        await rest(pause * random.uniform(0.5, 1.0))
        pause = min(LONGEST_PAUSE_S, pause * 2)


async def _once(redis_url: str, engine: Engine | None, warm: Warm, queue: str) -> None:
    client = over(connect(redis_url, answer_timeout_s=ANSWER_TIMEOUT_S))
    warming = cron(
        warm_admin_cache,  # type: ignore[arg-type] # arq's protocol insists on *args
        # arq knows jobs by their names over all queues: by one alone, the workers would take the warmer's rounds.
        name=f"{queue}:{warm_admin_cache.__name__}",
        second=WARM_AT,
        unique=True,
        keep_result=0,
        timeout=10,
    )
    worker = Worker(
        functions=[] if engine is None else [func(ring, name=RING)],  # type: ignore[arg-type] # arq insists on *args
        cron_jobs=[warming],
        redis_pool=client,
        queue_name=queue,
        ctx={"engine": engine, "warm": warm},
        handle_signals=False,
        poll_delay=0.1,
        keep_result=0,
        max_tries=1,
        job_timeout=10,
        log_results=False,
        job_serializer=msgspec.msgpack.encode,
        job_deserializer=msgspec.msgpack.decode,
    )
    try:
        await worker.async_run()
    finally:
        # Shielded: a client that is not closed keeps its socket until the process ends.
        await asyncio.shield(_closed(worker, client))


async def _closed(worker: Worker, client: ArqRedis) -> None:
    worker.allow_pick_jobs = False
    for task in (running := [*worker.tasks.values()]):
        task.cancel()
    if running:
        # Their connections go back to the pool only when they have really ended.
        await asyncio.wait(running, timeout=1)
    try:
        await client.aclose(close_connection_pool=True)
    except REDIS_AWAY as error:
        log.info("the doorbell could not be hung up: %s", error)
