"""The first screen shows what is, and what was probed."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from dataloaders.snapshot import dashboard
from dataloaders.snapshot.dashboard import ACTIVITIES_SHOWN, DatabasePool
from dataloaders.snapshot.probes import Health
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.work import Breakdown
from db.database import Database
from db.health import Pool
from db.models.work import WorkerState
from db.redis import connect
from tests.dataloaders.snapshot.conftest import WORKER, Lived, add_jobs, frame_of, say_alive


async def test_its_counts_are_the_truth(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await dashboard.collect(sources, frame)

    whole = Breakdown(total=8, completed=2, failed=1, processing=1, pending=3)
    assert whole == shown.queue.jobs_breakdown == shown.queue.today_jobs_breakdown
    assert (2, 1, 8) == (shown.queue.completed_today, shown.queue.failed_today, shown.jobs.total_today)
    assert 66.67 == shown.queue.success_rate_24h == shown.jobs.success_rate
    assert (2, 0) == (shown.queue.queue_throughput.last_hour, shown.queue.queue_throughput.previous_hour)
    assert shown.queue.avg_wait_time is not None
    assert shown.jobs.avg_duration is not None


async def test_rates_of_nothing_are_absent(sources: Sources, frame: Frame) -> None:
    shown = await dashboard.collect(sources, frame)

    assert (0, None, None) == (shown.queue.total, shown.queue.success_rate_24h, shown.jobs.success_rate)
    assert (None, None, None) == (
        shown.queue.avg_wait_time,
        shown.queue.avg_processing_time,
        shown.queue.worker_utilization,
    )


async def test_the_newest_jobs_come_first_and_only_fifty_of_them(
    sources: Sources, frame: Frame, database: Database, tenant: str
) -> None:
    ids = await add_jobs(database, tenant, 60)

    shown = await dashboard.collect(sources, frame)

    assert ids[:9:-1] == [job.id for job in shown.jobs.recent_jobs]


async def test_a_worker_is_what_its_heartbeat_says(sources: Sources, tenant: str, lived: Lived) -> None:
    shown = await dashboard.collect(sources, frame_of(tenant))

    [worker] = shown.workers.details
    assert (1, 1, 0, 0) == (shown.workers.total, shown.workers.active, shown.workers.idle, shown.workers.offline)
    assert (WORKER, "active", 1, 4, 2) == (
        worker.worker_id,
        worker.status,
        worker.current_tasks,
        worker.pool_size,
        worker.total_tasks_completed,
    )
    assert 25.0 == shown.queue.worker_utilization
    assert Health.HEALTHY is shown.system.workflow_orchestrator_status


async def test_without_a_worker_the_orchestrator_is_not_healthy(
    sources: Sources, tenant: str, database: Database
) -> None:
    await say_alive(database, [], state=WorkerState.STOPPED)

    shown = await dashboard.collect(sources, frame_of(tenant))

    assert (1, 0, 1) == (shown.workers.total, shown.workers.active, shown.workers.offline)
    assert Health.UNHEALTHY is shown.system.workflow_orchestrator_status


async def test_servers_are_healthy_while_they_answer(sources: Sources, frame: Frame) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    about = msgspec.structs.replace(sources.about, port=port, ws_port=1)
    asking = Sources(database=sources.database, redis=sources.redis, pool=sources.pool, host=sources.host, about=about)

    shown = await dashboard.collect(asking, frame)
    server.close()
    await server.wait_closed()

    assert (Health.HEALTHY, Health.UNHEALTHY) == (shown.system.api_status, shown.system.websocket_status)
    assert (Health.HEALTHY, Health.HEALTHY) == (shown.system.database_status, shown.system.redis_status)


async def test_redis_that_does_not_answer_is_not_healthy(sources: Sources, frame: Frame) -> None:
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        asking = Sources(
            database=sources.database, redis=nowhere, pool=sources.pool, host=sources.host, about=sources.about
        )

        shown = await dashboard.collect(asking, frame)

    assert Health.UNHEALTHY is shown.system.redis_status


async def test_its_uptime_is_since_this_agentos_was_started(sources: Sources, tenant: str) -> None:
    frame = Frame(
        tenant=tenant, time_range=frame_of(tenant).time_range, now=sources.about.started_at + timedelta(minutes=90)
    )

    shown = await dashboard.collect(sources, frame)

    assert ("1h 30m", 5400) == (shown.system.uptime, shown.system.uptime_seconds)


async def test_what_happened_last_comes_first(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await dashboard.collect(sources, frame)

    told = shown.recent_activity
    assert len(told) <= ACTIVITIES_SHOWN
    assert sorted((entry.timestamp for entry in told), reverse=True) == [entry.timestamp for entry in told]
    assert ("disk_low", "critical", "storage") == (told[0].type, told[0].severity, told[0].source)
    [failed] = [entry for entry in told if entry.type == "job_failed"]
    assert ("A video: the file holds no video stream", "high") == (failed.description, failed.severity)


@pytest.mark.parametrize(
    ("busy", "status", "color"),
    [(0, Health.HEALTHY, "green"), (8, Health.DEGRADED, "orange"), (10, Health.UNHEALTHY, "red")],
)
def test_a_pool_is_as_healthy_as_it_has_room(busy: int, status: Health, color: str) -> None:
    pool = Pool(size=10, max_overflow=0, overflow=0, checked_out=busy, checked_in=10 - busy, opened=10, closed=0)

    shown = DatabasePool.of(pool, None, frame_of("default").now)

    assert (status, color, 10 - busy, busy * 10.0) == (
        shown.status,
        shown.status_color,
        shown.available,
        shown.usage_percentage,
    )
