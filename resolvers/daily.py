"""The report of one day: what was made, begun and finished in each hour, how it failed, and what came of it."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import msgspec

from db import days, tallies
from db.models.work import JobStatus
from db.rows import Row
from guards.errors import BadInput
from resolvers import sheets
from resolvers.context import Context
from resolvers.sheets import Cell

SECTIONS: Final = ("summary", "hours", "failures", "clips", "uploads")


class DailySummary(Row, frozen=True, kw_only=True):
    """The day in numbers."""

    created: int
    started: int
    completed: int
    failed: int
    cancelled: int
    success_percent: float | None
    """Of those that completed or failed; null when none did."""

    average_wait_s: float | None
    """From being due to being begun; null when none was begun."""

    average_run_s: float | None
    """Of those that ended; null when none did."""


class DailyHour(Row, frozen=True, kw_only=True):
    """One clock hour of it."""

    hour: datetime
    created: int
    started: int
    completed: int
    failed: int
    cancelled: int


class DailyReport(Row, frozen=True, kw_only=True):
    """One day of one tenant, in UTC."""

    date: date
    generated_at: datetime
    summary: DailySummary
    hours: list[DailyHour]
    """All 24, also those without anything."""

    failures: list[days.Failed]
    """The most frequent first."""

    clips: days.Made
    uploads: days.Made


async def report(context: Context, day: date | None) -> DailyReport:
    """What a day brought.

    Args:
        day: in UTC; None for today.

    Raises:
        BadInput: it has not begun.
    """
    now = datetime.now(UTC)
    day = day or now.date()
    if day > now.date():
        raise BadInput(f"date: {day} has not begun")
    begins = datetime.combine(day, time(), tzinfo=UTC)
    ends = begins + timedelta(days=1)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        counted = [hour for hour in await tallies.hours(tx, begins) if hour.hour < ends]
        failures = await days.failures(tx, begins, ends)
        clips, uploads = await days.clips_made(tx, begins, ends), await days.uploads_completed(tx, begins, ends)
    return DailyReport(
        date=day,
        generated_at=now,
        summary=_summary(counted),
        hours=[_hour(begins + timedelta(hours=number), counted) for number in range(24)],
        failures=failures,
        clips=clips,
        uploads=uploads,
    )


def as_csv(told: DailyReport) -> bytes:
    """The same as a table: section, which, what, value."""
    lines: list[list[Cell]] = [["section", "of", "name", "value"]]
    lines += [["summary", told.date.isoformat(), name, value] for name, value in _pairs(told.summary)]
    for hour in told.hours:
        lines += [["hours", hour.hour, name, value] for name, value in _pairs(hour) if name != "hour"]
    lines += [["failures", told.date.isoformat(), failed.error_code, failed.jobs] for failed in told.failures]
    lines += [["clips", told.date.isoformat(), name, value] for name, value in _pairs(told.clips)]
    lines += [["uploads", told.date.isoformat(), name, value] for name, value in _pairs(told.uploads)]
    return sheets.rows(lines)


def _pairs(row: Row) -> list[tuple[str, Any]]:
    return list(msgspec.structs.asdict(row).items())


def _summary(counted: list[tallies.Hour]) -> DailySummary:
    started, completed, failed = (
        _sum(counted, status) for status in (JobStatus.PROCESSING, JobStatus.COMPLETED, JobStatus.FAILED)
    )
    ended = [hour for hour in counted if hour.status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)]
    over, ran_s = sum(hour.jobs for hour in ended), sum(hour.run_s for hour in ended)
    waited_s = sum(hour.wait_s for hour in counted if hour.status is JobStatus.PROCESSING)
    return DailySummary(
        created=_sum(counted, JobStatus.QUEUED),
        started=started,
        completed=completed,
        failed=failed,
        cancelled=_sum(counted, JobStatus.CANCELLED),
        success_percent=round(100 * completed / (completed + failed), 1) if completed + failed else None,
        average_wait_s=round(waited_s / started, 3) if started else None,
        average_run_s=round(ran_s / over, 3) if over else None,
    )


def _hour(begins: datetime, counted: list[tallies.Hour]) -> DailyHour:
    within = [hour for hour in counted if hour.hour == begins]
    return DailyHour(
        hour=begins,
        created=_sum(within, JobStatus.QUEUED),
        started=_sum(within, JobStatus.PROCESSING),
        completed=_sum(within, JobStatus.COMPLETED),
        failed=_sum(within, JobStatus.FAILED),
        cancelled=_sum(within, JobStatus.CANCELLED),
    )


def _sum(counted: list[tallies.Hour], status: JobStatus) -> int:
    return sum(hour.jobs for hour in counted if hour.status is status)
