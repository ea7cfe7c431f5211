"""Health: what makes a server ready, and how it takes its leave of a load balancer."""

import asyncio
import time

from agentos.health import STEADY_S, Check, Health, Report
from db.database import Database
from db.redis import Redis

UP, DOWN = Check(ok=True, required=True, ms=1), Check(ok=False, required=True, ms=1)
SLOWER = Check(ok=False, required=False, ms=1)


def test_only_what_is_required_makes_a_server_not_ready() -> None:
    assert (True, "healthy") == _of(Report({"database": UP}, draining=False))
    assert (True, "degraded") == _of(Report({"database": UP, "redis": SLOWER}, draining=False))
    assert (False, "unhealthy") == _of(Report({"database": DOWN}, draining=False))
    assert (False, "unhealthy") == _of(Report({"database": UP}, draining=True))


def _of(report: Report) -> tuple[bool, str]:
    return report.ready, report.status


async def test_who_asks_regularly_is_told_twice_before_anything_is_closed(database: Database, redis: Redis) -> None:
    health = Health(database, redis)
    for _ in range(2):
        assert (await health.readiness()).ready
    # Ten seconds apart: a prober whose rhythm is milliseconds has gone as soon as this machine pauses.
    health._asked = [time.monotonic() - 10, time.monotonic()]

    draining = asyncio.ensure_future(health.drain())
    await asyncio.sleep(0)
    told = []
    while not draining.done():
        told.append((await health.readiness()).ready)
        await asyncio.sleep(0)

    assert [False, False] == told[:2]


async def test_nobody_is_waited_for_who_never_asked(database: Database, redis: Redis) -> None:
    health = Health(database, redis)

    async with asyncio.timeout(10):
        await health.drain()

    assert not (await health.readiness()).ready


async def test_a_prober_that_has_gone_is_not_waited_for_long(database: Database, redis: Redis) -> None:
    health = Health(database, redis)
    for _ in range(2):
        await health.readiness()

    async with asyncio.timeout(3 * STEADY_S):
        await health.drain()
