"""Health: whether this process lives, whether it may be sent work, and what it knows of its stores.

PostgreSQL that answers and is migrated makes a server ready; Redis away makes it slower, which is no reason to send
nobody. `/health` is answered from the last probe, at most two seconds old, so that no flood of it reaches a store.
"""

import asyncio
import logging
import time
from typing import Final

import msgspec

from db import probes
from db.database import Database
from db.health import DATABASE_FAILED
from db.migrations import runner
from db.redis import REDIS_AWAY, Redis
from db.tasks import going_on

PROBE_EVERY_S: Final = 2.0
PATIENCE_S: Final = 2.0
STEADY_S: Final = 15.0
"""A prober that comes at least this often is waited for before anything is closed."""

log = logging.getLogger(__name__)


class Check(msgspec.Struct, frozen=True):
    """What one thing was found to be."""

    ok: bool
    required: bool
    """Whether a server without it is not ready."""

    ms: float
    detail: str | None = None


class Report(msgspec.Struct, frozen=True):
    """How everything stood at one moment."""

    checks: dict[str, Check]
    draining: bool

    @property
    def ready(self) -> bool:
        """Whether work may be sent here."""
        return not self.draining and all(check.ok or not check.required for check in self.checks.values())

    @property
    def status(self) -> str:
        """`healthy`, `degraded` (slower, but working) or `unhealthy`."""
        if not self.ready:
            return "unhealthy"
        return "healthy" if all(check.ok for check in self.checks.values()) else "degraded"


class Health:
    """Asks the stores how they are; one for a process."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._head = runner.head()
        self._last = Report({}, draining=False)
        self._asked: list[float] = []
        self._probed = asyncio.Event()
        self._draining = False

    @property
    def last(self) -> Report:
        """The last probe; empty of checks before the first."""
        return Report(self._last.checks, draining=self._draining)

    async def run(self) -> None:
        """Probe every two seconds until cancelled."""
        while going_on():
            await self.probe()
            await asyncio.sleep(PROBE_EVERY_S)

    async def probe(self) -> Report:
        """How everything stands now, within two seconds."""
        async with asyncio.TaskGroup() as group:
            database = group.create_task(self._check_database())
            redis = group.create_task(self._check_redis())
        self._last = Report({"database": database.result(), "redis": redis.result()}, draining=self._draining)
        return self.last

    async def readiness(self) -> Report:
        """The same for a load balancer, whose rhythm is remembered for `drain`."""
        self._asked = [*self._asked[-1:], time.monotonic()]
        report = await self.probe()
        if self._draining:
            self._probed.set()
        return report

    async def drain(self) -> None:
        """Be not ready from now on, and wait until a regular prober has been told so twice."""
        self._draining = True
        period = self._period()
        if period is None:
            return
        log.info("telling the load balancer to send nobody more, about %.0f s", 2 * period)
        try:
            async with asyncio.timeout(2 * period + 1):
                for _ in range(2):
                    await self._probed.wait()
                    self._probed.clear()
        except TimeoutError:
            log.info("nobody asked whether this server is ready; closing it")

    def _period(self) -> float | None:
        """Seconds between the questions of somebody who asks regularly; None when nobody does."""
        if len(self._asked) < 2:
            return None
        period = self._asked[1] - self._asked[0]
        silent = time.monotonic() - self._asked[1]
        return period if period <= STEADY_S and silent <= 2 * period else None

    async def _check_database(self) -> Check:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                revision = await probes.revision(self._database)
        except DATABASE_FAILED:
            return Check(ok=False, required=True, ms=_since(began), detail="does not answer")
        if revision != self._head:
            return Check(ok=False, required=True, ms=_since(began), detail=f"at {revision}, needs {self._head}")
        return Check(ok=True, required=True, ms=_since(began))

    async def _check_redis(self) -> Check:
        began = time.perf_counter()
        try:
            await self._redis.ping()
        except REDIS_AWAY:
            return Check(ok=False, required=False, ms=_since(began), detail="does not answer")
        return Check(ok=True, required=False, ms=_since(began))


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)
