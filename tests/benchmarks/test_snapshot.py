"""What the admin snapshot costs: a cold build and the ways of a hit, with ten thousand and a hundred thousand jobs."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import pytest
import sqlalchemy as sa

from dataloaders.snapshot import About, Snapshots
from db import seed, tallies
from db.database import Database
from db.redis import Redis
from workers.agents.roster import DEFAULT_CHAIN

HIT_MS, MISS_MS = 5.0, 400.0
"""The budget of the specification."""


def process_of(database: Database, redis: Redis, data_dir: Path) -> Snapshots:
    """What one process has."""
    about = About(version="5.0.0", started_at=datetime.now(UTC), data_dir=data_dir, host="127.0.0.1", port=0, ws_port=0)
    return Snapshots(database, redis, about)


async def settle(database: Database, tenant: str, jobs: int) -> None:
    """A history of so many jobs, folded and analysed as a running system has it."""
    await seed.fill(database, tenant, jobs=jobs, events=1_000, chain=DEFAULT_CHAIN, seed=1, now=datetime.now(UTC))
    async with database.system() as tx:
        await tallies.fold(tx)
    async with database.engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(sa.text("VACUUM ANALYZE"))


async def took_ms(work: Callable[[], Awaitable[object]], *, times: int) -> list[float]:
    """Milliseconds of each run, after one that warms up."""
    await work()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        spent.append((time.perf_counter() - began) * 1000)
    return spent


def report(what: str, spent: list[float], budget_ms: float) -> None:
    p95 = quantiles(spent, n=20)[-1]
    print(f"{what:<44} min {min(spent):8.3f}  median {median(spent):8.3f}  p95 {p95:8.3f} ms  budget {budget_ms:g} ms")


@pytest.mark.benchmark
@pytest.mark.parametrize("jobs", [10_000, 100_000])
async def test_a_cold_build_and_a_hit_are_within_their_budget(
    database: Database, redis: Redis, tenant: str, tmp_path: Path, jobs: int
) -> None:
    await settle(database, tenant, jobs)
    builder = process_of(database, redis, tmp_path)

    cold = await took_ms(lambda: builder.rebuild(tenant), times=30)
    held = await took_ms(lambda: builder.encoded(tenant), times=1_000)

    async def first_read() -> None:
        await process_of(database, redis, tmp_path).encoded(tenant)

    fetched = await took_ms(first_read, times=50)
    print()
    report(f"{jobs:,} jobs: cold build", cold, MISS_MS)
    report(f"{jobs:,} jobs: hit, this process's copy", held, HIT_MS)
    report(f"{jobs:,} jobs: hit, Redis's copy", fetched, HIT_MS)
    print(f"{len(await builder.encoded(tenant)):,} bytes")
    await builder.close()

    assert median(cold) < MISS_MS
    assert median(held) < HIT_MS
    assert median(fetched) < HIT_MS
