"""Whether the stores answer. Anybody may ask, so nothing else is said."""

import asyncio
import time
from collections.abc import Awaitable
from enum import StrEnum
from typing import Final

from db.database import DatabaseUnavailable
from db.redis import REDIS_AWAY
from db.rows import Row
from resolvers.context import Context
from resolvers.timing import ms_since

PATIENCE_S: Final = 2.0


class HealthStatus(StrEnum):
    """How well the house stands."""

    OK = "ok"
    DEGRADED = "degraded"
    """Redis is away: everything works, some of it more slowly."""

    DOWN = "down"
    """PostgreSQL is away: nothing can be read or done."""


class Check(Row, frozen=True):
    """Whether one store answers."""

    name: str
    ok: bool
    latency_ms: float | None
    """How long the answer took; None when there was none."""


class Health(Row, frozen=True):
    """Whether this process can serve."""

    status: HealthStatus
    checks: list[Check]


async def health(context: Context) -> Health:
    """Ask PostgreSQL and Redis at once, and wait two seconds at most."""
    async with asyncio.TaskGroup() as group:
        postgres = group.create_task(_timed("postgresql", _database(context)))
        redis = group.create_task(_timed("redis", context.services.redis.ping()))
    checks = [postgres.result(), redis.result()]
    if not checks[0].ok:
        return Health(HealthStatus.DOWN, checks)
    return Health(HealthStatus.OK if checks[1].ok else HealthStatus.DEGRADED, checks)


async def _database(context: Context) -> None:
    async with context.services.database.system():
        pass


async def _timed(name: str, answer: Awaitable[object]) -> Check:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await answer
    except (DatabaseUnavailable, *REDIS_AWAY):
        return Check(name, False, None)
    return Check(name, True, ms_since(begun))
