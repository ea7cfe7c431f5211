"""A worker process from start to drained: it is heard of, does jobs, obeys a pause and says goodbye."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from dataloaders.snapshot import About, Snapshots
from db import workers
from db.database import Database
from db.models.work import JobStatus, WorkerState
from db.pages import Order, Window
from db.redis import Redis
from db.workers import Worker
from tests.trails import anchors_in
from tests.waiting import eventually
from tests.workers import flock
from tests.workers.conftest import Bench
from workers.running import Shift, work


@asynccontextmanager
async def at_work(bench: Bench, redis_url: str, redis: Redis, folder: Path) -> AsyncIterator[None]:
    """The whole of a worker process, but in this one."""
    about = About(version="0", started_at=datetime.now(UTC), data_dir=folder, host="127.0.0.1", port=0, ws_port=0)
    snapshots = Snapshots(bench.database, redis, about)
    shift = Shift(
        database=bench.database,
        redis_url=redis_url,
        snapshots=snapshots,
        files=bench.files,
        anchors=anchors_in(bench.database, folder),
        version="5.0.0",
        agents=flock.agents(),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(work(shift, stop))
        try:
            yield
        finally:
            stop.set()
    await snapshots.close()


async def _worker(database: Database) -> Worker | None:
    async with database.system() as tx:
        page = await workers.listed(tx, Order("heartbeat_at"), Window())
    return page.items[0] if page.items else None


async def test_a_worker_is_heard_of_does_jobs_and_says_goodbye(
    bench: Bench, redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    job = await bench.submitted(chain=flock.CHAIN)
    async with at_work(bench, redis_url, redis, tmp_path):
        at_start = await eventually(lambda: _worker(bench.database), lambda seen: seen is not None)
        await bench.until(job.id, JobStatus.COMPLETED)
    at_end = await _worker(bench.database)

    assert at_start is not None
    assert at_end is not None
    assert (True, "5.0.0") == (at_start.alive, at_start.version)
    assert (WorkerState.STOPPED, False, 1) == (at_end.state, at_end.alive, at_end.jobs_completed)


async def test_a_paused_worker_stays_alive_and_takes_nothing(
    bench: Bench, redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    async with at_work(bench, redis_url, redis, tmp_path):
        await eventually(lambda: _worker(bench.database), lambda seen: seen is not None)
        async with bench.database.system() as tx:
            await tx.execute(sa.text("UPDATE workers SET desired_state = 'paused'"))
        paused = await eventually(
            lambda: _worker(bench.database), lambda seen: seen is not None and seen.state is WorkerState.PAUSED
        )
        job = await bench.submitted(chain=flock.CHAIN)
        async with bench.database.system() as tx:
            called_back_at = await tx.scalar(sa.text("UPDATE workers SET desired_state = 'active' RETURNING now()"))
        done = await bench.until(job.id, JobStatus.COMPLETED)

    assert paused is not None
    assert paused.alive
    assert done.started_at is not None
    assert done.started_at > called_back_at
