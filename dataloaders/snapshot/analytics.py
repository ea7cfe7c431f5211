"""How it went over a stretch of time: usage, performance, trends and failures.

Whole clock hours are counted, the one in which the stretch begins included. What cannot be added up (percentiles of
jobs, kinds of failures, types of jobs) is taken from the newest thousand. Requests are those of the REST endpoints, in
all processes and for all tenants together: endpoints belong to the house.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from dataloaders.snapshot.host import Machine
from dataloaders.snapshot.ranges import TimeRange
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.work import growth_percent, happened, percent, run_s, success_percent, trend
from db import health, system_events, tallies, traffic, users
from db.health import Pool
from db.models.records import Severity
from db.models.work import JobStatus
from db.tallies import Durations, Failure, Hour, Kindred
from db.traffic import Traffic

ERRORS_SHOWN = 10


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Who used it."""

    time_range: TimeRange
    total_requests: int | None
    """None when none is on record."""

    successful_requests: int | None
    """Answers 2xx and 3xx."""

    failed_requests: int | None
    """Answers 4xx and 5xx."""

    average_response_time: float | None
    """Milliseconds."""

    peak_usage_hour: datetime | None
    """The hour with most requests; None when there were none."""

    unique_users: int
    """Users who signed in."""

    api_calls_per_hour: float | None
    error_rate_percent: float | None
    """Answers 4xx and 5xx among all."""

    generated_at: datetime


class ResponseTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Of REST endpoints, in milliseconds; percentiles are at most 4.8 % off."""

    average: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Work in relation to time."""

    requests_per_second: float | None
    jobs_per_minute: float
    """Jobs completed."""

    data_processed_gb: float | None


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The machine at present."""

    cpu_percent: float | None
    memory_percent: float
    disk_usage_percent: float


class DatabasePerformance(msgspec.Struct, frozen=True, kw_only=True):
    """The database at present."""

    query_time_avg: float | None
    """Milliseconds, of the statements behind these analytics."""

    connection_pool_usage: float | None
    """Percent, of the process that collected this."""

    active_connections: int
    """Of all processes."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it is."""

    time_range: TimeRange
    response_times: ResponseTimes
    job_durations: Durations
    """Seconds, of the newest completed jobs."""

    throughput: Throughput
    resource_usage: Resources
    database_performance: DatabasePerformance
    generated_at: datetime


class HourOfJobs(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs were made in one clock hour."""

    hour: datetime
    jobs: int


class TypeOfJobs(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the newest jobs are of one type."""

    type: str
    count: int
    percent: float | None


class SuccessTrends(msgspec.Struct, frozen=True, kw_only=True):
    """Percent completed among those completed or failed; None where there are none."""

    current_success_rate: float | None
    previous_period_success_rate: float | None
    improvement_percent: float | None
    """Percentage points."""


class Trends(msgspec.Struct, frozen=True, kw_only=True):
    """How the number of jobs develops."""

    time_range: TimeRange
    total_jobs: int
    """Jobs made."""

    trend_direction: str
    growth_rate_percent: float | None
    """Against as long a time before; None after nothing."""

    hourly_distribution: list[HourOfJobs]
    """Every hour, oldest first."""

    job_types: list[TypeOfJobs]
    success_trends: SuccessTrends
    generated_at: datetime


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the newest failures have one code."""

    category: str
    count: int
    percent: float | None


class CommonError(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the newest failures have one message."""

    error: str
    count: int


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs failed."""

    time_range: TimeRange
    total_errors: int
    """Jobs failed."""

    error_rate_percent: float | None
    error_categories: list[Category]
    most_common_errors: list[CommonError]
    error_trend: str
    resolution_time_avg: float | None
    critical_errors: int
    """Critical system events."""

    generated_at: datetime


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The same in short, where an older view looks for it."""

    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    success_rate: float | None
    avg_processing_time: float | None


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """One more level, which the older view expects."""

    data: Totals


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    timestamp: datetime
    time_range: TimeRange
    usage_statistics: Usage
    performance_metrics: Performance
    job_trends: Trends
    error_analysis: Errors
    success: bool = True
    data: Wrapped
    status: str = "success"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for it."""

    hours: Sequence[Hour]
    """Of the asked stretch of time and of as long a time before."""

    durations: Durations
    failures: Sequence[Failure]
    types: Sequence[Kindred]
    visitors: int
    critical: int
    connections: int
    requests: Mapping[datetime, Traffic]
    """By the clock hour; hours without any are absent."""

    statement_ms: float
    """How long each of these eight statements took, on average."""

    @property
    def used(self) -> Traffic:
        """All requests together."""
        return traffic.together([*self.requests.values()])


async def collect(sources: Sources, frame: Frame) -> Analytics:
    """The analytics of a stretch of time, from one transaction."""
    async with sources.database.transaction(frame.tenant) as tx:
        began = time.perf_counter()
        figures = Figures(
            hours=await tallies.hours(tx, frame.since - frame.time_range.span),
            durations=await tallies.durations(tx, frame.since),
            failures=await tallies.failures(tx, frame.since),
            types=await tallies.types(tx, frame.since),
            visitors=await users.signed_in_since(tx, frame.since),
            critical=await system_events.how_many_since(tx, Severity.CRITICAL, frame.since),
            connections=await health.connections(tx),
            requests=await traffic.by_hour(tx, frame.since),
            statement_ms=(time.perf_counter() - began) * 1000 / 8,
        )
    return Analytics(
        timestamp=frame.now,
        time_range=frame.time_range,
        usage_statistics=_usage(frame, figures),
        performance_metrics=_performance(frame, figures, sources.host.machine(), sources.pool.figures()),
        job_trends=_trends(frame, figures),
        error_analysis=_errors(frame, figures),
        data=Wrapped(data=_totals(frame, figures)),
    )


def _usage(frame: Frame, figures: Figures) -> Usage:
    used, hours = figures.used, (frame.now - frame.since) / timedelta(hours=1)
    return Usage(
        time_range=frame.time_range,
        total_requests=used.requests or None,
        successful_requests=used.succeeded + used.redirected if used.requests else None,
        failed_requests=used.refused + used.failed if used.requests else None,
        average_response_time=used.average_ms,
        # The later of two hours alike.
        peak_usage_hour=max(figures.requests, key=lambda hour: (figures.requests[hour].requests, hour), default=None),
        unique_users=figures.visitors,
        api_calls_per_hour=round(used.requests / hours, 2) if used.requests else None,
        error_rate_percent=used.error_percent,
        generated_at=frame.now,
    )


def _performance(frame: Frame, figures: Figures, machine: Machine, pool: Pool) -> Performance:
    lasting, used = frame.now - frame.since, figures.used
    completed = happened(figures.hours, JobStatus.COMPLETED, since=frame.since)
    return Performance(
        time_range=frame.time_range,
        response_times=ResponseTimes(
            average=used.average_ms,
            p50=used.quantile_ms(0.5),
            p95=used.quantile_ms(0.95),
            p99=used.quantile_ms(0.99),
        ),
        job_durations=figures.durations,
        throughput=Throughput(
            requests_per_second=used.per_second(lasting),
            jobs_per_minute=round(completed / (lasting / timedelta(minutes=1)), 3),
            data_processed_gb=None,
        ),
        resource_usage=Resources(
            cpu_percent=machine.cpu_percent,
            memory_percent=machine.memory_percent,
            disk_usage_percent=machine.disk_percent,
        ),
        database_performance=DatabasePerformance(
            query_time_avg=round(figures.statement_ms, 3),
            connection_pool_usage=percent(pool.checked_out, pool.capacity),
            active_connections=figures.connections,
        ),
        generated_at=frame.now,
    )


def _trends(frame: Frame, figures: Figures) -> Trends:
    made = happened(figures.hours, JobStatus.QUEUED, since=frame.since)
    before = happened(figures.hours, JobStatus.QUEUED, since=_before(frame), until=frame.since)
    success = success_percent(figures.hours, since=frame.since)
    success_before = success_percent(figures.hours, since=_before(frame), until=frame.since)
    sampled = sum(kind.jobs for kind in figures.types)
    return Trends(
        time_range=frame.time_range,
        total_jobs=made,
        trend_direction=trend(made, before),
        growth_rate_percent=growth_percent(made, before),
        hourly_distribution=_hourly(frame, figures.hours),
        job_types=[
            TypeOfJobs(type=kind.workflow_type, count=kind.jobs, percent=percent(kind.jobs, sampled))
            for kind in figures.types
        ],
        success_trends=SuccessTrends(
            current_success_rate=success,
            previous_period_success_rate=success_before,
            improvement_percent=(
                None if success is None or success_before is None else round(success - success_before, 2)
            ),
        ),
        generated_at=frame.now,
    )


def _hourly(frame: Frame, hours: Sequence[Hour]) -> list[HourOfJobs]:
    made = {hour.hour: hour.jobs for hour in hours if hour.status is JobStatus.QUEUED}
    count = (frame.hour - frame.since) // timedelta(hours=1) + 1
    each = [frame.since + timedelta(hours=number) for number in range(count)]
    return [HourOfJobs(hour=hour, jobs=made.get(hour, 0)) for hour in each]


def _errors(frame: Frame, figures: Figures) -> Errors:
    failed = happened(figures.hours, JobStatus.FAILED, since=frame.since)
    before = happened(figures.hours, JobStatus.FAILED, since=_before(frame), until=frame.since)
    completed = happened(figures.hours, JobStatus.COMPLETED, since=frame.since)
    codes, messages = Counter[str](), Counter[str]()
    for failure in figures.failures:
        codes[failure.code or "UNKNOWN"] += failure.jobs
        messages[failure.message or failure.code or "UNKNOWN"] += failure.jobs
    sampled = codes.total()
    return Errors(
        time_range=frame.time_range,
        total_errors=failed,
        error_rate_percent=percent(failed, failed + completed),
        error_categories=[
            Category(category=code, count=count, percent=percent(count, sampled)) for code, count in codes.most_common()
        ],
        most_common_errors=[
            CommonError(error=message, count=count) for message, count in messages.most_common(ERRORS_SHOWN)
        ],
        error_trend=trend(failed, before),
        resolution_time_avg=None,
        critical_errors=figures.critical,
        generated_at=frame.now,
    )


def _totals(frame: Frame, figures: Figures) -> Totals:
    return Totals(
        total_jobs=happened(figures.hours, JobStatus.QUEUED, since=frame.since),
        completed_jobs=happened(figures.hours, JobStatus.COMPLETED, since=frame.since),
        failed_jobs=happened(figures.hours, JobStatus.FAILED, since=frame.since),
        success_rate=success_percent(figures.hours, since=frame.since),
        avg_processing_time=run_s(figures.hours, since=frame.since),
    )


def _before(frame: Frame) -> datetime:
    return frame.since - frame.time_range.span
