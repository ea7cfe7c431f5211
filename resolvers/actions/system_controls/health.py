"""The health of the system as one number, with what it is made of."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from db import standing
from db.health import DATABASE_FAILED
from db.rows import Row
from db.standing import Indexes, PoolUse, Replication, Server
from resolvers import checks
from resolvers.actions.contract import Action, Call, Payload, View, action
from resolvers.checks import LOOKS, CheckStatus, Finding, Look, SystemCheck
from resolvers.context import Context

FULL_PERCENT: Final = 90.0
BEHIND_BYTES: Final = 64 * 1024 * 1024
"""How far a replica may be behind before somebody should look."""

WEIGHTS: Final = {"database": 40, "migrations": 10, "redis": 10, "workers": 15, "queue": 10, "disk": 15}
"""What each check counts for; every other one counts for `OTHERS`."""

OTHERS: Final = 5
WORTH: Final = {CheckStatus.HEALTHY: 1.0, CheckStatus.DEGRADED: 0.5, CheckStatus.UNHEALTHY: 0.0}


class SystemHealthCheckInput(Payload, frozen=True, kw_only=True):
    """How deep to look."""

    comprehensive: bool = False
    """Also the pool, the indexes, replicas and the disk's room for more files."""

    include_metrics: bool = True


class SystemMetrics(Row, frozen=True, kw_only=True):
    """What was measured."""

    server: Server | None
    """Null when the database does not answer."""

    pool: PoolUse
    indexes: Indexes | None
    """Null unless asked for comprehensively, as the next."""

    replication: Replication | None


class SystemHealth(Row, frozen=True, kw_only=True):
    """How the system is."""

    overall_health: int
    """0..100: of what each check counts for, the share that is healthy; a degraded one counts for half.

    The database counts for 40, workers and disk for 15 each, migrations, Redis and the queue for 10 each, every other
    check for 5; what cannot be told counts for nothing.
    """

    components: dict[str, SystemCheck]
    issues_found: list[str]
    detailed_metrics: SystemMetrics | None


async def _looked_over(context: Context, asked: SystemHealthCheckInput) -> SystemHealth:
    looks = {**LOOKS, **DEEPER} if asked.comprehensive else LOOKS
    found = await checks.looked_over(context, looks)
    metrics = await _measured(context, deeply=asked.comprehensive) if asked.include_metrics else None
    return SystemHealth(
        overall_health=overall(found),
        components={check.name: check for check in found},
        issues_found=[f"{check.name}: {check.detail}" for check in found if WORTH.get(check.status, 1.0) < 1.0],
        detailed_metrics=metrics,
    )


@action("system.health_check", View.SYSTEM_CONTROLS, per_minute=5, natural=True, prepare=_looked_over)
async def system_health_check(call: Call[SystemHealth], asked: SystemHealthCheckInput) -> SystemHealth:
    """Look everything over at once and say how healthy it is, from 0 to 100."""
    found: SystemHealth = call.prepared
    return found


def overall(found: Sequence[SystemCheck]) -> int:
    """One number for all checks; 0 when nothing can be told."""
    told = [check for check in found if check.status in WORTH]
    most = sum(WEIGHTS.get(check.name, OTHERS) for check in told)
    reached = sum(WEIGHTS.get(check.name, OTHERS) * WORTH[check.status] for check in told)
    return round(100 * reached / most) if most else 0


async def _measured(context: Context, *, deeply: bool) -> SystemMetrics:
    database = context.services.database
    server, indexes, replication = None, None, None
    # That it does not answer is said among the components.
    with suppress(*DATABASE_FAILED):
        async with database.system() as tx:
            server = await standing.server(tx)
            if deeply:
                indexes, replication = await standing.indexes(tx), await standing.replication(tx)
    return SystemMetrics(server=server, pool=standing.pool(database), indexes=indexes, replication=replication)


async def _pool(context: Context) -> Finding:
    use = standing.pool(context.services.database)
    status = CheckStatus.DEGRADED if use.used >= use.size else CheckStatus.HEALTHY
    return status, f"{use.used} of {use.size} connections of this process are in use"


async def _connections(context: Context) -> Finding:
    async with context.services.database.system() as tx:
        server = await standing.server(tx)
    status = CheckStatus.DEGRADED if server.connections > server.most_connections * 0.9 else CheckStatus.HEALTHY
    return status, f"{server.connections} of {server.most_connections} connections to PostgreSQL are in use"


async def _indexes(context: Context) -> Finding:
    async with context.services.database.system() as tx:
        found = await standing.indexes(tx)
    if found.invalid:
        return CheckStatus.DEGRADED, f"not valid: {', '.join(found.invalid)}; database.optimize_indexes rebuilds them"
    return CheckStatus.HEALTHY, f"{found.count}, of which {len(found.unused)} were never used"


async def _replication(context: Context) -> Finding:
    async with context.services.database.system() as tx:
        found = await standing.replication(tx)
    if found.following:
        return CheckStatus.DEGRADED, "this server is a replica: nothing can be written here"
    if not found.replicas:
        return CheckStatus.UNKNOWN, "nobody follows this server"
    behind = found.lag_bytes or 0
    status = CheckStatus.DEGRADED if behind > BEHIND_BYTES else CheckStatus.HEALTHY
    return status, f"{found.replicas} follow, the slowest {behind} bytes behind"


async def _inodes(context: Context) -> Finding:
    found = await asyncio.to_thread(os.statvfs, context.services.files.root)
    if not found.f_files:
        return CheckStatus.UNKNOWN, "this disk does not count them"
    used = 100 * (found.f_files - found.f_ffree) / found.f_files
    status = CheckStatus.DEGRADED if used >= FULL_PERCENT else CheckStatus.HEALTHY
    return status, f"{used:.1f} % of the disk's places for files are taken"


DEEPER: Final[dict[str, Look]] = {
    "pool": _pool,
    "connections": _connections,
    "indexes": _indexes,
    "replication": _replication,
    "inodes": _inodes,
}

ACTIONS: Final[tuple[Action[Any, Any], ...]] = (system_health_check,)
