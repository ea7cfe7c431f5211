"""Looking everything over once: each check asks what it is about, and none waits for another.

A check that gets no answer within two seconds says so, and the others are told all the same. What cannot be told here
is `unknown`, which is no issue.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from dataloaders.snapshot.host import Machine
from dataloaders.snapshot.probes import Health, listening
from dataloaders.snapshot.sockets import standing
from db import probes, queues, tallies, workers
from db.health import DATABASE_FAILED
from db.migrations import runner
from db.models.work import JobStatus
from db.redis import REDIS_AWAY
from db.rows import Row
from resolvers.context import Context
from resolvers.timing import ms_since

PATIENCE_S: Final = 2.0
LONG_WAIT: Final = timedelta(minutes=10)
"""A job that has waited longer is an issue."""

BUSY_PERCENT: Final = 90.0
FULL_PERCENT: Final = 97.0
"""From here on a disk is about to stop everything."""

BEHIND_S: Final = 10.0
"""How old the last look at events may be; a process that serves looks every second at least."""


class CheckStatus(StrEnum):
    """What a check found."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It works, but somebody should look."""

    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """It cannot be told here."""


class SystemCheck(Row, frozen=True):
    """One thing that was looked at."""

    name: str
    status: CheckStatus
    latency_ms: float
    """How long looking took."""

    detail: str


Finding = tuple[CheckStatus, str]
Look = Callable[[Context], Awaitable[Finding]]


async def looked_over(context: Context, looks: Mapping[str, Look] | None = None) -> list[SystemCheck]:
    """Every check, or just these, side by side; their order is always the same."""
    async with asyncio.TaskGroup() as group:
        found = [group.create_task(_timed(context, name, look)) for name, look in (looks or LOOKS).items()]
    return [task.result() for task in found]


def overall(checks: list[SystemCheck]) -> CheckStatus:
    """The worst that was found."""
    found = {check.status for check in checks}
    for status in (CheckStatus.UNHEALTHY, CheckStatus.DEGRADED, CheckStatus.HEALTHY):
        if status in found:
            return status
    return CheckStatus.UNKNOWN


async def _timed(context: Context, name: str, look: Look) -> SystemCheck:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            status, detail = await look(context)
    except TimeoutError:
        status, detail = CheckStatus.UNHEALTHY, f"no answer within {PATIENCE_S:.0f} s"
    except DATABASE_FAILED:
        status, detail = CheckStatus.UNHEALTHY, "the database does not answer"
    return SystemCheck(name, status, ms_since(began), detail)


async def _database(context: Context) -> Finding:
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await tallies.counts(tx)
    return CheckStatus.HEALTHY, "answers"


async def _migrations(context: Context) -> Finding:
    head = await asyncio.to_thread(runner.head)
    revision = await probes.revision(context.services.database)
    if revision == head:
        return CheckStatus.HEALTHY, f"at {head}, the newest"
    return CheckStatus.UNHEALTHY, f"at {revision}, {head} is needed"


async def _redis(context: Context) -> Finding:
    try:
        await context.services.redis.ping()
    except REDIS_AWAY:
        return CheckStatus.DEGRADED, "does not answer: everything works, some of it more slowly"
    return CheckStatus.HEALTHY, "answers"


async def _queue(context: Context) -> Finding:
    async with context.services.database.transaction(context.caller.tenant) as tx:
        state, counted = await queues.state(tx), await tallies.counts(tx)
        oldest = await queues.oldest_due(tx)
    waited = timedelta() if oldest is None else max(timedelta(), datetime.now(UTC) - oldest)
    detail = f"{counted[JobStatus.QUEUED]} wait, the oldest for {waited.total_seconds():.0f} s"
    if state is not None and state.paused:
        return CheckStatus.DEGRADED, f"paused; {detail}"
    if state is not None and state.refusing:
        return CheckStatus.DEGRADED, f"takes no jobs on; {detail}"
    return (CheckStatus.DEGRADED if waited > LONG_WAIT else CheckStatus.HEALTHY), detail


async def _workers(context: Context) -> Finding:
    async with context.services.database.transaction(context.caller.tenant) as tx:
        alive = await workers.how_many(tx, alive=True)
        silent = await workers.how_many(tx, alive=False)
    detail = f"{alive} alive, {silent} gone"
    return (CheckStatus.HEALTHY if alive else CheckStatus.UNHEALTHY), detail


async def _cpu(context: Context) -> Finding:
    percent = (await _machine(context)).cpu_percent
    if percent is None:
        return CheckStatus.UNKNOWN, "not measured yet"
    return _share(percent), f"{percent:.1f} % busy"


async def _memory(context: Context) -> Finding:
    percent = (await _machine(context)).memory_percent
    return _share(percent), f"{percent:.1f} % used"


async def _disk(context: Context) -> Finding:
    try:
        machine = await _machine(context)
    except OSError:
        return CheckStatus.UNKNOWN, "the disk cannot be asked"
    status = CheckStatus.UNHEALTHY if machine.disk_percent >= FULL_PERCENT else _share(machine.disk_percent)
    return status, f"{machine.disk_percent:.1f} % used, {machine.disk_free} bytes free"


async def _api(context: Context) -> Finding:
    about = context.services.snapshots.sources.about
    return _listening(about.host, about.port, await listening(about.host, about.port))


async def _live_updates(context: Context) -> Finding:
    sources = context.services.snapshots.sources
    status, detail = _listening(sources.about.host, sources.about.ws_port, (await standing(sources)).status)
    if status is CheckStatus.HEALTHY and context.services.hub.behind_s > BEHIND_S:
        return CheckStatus.DEGRADED, f"events were last read {context.services.hub.behind_s:.0f} s ago"
    return status, detail


async def _machine(context: Context) -> Machine:
    return await asyncio.to_thread(context.services.snapshots.sources.host.machine)


def _share(percent: float) -> CheckStatus:
    return CheckStatus.DEGRADED if percent >= BUSY_PERCENT else CheckStatus.HEALTHY


def _listening(host: str, port: int, found: Health | None) -> Finding:
    if found is None:
        return CheckStatus.UNKNOWN, "this process has no such port"
    if found is Health.HEALTHY:
        return CheckStatus.HEALTHY, f"{host}:{port} takes connections"
    return CheckStatus.UNHEALTHY, f"{host}:{port} takes no connection"


LOOKS: Final[dict[str, Look]] = {
    "database": _database,
    "migrations": _migrations,
    "redis": _redis,
    "queue": _queue,
    "workers": _workers,
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "api": _api,
    "live_updates": _live_updates,
}
