"""How it went: counted by the hour, sampled where it cannot be counted, absent where it is not measured."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.snapshot import TimeRange, analytics
from dataloaders.snapshot.sources import Frame, Sources
from db import traffic, users
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, jobs
from db.traffic import Key
from resolvers.traffic import Recorder
from tests.conftest import People
from tests.dataloaders.snapshot.conftest import Lived, frame_of

MADE = {TimeRange.HOUR: 1, TimeRange.DAY: 2, TimeRange.WEEK: 3, TimeRange.MONTH: 4}


async def add_past(database: Database, tenant: str, *ago: timedelta) -> None:
    """Jobs that failed as long ago as that."""
    async with database.transaction(tenant) as tx:
        for passed in ago:
            at = datetime.now(UTC) - passed
            times = {"created_at": at, "run_at": at, "started_at": at, "completed_at": at, "updated_at": at}
            await tx.execute(
                sa.insert(jobs).values(
                    tenant_id=tenant, chain=["clipper"], status=JobStatus.FAILED, error_code="STEP_TIMEOUT", **times
                )
            )


@pytest.mark.parametrize("time_range", TimeRange)
async def test_each_stretch_of_time_counts_what_lies_in_it(
    sources: Sources, database: Database, tenant: str, time_range: TimeRange
) -> None:
    await add_past(database, tenant, timedelta(), timedelta(hours=5), timedelta(days=3), timedelta(days=20))

    shown = await analytics.collect(sources, frame_of(tenant, time_range))

    assert MADE[time_range] == shown.job_trends.total_jobs == shown.error_analysis.total_errors
    assert MADE[time_range] == sum(hour.jobs for hour in shown.job_trends.hourly_distribution)
    assert time_range.span // timedelta(hours=1) + 1 == len(shown.job_trends.hourly_distribution)
    assert time_range == shown.time_range == shown.usage_statistics.time_range


async def test_growth_is_against_as_long_a_time_before(sources: Sources, database: Database, tenant: str) -> None:
    await add_past(database, tenant, timedelta(), timedelta(), timedelta(), timedelta(hours=30), timedelta(hours=30))

    trends = (await analytics.collect(sources, frame_of(tenant))).job_trends

    assert ("up", 50.0) == (trends.trend_direction, trends.growth_rate_percent)


async def test_failures_are_told_by_code_and_message(sources: Sources, frame: Frame, lived: Lived) -> None:
    errors = (await analytics.collect(sources, frame)).error_analysis

    assert (1, 33.33, 1) == (errors.total_errors, errors.error_rate_percent, errors.critical_errors)
    assert [("STEP_FAILED", 1, 100.0)] == [(c.category, c.count, c.percent) for c in errors.error_categories]
    assert [("the file holds no video stream", 1)] == [(e.error, e.count) for e in errors.most_common_errors]


async def test_durations_are_of_the_newest_completed_jobs(sources: Sources, frame: Frame, lived: Lived) -> None:
    durations = (await analytics.collect(sources, frame)).performance_metrics.job_durations

    assert 2 == durations.jobs
    assert durations.p50 is not None
    assert durations.p95 is not None
    assert durations.p50 <= durations.p95


async def test_without_requests_on_record_their_figures_are_null(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await analytics.collect(sources, frame)

    usage, performance = shown.usage_statistics, shown.performance_metrics
    times = performance.response_times
    assert {None} == {usage.total_requests, usage.successful_requests, usage.failed_requests, usage.peak_usage_hour}
    assert {None} == {usage.error_rate_percent, usage.average_response_time, usage.api_calls_per_hour}
    assert {None} == {times.average, times.p50, times.p95, times.p99, performance.throughput.requests_per_second}


async def answered(database: Database, hour: datetime, *statuses: int, ms: float = 10) -> None:
    """What a process answered in an hour, and wrote down."""
    process = Recorder(database, uuid4(), hour.timestamp)
    for number, status in enumerate(statuses):
        process.record(Key("GET", f"/{number}"), status, ms / 1000, legacy=False)
    assert await process.flush()


@pytest.mark.parametrize("folded", [False, True])
async def test_requests_are_those_of_all_processes_and_tenants(
    sources: Sources, database: Database, frame: Frame, folded: bool
) -> None:
    frame.now = frame.hour + timedelta(minutes=30)
    quiet, busy = frame.hour - timedelta(hours=3), frame.hour - timedelta(hours=4)
    await answered(database, quiet, 200)
    await answered(database, busy, *[200] * 15, 304, 404, ms=20)
    await answered(database, busy, 200, 201, 503, ms=400)
    await answered(database, frame.since - timedelta(seconds=1), 200)
    if folded:
        async with database.system() as tx:
            assert await traffic.fold(tx) > 0

    shown = await analytics.collect(sources, frame)

    usage, performance = shown.usage_statistics, shown.performance_metrics
    assert (21, 19, 2) == (usage.total_requests, usage.successful_requests, usage.failed_requests)
    assert (busy, 9.52, 0.86) == (usage.peak_usage_hour, usage.error_rate_percent, usage.api_calls_per_hour)
    # (10 + 17 * 20 + 3 * 400) / 21
    assert 73.81 == usage.average_response_time == performance.response_times.average
    assert 0.0002 == performance.throughput.requests_per_second
    for told, exact in ((performance.response_times.p50, 20), (performance.response_times.p99, 400)):
        assert told is not None
        assert abs(told - exact) <= 0.05 * exact
    assert usage == msgspec.structs.replace(
        (await analytics.collect(sources, other(frame))).usage_statistics, unique_users=usage.unique_users
    )


def other(frame: Frame) -> Frame:
    """The same for the other tenant."""
    return Frame(tenant="other", time_range=frame.time_range, now=frame.now)


async def test_users_are_those_who_signed_in(sources: Sources, database: Database, tenant: str, people: People) -> None:
    async with database.transaction(tenant) as tx:
        await users.mark_signed_in(tx, people[Role.OPERATOR].id)

    assert 1 == (await analytics.collect(sources, frame_of(tenant))).usage_statistics.unique_users


async def test_the_older_view_finds_its_totals(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await analytics.collect(sources, frame)

    totals = shown.data.data
    assert shown.success
    assert (8, 2, 1, 66.67) == (totals.total_jobs, totals.completed_jobs, totals.failed_jobs, totals.success_rate)
