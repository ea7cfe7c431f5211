"""Snapshots over real stores, a clock that stands still, and a tenant in which something has happened."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from dataloaders.snapshot import About, OfferedAction, Snapshots, TimeRange, cache, probes, whole
from dataloaders.snapshot.host import Host
from dataloaders.snapshot.sources import Frame, Sources
from db import configuration, jobs, leases, logs, system_events, workers
from db import snapshots as stored
from db.database import Database
from db.health import PoolWatch
from db.jobs import NewJob
from db.models.identity import Role
from db.models.records import Severity
from db.models.work import StepStatus, WorkerState
from db.redis import Redis
from db.workers import Beat
from tests.conftest import People

CHAIN = ("video-downloader", "video-analyzer", "clipper")
WORKER = "studio-1"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Lived(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into a tenant: 3 jobs queued, 1 processing, 2 completed, 1 failed, 1 cancelled."""

    processing: UUID
    failed: UUID


Make = Callable[..., Snapshots]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that pauses is not to look like a slow section, a builder that died or a silent server."""
    monkeypatch.setattr(whole, "DEADLINE_S", 60.0)
    monkeypatch.setattr(cache, "WAIT", timedelta(minutes=1))
    monkeypatch.setattr(stored, "LOCK", timedelta(minutes=1))
    monkeypatch.setattr(probes, "_PATIENCE_S", 60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def about(tmp_path: Path) -> About:
    return About(
        version="5.0.0",
        started_at=datetime.now(UTC) - timedelta(minutes=90),
        data_dir=tmp_path,
        host="127.0.0.1",
        port=0,
        ws_port=0,
        environment="tests",
        workers=2,
        worker_concurrency=3,
        log_level="info",
        log_format="json",
        largest_file_mb=100,
        cors_enabled=False,
        actions=(OfferedAction(id="job.cancel", name="Cancel a job", category="jobs", dangerous=False),),
    )


@pytest_asyncio.fixture
async def make_snapshots(database: Database, redis: Redis, about: About, clock: Clock) -> AsyncIterator[Make]:
    """Makes what a process has; each call is one more process. They are closed after the test."""
    made: list[Snapshots] = []

    def make(**others: Any) -> Snapshots:
        own: dict[str, Any] = {"database": database, "redis": redis, "about": about, "clock": clock} | others
        made.append(Snapshots(**own))
        return made[-1]

    yield make
    for snapshots in made:
        await snapshots.close()


@pytest.fixture
def snapshots(make_snapshots: Make) -> Snapshots:
    return make_snapshots()


@pytest.fixture
def sources(database: Database, redis: Redis, about: About) -> Sources:
    return Sources(database=database, redis=redis, pool=PoolWatch(database), host=Host(about.data_dir), about=about)


@pytest.fixture
def frame(tenant: str) -> Frame:
    return frame_of(tenant)


def frame_of(tenant: str, time_range: TimeRange = TimeRange.DAY) -> Frame:
    return Frame(tenant=tenant, time_range=time_range, now=datetime.now(UTC))


async def add_jobs(database: Database, tenant: str, count: int, *, user_id: UUID | None = None) -> list[UUID]:
    """Queued jobs."""
    new = NewJob(user_id=user_id, source_url="https://videos.test/a", title="A video", chain=CHAIN)
    async with database.transaction(tenant) as tx:
        return [(await jobs.add(tx, new)).id for _ in range(count)]


async def say_alive(database: Database, held: list[UUID], *, state: WorkerState = WorkerState.ACTIVE) -> None:
    """A worker's heartbeat."""
    said = Beat(
        id=WORKER,
        hostname="studio",
        pid=4711,
        version="5.0.0",
        state=state,
        concurrency=4,
        current_jobs=held,
        jobs_completed=2,
        jobs_failed=1,
        cpu_percent=12.5,
        memory_mb=256.0,
    )
    async with database.system() as tx:
        await workers.beat(tx, said)


@pytest_asyncio.fixture
async def lived(database: Database, tenant: str, people: People) -> Lived:
    """A tenant with a little of everything."""
    await add_jobs(database, tenant, 8, user_id=people[Role.USER].id)
    async with database.system() as tx:
        taken = await leases.claim(tx, WORKER, most=5)
    async with database.transaction(tenant) as tx:
        await leases.begin_step(tx, taken[0], 0, CHAIN[0])
        await leases.finish_step(tx, taken[0], 0, StepStatus.COMPLETED, percent=30)
        await leases.begin_step(tx, taken[0], 1, CHAIN[1])
    async with database.system() as tx:
        await leases.complete(tx, taken[1])
        await leases.complete(tx, taken[2])
        await leases.fail(tx, taken[3], code="STEP_FAILED", message="the file holds no video stream")
        await leases.stop(tx, taken[4])
    await say_alive(database, [taken[0].job.id])
    async with database.transaction(tenant) as tx:
        await system_events.record(
            tx, "disk_low", Severity.CRITICAL, "storage", "less than a tenth of the disk is free"
        )
        await logs.write(
            tx,
            [
                logs.NewLine(level=Severity.INFO, source="worker", message="took a job"),
                logs.NewLine(level=Severity.ERROR, source="api", message="gave up"),
            ],
        )
        await configuration.change(tx, {"theme": "dark", "smtp_password": "hunter2"}, reason="taste")
    return Lived(processing=taken[0].job.id, failed=taken[3].job.id)
