"""Dashboard: checks, the daily report, and what is done about failures at a glance."""

from datetime import UTC, datetime, timedelta
from datetime import date as Day
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from db.artifacts import NewArtifact
from db.clearing import Wanted
from db.models.work import JobStatus
from db.rows import Row
from guards.breakers import Dependency
from resolvers import checks, daily, removals, reports
from resolvers import jobs as work
from resolvers.actions.contract import Action, Big, Call, Empty, Payload, View, action
from resolvers.actions.jobs_queue import ClearedJobs, Hours, by_status
from resolvers.actions.maintenance import Minutes, Told, maintained
from resolvers.checks import CheckStatus, SystemCheck
from resolvers.context import Context
from resolvers.house import Maintained

MOST_TOLD: Final = 100


class SystemChecked(Row, frozen=True, kw_only=True):
    """How everything stands."""

    overall_status: CheckStatus
    """The worst that was found."""

    checks: list[SystemCheck]
    checks_performed: int
    issues_found: int
    """Checks that found something degraded or unhealthy."""


async def _looked_over(context: Context, _: Empty) -> list[SystemCheck]:
    return await checks.looked_over(context)


@action("dashboard.system_check", View.DASHBOARD, natural=True, prepare=_looked_over)
async def system_check(call: Call[SystemChecked], asked: Empty) -> SystemChecked:
    """Look over the database, its migrations, Redis, the queue, workers, machine and live updates."""
    found: list[SystemCheck] = call.prepared
    issues = [check for check in found if check.status in (CheckStatus.DEGRADED, CheckStatus.UNHEALTHY)]
    return SystemChecked(
        overall_status=checks.overall(found), checks=found, checks_performed=len(found), issues_found=len(issues)
    )


class DailyFormat(StrEnum):
    """How a report is written."""

    JSON = "json"
    CSV = "csv"


class DailyReportInput(Payload, frozen=True, kw_only=True):
    """Of which day."""

    date: Day | None = None
    """In UTC; left out, today."""

    format: DailyFormat = DailyFormat.JSON


class DailyReportExported(Row, frozen=True, kw_only=True):
    """The report, and where it can be fetched."""

    report_filename: str
    sections_included: list[str]
    size_bytes: Big
    sha256: str
    download_url: str
    """Good for an hour; whoever holds it may fetch the report."""

    expires_at: datetime
    """When the file goes."""

    report_data: dict[str, Any]
    """The same as in the file."""


class _Written(Row, frozen=True):
    file: NewArtifact
    data: dict[str, Any]


async def _written(context: Context, asked: DailyReportInput) -> _Written:
    told = await daily.report(context, asked.date)
    if asked.format is DailyFormat.JSON:
        content, media_type = msgspec.json.encode(told), "application/json"
    else:
        content, media_type = daily.as_csv(told), "text/csv"
    file = await reports.put(context, f"daily-{told.date}.{asked.format}", media_type, content)
    return _Written(file, msgspec.to_builtins(told))


@action(
    "dashboard.export_daily_report",
    View.DASHBOARD,
    per_minute=10,
    depends_on=Dependency.FILES,
    prepare=_written,
)
async def export_daily_report(call: Call[DailyReportExported], asked: DailyReportInput) -> DailyReportExported:
    """Write what a day brought into a file, hour by hour.

    Raises:
        BadInput: the day has not begun.
        Unavailable: the disk is full.
    """
    written: _Written = call.prepared
    kept = await reports.recorded(call.context, call.tx, written.file)
    return DailyReportExported(
        report_filename=kept.filename,
        sections_included=list(daily.SECTIONS),
        size_bytes=kept.size_bytes,
        sha256=kept.sha256,
        download_url=kept.download_url,
        expires_at=kept.expires_at,
        report_data=written.data,
    )


class FailedWhen(StrEnum):
    """How far back failed jobs are looked for."""

    TODAY = "today"
    """Since midnight, UTC."""

    LAST_DAY = "24h"
    ALL = "all"


class RestartFailedInput(Payload, frozen=True, kw_only=True):
    """Which failed jobs to try again."""

    scope: FailedWhen = FailedWhen.TODAY
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    dry_run: bool = False
    """Change nothing, and say which would be looked at."""


class FailedRestarted(Row, frozen=True, kw_only=True):
    """What was tried again."""

    jobs_checked: int
    successful_restarts: int
    failed_restarts: int
    """Those for which the queue had no room left."""

    restarted_jobs: list[UUID]
    dry_run: bool
    sample_ids: list[UUID]
    """At most 100 of those that were looked at, those first that failed first."""


@action("dashboard.restart_failed_jobs", View.DASHBOARD, per_minute=10)
async def restart_failed_jobs(call: Call[FailedRestarted], asked: RestartFailedInput) -> FailedRestarted:
    """Queue failed jobs again, those first that failed first, as far as the queue has room.

    Raises:
        Conflict: the queue takes no jobs on.
        Maintenance: the system is being worked on.
    """
    looked_at, again = await work.retried_since(
        call.context, call.tx, _since(asked.scope), most=asked.limit, dry_run=asked.dry_run
    )
    return FailedRestarted(
        jobs_checked=len(looked_at),
        successful_restarts=len(again),
        failed_restarts=0 if asked.dry_run else len(looked_at) - len(again),
        restarted_jobs=[job.id for job in again],
        dry_run=asked.dry_run,
        sample_ids=looked_at[:MOST_TOLD],
    )


def _since(scope: FailedWhen) -> datetime | None:
    now = datetime.now(UTC)
    if scope is FailedWhen.TODAY:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    return now - timedelta(days=1) if scope is FailedWhen.LAST_DAY else None


class DashboardMaintenanceInput(Payload, frozen=True, kw_only=True):
    """For how long, and what people are told."""

    message: Told | None = None
    duration_minutes: Minutes | None = None
    """After which it ends by itself; left out, somebody has to end it."""


@action("dashboard.toggle_maintenance", View.DASHBOARD, per_minute=5)
async def toggle_maintenance(call: Call[Maintained], asked: DashboardMaintenanceInput) -> Maintained:
    """Turn maintenance on, or off: while it is on no new jobs and no uploads are taken, for all tenants."""
    return await maintained(call, None, asked.message, asked.duration_minutes)


class Purgeable(StrEnum):
    """What can be purged."""

    FAILED = "failed"
    CANCELLED = "cancelled"


class QueuePurgeInput(Payload, frozen=True, kw_only=True):
    """Which jobs to remove; every part that is given must hold."""

    status_filter: Annotated[list[Purgeable], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [Purgeable.FAILED]
    )
    older_than_hours: Hours | None = None
    """Made at least so long ago."""

    dry_run: bool = False
    """Change nothing, and say what would go."""


class QueuePurged(Row, frozen=True, kw_only=True):
    """What was removed, or would be."""

    jobs_deleted: int
    by_status: list[ClearedJobs]
    steps_deleted: int
    clips_deleted: int
    dry_run: bool
    sample_ids: list[UUID]
    """At most 100 of them, the oldest first."""


@action("dashboard.queue_purge", View.DASHBOARD, per_minute=10, destructive=True)
async def queue_purge(call: Call[QueuePurged], asked: QueuePurgeInput) -> QueuePurged:
    """Remove failed and cancelled jobs with their steps and clips, 5,000 at most, the oldest first."""
    wanted = Wanted(
        statuses=sorted({JobStatus(each) for each in asked.status_filter}),
        older_than=removals.older_than(asked.older_than_hours),
    )
    went, removed = await removals.purge(call.context, call.tx, wanted, dry_run=asked.dry_run)
    return QueuePurged(
        jobs_deleted=went.total,
        by_status=by_status(went),
        steps_deleted=removed.steps,
        clips_deleted=removed.clips,
        dry_run=asked.dry_run,
        sample_ids=went.sample,
    )


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    system_check,
    export_daily_report,
    restart_failed_jobs,
    toggle_maintenance,
    queue_purge,
)
