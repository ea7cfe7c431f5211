"""Dashboard: checks that find what is the matter, reports that say what was, failures tried again or put away."""

import asyncio
import csv
import hashlib
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.snapshot import About, Snapshots
from db import leases
from db.database import Database
from db.migrations import runner
from db.models.identity import Role
from db.models.work import JobStatus
from db.redis import Redis, connect
from db.tunables import MAX_QUEUED_JOBS
from guards.errors import BadInput
from guards.links import PLACE
from resolvers.checks import CheckStatus
from resolvers.context import Context, Services
from tests.acting import act, refused
from tests.conftest import People
from tests.resolvers.actions.busy import heartbeat
from tests.standing import found, job_in, standing, with_clip
from tests.uploading import context_of, services_over
from tests.workers.conftest import Bench

HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN = CheckStatus
FAILED, CANCELLED, QUEUED = JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED


async def looked(context: Context) -> dict[str, tuple[CheckStatus, str]]:
    """What the checks found, by name."""
    return {check.name: (check.status, check.detail) for check in (await act(context, "dashboard.system_check")).checks}


# dashboard.system_check


async def test_everything_is_looked_over(admin: Context, services: Services) -> None:
    await heartbeat(services.database, "w1")
    services.snapshots.sources.host.machine()

    checked = await act(admin, "dashboard.system_check")

    names = ["database", "migrations", "redis", "queue", "workers", "cpu", "memory", "disk", "api", "live_updates"]
    assert (names, 10) == ([check.name for check in checked.checks], checked.checks_performed)
    stands = {check.name: check.status for check in checked.checks}
    assert {HEALTHY} == {stands[name] for name in ("database", "migrations", "redis", "queue", "workers")}
    assert checked.issues_found == sum(status in (DEGRADED, UNHEALTHY) for status in stands.values())
    assert all(check.latency_ms > 0 for check in checked.checks)


async def test_a_queue_that_stands_still_is_found(admin: Context, database: Database) -> None:
    await job_in(database, QUEUED, created_at=datetime.now(UTC) - timedelta(minutes=30))

    seen = await looked(admin)
    await act(admin, "queue.pause")
    paused = await looked(admin)

    # It goes on waiting while it is looked at.
    (status, waits), (later, still) = seen["queue"], paused["queue"]
    assert (DEGRADED, DEGRADED) == (status, later)
    assert re.fullmatch("1 wait, the oldest for 18[0-9]{2} s", waits)
    assert re.fullmatch("paused; 1 wait, the oldest for 18[0-9]{2} s", still)
    assert (UNHEALTHY, "0 alive, 0 gone") == seen["workers"]


async def test_tables_of_another_revision_are_found(admin: Context, database: Database) -> None:
    async def pretend(revision: str) -> None:
        async with database.system() as tx:
            await tx.execute(sa.text("SET LOCAL ROLE NONE"))
            await tx.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": revision})

    head = runner.head()
    await pretend("0001")
    try:
        seen = await looked(admin)
    finally:
        await pretend(head)

    assert (UNHEALTHY, f"at 0001, {head} is needed") == seen["migrations"]
    assert (HEALTHY, f"at {head}, the newest") == (await looked(admin))["migrations"]


async def test_redis_away_is_found_and_hides_nothing_else(admin: Context, database: Database, tmp_path: Path) -> None:
    async with connect("redis://127.0.0.1:1") as nowhere:
        checked = await act(of(admin, services_over(database, nowhere, tmp_path)), "dashboard.system_check")

    stands = {check.name: check.status for check in checked.checks}
    assert (DEGRADED, HEALTHY, HEALTHY) == (stands["redis"], stands["database"], stands["queue"])


def of(context: Context, services: Services) -> Context:
    """The same caller with other services."""
    return Context.made(services, context.viewer, trace_id=context.trace_id, address=context.address)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """A port that takes connections while the block lasts."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_live_updates_are_connected_to(
    admin: Context, services: Services, database: Database, redis: Redis, tmp_path: Path
) -> None:
    def over(port: int) -> Context:
        about = About(
            version="0", started_at=datetime.now(UTC), data_dir=tmp_path, host="127.0.0.1", port=port, ws_port=port
        )
        return of(admin, replace(services, snapshots=Snapshots(database, redis, about)))

    async with listening() as port:
        seen = await looked(over(port))
        assert (HEALTHY, f"127.0.0.1:{port} takes connections") == seen["api"] == seen["live_updates"]
    seen = await looked(over(port))
    assert (UNHEALTHY, f"127.0.0.1:{port} takes no connection") == seen["api"] == seen["live_updates"]
    assert (UNKNOWN, "this process has no such port") == (await looked(admin))["live_updates"]


# dashboard.export_daily_report


def fetched(services: Services, url: str) -> bytes:
    """The file behind a signed link."""
    return services.files.resolve(services.links.opened(url.partition(PLACE)[2]).path).read_bytes()


async def test_a_day_is_exported_and_can_be_fetched(admin: Context, services: Services) -> None:
    database = services.database
    completed = await job_in(database, JobStatus.COMPLETED)
    await with_clip(database, completed, "default/clips/aa/bb.mp4")
    for _ in range(2):
        await job_in(database, FAILED)
    await job_in(database, CANCELLED)

    told = await act(admin, "dashboard.export_daily_report")

    today = datetime.now(UTC).date()
    content = fetched(services, told.download_url)
    assert (f"daily-{today}.json", len(content), hashlib.sha256(content).hexdigest()) == (
        told.report_filename,
        told.size_bytes,
        told.sha256,
    )
    assert told.report_data == msgspec.json.decode(content)
    report = told.report_data
    assert list(told.sections_included) == [name for name in report if name not in ("date", "generated_at")]
    summary = {name: report["summary"][name] for name in ("created", "completed", "failed", "cancelled")}
    assert {"created": 4, "completed": 1, "failed": 2, "cancelled": 1} == summary
    assert 33.3 == report["summary"]["success_percent"]
    assert [{"error_code": "STEP_FAILED", "jobs": 2}] == report["failures"]
    assert ({"count": 1, "bytes": 9}, 24, 4) == (
        report["clips"],
        len(report["hours"]),
        sum(hour["created"] for hour in report["hours"]),
    )


async def test_a_report_is_a_table_too(admin: Context, services: Services) -> None:
    await job_in(services.database, FAILED)

    told = await act(admin, "dashboard.export_daily_report", format="csv")

    today = datetime.now(UTC).date()
    lines = list(csv.reader(io.StringIO(fetched(services, told.download_url).decode())))
    assert ["section", "of", "name", "value"] == lines[0]
    assert ["summary", str(today), "failed", "1"] in lines
    assert ["failures", str(today), "STEP_FAILED", "1"] in lines
    assert 24 * 5 == sum(line[0] == "hours" for line in lines)


async def test_a_day_has_nothing_of_the_days_around_it(admin: Context, database: Database) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await job_in(database, FAILED, completed_at=today)

    before = await act(admin, "dashboard.export_daily_report", date=str((today - timedelta(days=1)).date()))

    assert (0, []) == (before.report_data["summary"]["created"], before.report_data["failures"])
    ahead = str((today + timedelta(days=1)).date())
    refusal = await refused(admin, "dashboard.export_daily_report", date=ahead)
    assert (BadInput, f"date: {ahead} has not begun") == (type(refusal), str(refusal))
    assert "VALIDATION_ERROR" == (await refused(admin, "dashboard.export_daily_report", date="yesterday")).code


# dashboard.restart_failed_jobs


async def test_failed_jobs_are_tried_again_those_first_that_failed_first(admin: Context, database: Database) -> None:
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    third = await job_in(database, FAILED, completed_at=today + timedelta(seconds=2))
    second = await job_in(database, FAILED, completed_at=today + timedelta(seconds=1))
    first = await job_in(database, FAILED, completed_at=now - timedelta(days=3))
    await job_in(database, CANCELLED)
    before = await standing(database)

    would = await act(admin, "dashboard.restart_failed_jobs", scope="all", dry_run=True)

    assert (3, [first, second, third], 0, []) == (
        would.jobs_checked,
        would.sample_ids,
        would.successful_restarts,
        would.restarted_jobs,
    )
    assert before == await standing(database)
    one = await act(admin, "dashboard.restart_failed_jobs", limit=1)
    assert (1, 1, 0, [second]) == (one.jobs_checked, one.successful_restarts, one.failed_restarts, one.restarted_jobs)
    rest = await act(admin, "dashboard.restart_failed_jobs", scope="all")
    assert [first, third] == rest.restarted_jobs
    stands = [job for job_id in (first, second, third) if (job := await found(database, job_id))]
    assert [(QUEUED, 1)] * 3 == [(job.status, job.retry_count) for job in stands]


async def test_no_more_are_tried_again_than_the_queue_has_room_for(admin: Context, database: Database) -> None:
    for _ in range(2):
        await job_in(database, FAILED)
    async with database.transaction("default") as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO jobs (id, tenant_id, chain, status)"
                " SELECT gen_random_uuid(), 'default', '{clipper}', 'queued' FROM generate_series(2, :most)"
            ),
            {"most": MAX_QUEUED_JOBS.default},
        )

    done = await act(admin, "dashboard.restart_failed_jobs")

    assert (2, 1, 1) == (done.jobs_checked, done.successful_restarts, done.failed_restarts)


async def test_of_two_restarts_at_once_each_job_is_tried_once(
    admin: Context, services: Services, people: People
) -> None:
    ids = {await job_in(services.database, FAILED) for _ in range(6)}
    twin = context_of(services, people[Role.ADMIN])

    ends = await asyncio.gather(*(act(each, "dashboard.restart_failed_jobs") for each in (admin, twin)))

    again = [job_id for end in ends for job_id in end.restarted_jobs]
    assert (6, ids) == (len(again), set(again))


async def test_restarted_jobs_are_done(admin: Context, services: Services) -> None:
    bench = Bench(services.database, services.files)
    job = await bench.submitted()
    claim = await bench.claimed()
    async with services.database.transaction("default") as tx:
        await leases.fail(tx, claim, code="STEP_FAILED", message="no")

    await act(admin, "dashboard.restart_failed_jobs")

    async with bench.at_work():
        await bench.until(job.id, JobStatus.COMPLETED)


# dashboard.queue_purge


async def test_failures_are_put_away_with_their_steps_and_clips(admin: Context, database: Database) -> None:
    old = await job_in(database, FAILED, created_at=datetime.now(UTC) - timedelta(hours=5))
    await with_clip(database, old, "default/clips/aa/bb.mp4")
    new, cancelled = await job_in(database, FAILED), await job_in(database, CANCELLED)
    running = await job_in(database, JobStatus.PROCESSING)
    before = await standing(database)

    would = await act(admin, "dashboard.queue_purge", older_than_hours=4, dry_run=True)

    assert before == await standing(database)
    gone = await act(admin, "dashboard.queue_purge", older_than_hours=4)
    for told in (would, gone):
        assert (1, 1, 1, [(FAILED, 1)], [old]) == (
            told.jobs_deleted,
            told.steps_deleted,
            told.clips_deleted,
            [(each.status, each.jobs) for each in told.by_status],
            told.sample_ids,
        )
    assert (True, False) == (would.dry_run, gone.dry_run)
    both = await act(admin, "dashboard.queue_purge", status_filter=["failed", "cancelled"])
    assert 2 == both.jobs_deleted
    left = [job_id for job_id in (old, new, cancelled, running) if await found(database, job_id)]
    assert [running] == left


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dashboard.queue_purge", {"status_filter": ["completed"]}),
        ("dashboard.queue_purge", {"status_filter": []}),
        ("dashboard.queue_purge", {"older_than_hours": 0}),
        ("dashboard.restart_failed_jobs", {"limit": 501}),
        ("dashboard.restart_failed_jobs", {"scope": "week"}),
        ("dashboard.toggle_maintenance", {"duration_minutes": 1441}),
        ("dashboard.toggle_maintenance", {"message": "x" * 1001}),
    ],
)
async def test_what_is_out_of_range_is_refused(
    name: str, given: dict[str, Any], admin: Context, database: Database
) -> None:
    await job_in(database, FAILED)

    assert "VALIDATION_ERROR" == (await refused(admin, name, **given)).code
