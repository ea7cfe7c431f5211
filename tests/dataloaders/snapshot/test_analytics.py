"""How it went: counted by the hour, sampled where it cannot be counted, absent where it is not measured."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from dataloaders.snapshot import TimeRange, analytics
from dataloaders.snapshot.sources import Frame, Sources
from db import users
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, jobs
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


async def test_what_nothing_measures_is_null(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await analytics.collect(sources, frame)

    usage, times = shown.usage_statistics, shown.performance_metrics.response_times
    assert {None} == {usage.total_requests, usage.error_rate_percent, usage.average_response_time, times.p95}


async def test_users_are_those_who_signed_in(sources: Sources, database: Database, tenant: str, people: People) -> None:
    async with database.transaction(tenant) as tx:
        await users.mark_signed_in(tx, people[Role.OPERATOR].id)

    assert 1 == (await analytics.collect(sources, frame_of(tenant))).usage_statistics.unique_users


async def test_the_older_view_finds_its_totals(sources: Sources, frame: Frame, lived: Lived) -> None:
    shown = await analytics.collect(sources, frame)

    totals = shown.data.data
    assert shown.success
    assert (8, 2, 1, 66.67) == (totals.total_jobs, totals.completed_jobs, totals.failed_jobs, totals.success_rate)
