"""Analytics: figures over a stretch of time, as data and as reports."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from dataloaders.snapshot.ranges import TimeRange
from db import tallies, users
from db.artifacts import NewArtifact
from db.rows import Row
from guards.breakers import Dependency
from resolvers import figures, report_files, reports
from resolvers.actions.contract import Action, Big, Call, Payload, View, action
from resolvers.context import Context
from resolvers.figures import Dataset, Figures
from resolvers.report_files import ReportFormat
from resolvers.timing import ms_since

PREFERENCE: Final = "analytics_range"
"""What a user's preferred stretch of time is called among their preferences."""

PATIENCE_S: Final = 5.0


class DataFormat(StrEnum):
    """How data is written down."""

    CSV = "csv"
    JSON = "json"


class ReportType(StrEnum):
    """What a report is about; the last ones are other names that older clients know."""

    SLA = "sla"
    PERFORMANCE = "performance"
    ERRORS = "errors"
    USAGE = "usage"
    WORKERS = "workers"
    MTTR = "mttr"
    DAILY = "daily"
    WEEKLY = "weekly"
    COMPREHENSIVE = "comprehensive"

    SLA_REPORT = "sla_report"
    PERFORMANCE_REPORT = "performance_report"
    ERROR_ANALYSIS = "error_analysis"
    USAGE_STATISTICS = "usage_statistics"
    WORKER_PERFORMANCE = "worker_performance"
    DAILY_SUMMARY = "daily_summary"
    WEEKLY_SUMMARY = "weekly_summary"


_ONCE: Final[Mapping[ReportType, ReportType]] = {
    ReportType.SLA_REPORT: ReportType.SLA,
    ReportType.PERFORMANCE_REPORT: ReportType.PERFORMANCE,
    ReportType.ERROR_ANALYSIS: ReportType.ERRORS,
    ReportType.USAGE_STATISTICS: ReportType.USAGE,
    ReportType.WORKER_PERFORMANCE: ReportType.WORKERS,
    ReportType.DAILY_SUMMARY: ReportType.DAILY,
    ReportType.WEEKLY_SUMMARY: ReportType.WEEKLY,
}

_TABLES: Final[Mapping[ReportType, tuple[Dataset, ...]]] = {
    ReportType.SLA: (Dataset.SUMMARY, Dataset.DURATIONS, Dataset.INCIDENTS),
    ReportType.PERFORMANCE: (Dataset.SUMMARY, Dataset.DURATIONS, Dataset.HOURS),
    ReportType.ERRORS: (Dataset.SUMMARY, Dataset.FAILURES, Dataset.INCIDENTS),
    ReportType.USAGE: (Dataset.SUMMARY, Dataset.TYPES, Dataset.HOURS),
    ReportType.WORKERS: (Dataset.SUMMARY, Dataset.WORKERS),
    ReportType.MTTR: (Dataset.SUMMARY, Dataset.INCIDENTS),
    ReportType.DAILY: tuple(Dataset),
    ReportType.WEEKLY: tuple(Dataset),
    ReportType.COMPREHENSIVE: tuple(Dataset),
}

_USUAL: Final[Mapping[ReportType, TimeRange]] = {ReportType.WEEKLY: TimeRange.WEEK}
"""What a report covers when no stretch of time is named; a day for all others."""


class AnalyticsExportDataInput(Payload, frozen=True, kw_only=True):
    """Which figures."""

    range: TimeRange = TimeRange.DAY
    format: DataFormat = DataFormat.CSV
    datasets: Annotated[list[Dataset], Meta(min_length=1, max_length=len(Dataset))] | None = None
    """Left out, all of them."""


class AnalyticsExported(Row, frozen=True, kw_only=True):
    """A file of figures, to be fetched within the hour."""

    filename: str
    rows: int
    size: Big
    sha256: str
    download_url: str
    expires_at: datetime


class _Written(Row, frozen=True, kw_only=True):
    put: NewArtifact
    rows: int
    summary: dict[str, Any]


async def _data(context: Context, asked: AnalyticsExportDataInput) -> _Written:
    wanted = tuple(dict.fromkeys(asked.datasets or Dataset))
    return await _written(context, "analytics", asked.range, wanted, ReportFormat(asked.format))


@action(
    "analytics.export_data",
    View.ANALYTICS,
    per_minute=10,
    depends_on=Dependency.FILES,
    prepare=_data,
    aliases={"time_range": "range", "timerange": "range"},
)
async def analytics_export_data(call: Call[AnalyticsExported], asked: AnalyticsExportDataInput) -> AnalyticsExported:
    """Write figures of a stretch of time into a file.

    Raises:
        Unavailable: the disk is full.
    """
    written: _Written = call.prepared
    file = await reports.recorded(call.context, call.tx, written.put)
    return AnalyticsExported(
        filename=file.filename,
        rows=written.rows,
        size=file.size_bytes,
        sha256=file.sha256,
        download_url=file.download_url,
        expires_at=file.expires_at,
    )


class AnalyticsRefreshDataInput(Payload, frozen=True, kw_only=True):
    """Of which stretch of time."""

    range: TimeRange = TimeRange.DAY


class AnalyticsRefreshed(Row, frozen=True, kw_only=True):
    """What was computed anew."""

    computed_at: datetime
    duration_ms: float
    snapshot_version: str | None
    """None when the snapshot could not be built in time; the counts are up to date all the same."""

    folded: int
    """Counts that were added up to fewer."""


@action("analytics.refresh_data", View.ANALYTICS, aliases={"time_range": "range", "timerange": "range"})
async def analytics_refresh_data(
    call: Call[AnalyticsRefreshed], asked: AnalyticsRefreshDataInput
) -> AnalyticsRefreshed:
    """Add the counts up and build the snapshot anew, now."""
    began = time.perf_counter()
    async with call.tx.everybody():
        folded = await tallies.fold(call.tx)

    async def rebuilt(result: AnalyticsRefreshed) -> AnalyticsRefreshed:
        async with asyncio.timeout(PATIENCE_S):
            snapshot = await call.services.snapshots.rebuild(call.caller.tenant, asked.range)
        return msgspec.structs.replace(
            result,
            computed_at=snapshot.envelope.generated_at,
            duration_ms=ms_since(began),
            snapshot_version=snapshot.envelope.version,
        )

    call.afterwards(rebuilt)
    return AnalyticsRefreshed(
        computed_at=datetime.now(UTC), duration_ms=ms_since(began), snapshot_version=None, folded=folded
    )


class AnalyticsGenerateReportInput(Payload, frozen=True, kw_only=True):
    """What the report is about."""

    type: ReportType
    range: TimeRange | None = None
    """Left out, a day, and a week for a weekly one."""

    format: ReportFormat = ReportFormat.JSON


class ReportGenerated(Row, frozen=True, kw_only=True):
    """A report, to be fetched within the hour."""

    report_type: ReportType
    range: TimeRange
    summary: dict[str, Any]
    """The figures in short; null is what is not known."""

    filename: str
    size: Big
    sha256: str
    download_url: str
    expires_at: datetime


async def _report(context: Context, asked: AnalyticsGenerateReportInput) -> _Written:
    kind = _ONCE.get(asked.type, asked.type)
    return await _written(context, f"{kind}-report", _range(asked), _TABLES[kind], asked.format)


@action(
    "analytics.generate_report",
    View.ANALYTICS,
    per_minute=10,
    depends_on=Dependency.FILES,
    prepare=_report,
    aliases={"report_type": "type", "time_range": "range", "timerange": "range"},
)
async def analytics_generate_report(
    call: Call[ReportGenerated], asked: AnalyticsGenerateReportInput
) -> ReportGenerated:
    """Write a report of what is on record; nothing in it is guessed.

    Raises:
        Unavailable: the disk is full.
    """
    written: _Written = call.prepared
    file = await reports.recorded(call.context, call.tx, written.put)
    return ReportGenerated(
        report_type=_ONCE.get(asked.type, asked.type),
        range=_range(asked),
        summary=written.summary,
        filename=file.filename,
        size=file.size_bytes,
        sha256=file.sha256,
        download_url=file.download_url,
        expires_at=file.expires_at,
    )


class AnalyticsSwitchTimeperiodInput(Payload, frozen=True, kw_only=True):
    """Which stretch of time."""

    range: TimeRange


class TimeperiodSwitched(Row, frozen=True, kw_only=True):
    """The figures of the stretch of time that is preferred from now on."""

    range: TimeRange
    analytics: dict[str, Any] | None
    """As the snapshot shows them; None when they could not be read."""


async def _analytics(context: Context, asked: AnalyticsSwitchTimeperiodInput) -> dict[str, Any] | None:
    snapshot = await context.services.snapshots.current(context.caller.tenant, asked.range)
    shown: dict[str, Any] | None = msgspec.to_builtins(snapshot.analytics)
    return shown


@action(
    "analytics.switch_timeperiod",
    View.ANALYTICS,
    prepare=_analytics,
    aliases={"period": "range", "time_range": "range", "timerange": "range"},
)
async def analytics_switch_timeperiod(
    call: Call[TimeperiodSwitched], asked: AnalyticsSwitchTimeperiodInput
) -> TimeperiodSwitched:
    """Prefer a stretch of time from now on, and show its figures."""
    await users.prefer(call.tx, call.caller.user_id, {PREFERENCE: asked.range})
    return TimeperiodSwitched(range=asked.range, analytics=call.prepared)


def _range(asked: AnalyticsGenerateReportInput) -> TimeRange:
    return asked.range or _USUAL.get(_ONCE.get(asked.type, asked.type), TimeRange.DAY)


async def _written(
    context: Context, name: str, time_range: TimeRange, wanted: tuple[Dataset, ...], format: ReportFormat
) -> _Written:
    async with context.services.database.transaction(context.caller.tenant) as tx:
        found: Figures = await figures.read(tx, time_range)
    tables = [found.tables[dataset] for dataset in wanted]
    content = report_files.written(name.replace("-", " ").capitalize(), found, tables, format)
    filename = f"{name}-{time_range}-{found.until:%Y%m%dT%H%M%SZ}.{format}"
    put = await reports.put(context, filename, report_files.MEDIA_TYPES[format], content)
    summary: dict[str, Any] = msgspec.to_builtins(found.summary)
    return _Written(put=put, rows=sum(len(table.rows) for table in tables), summary=summary)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    analytics_export_data,
    analytics_refresh_data,
    analytics_generate_report,
    analytics_switch_timeperiod,
)
