"""Figures over a stretch of time as tables: read from the hourly counts and from the newest rows, never from all jobs.

What is not on record is null. What cannot be added up (percentiles, kinds of failures) is of the newest thousand.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from dataloaders.snapshot.ranges import TimeRange
from dataloaders.snapshot.work import happened, run_s, success_percent
from db import logs, tallies, users
from db.database import Transaction
from db.models.work import JobStatus
from db.rows import Row
from db.tallies import Durations, Hour
from resolvers.sheets import Cell

_HOUR: Final = timedelta(hours=1)
_COUNTED: Final = {
    "made": JobStatus.QUEUED,
    "begun": JobStatus.PROCESSING,
    "completed": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}


class Dataset(StrEnum):
    """One table of figures."""

    SUMMARY = "summary"
    HOURS = "hours"
    DURATIONS = "durations"
    FAILURES = "failures"
    TYPES = "types"
    WORKERS = "workers"
    QUEUE = "queue"
    INCIDENTS = "incidents"


class Table(Row, frozen=True, kw_only=True):
    """Figures as they are written down."""

    name: Dataset
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


class Figures(Row, frozen=True, kw_only=True):
    """What is known of a stretch of time."""

    time_range: TimeRange
    since: datetime
    """The clock hour in which it begins."""

    until: datetime
    summary: dict[str, Any]
    tables: dict[Dataset, Table]


class Incident(Row, frozen=True, kw_only=True):
    """Hours one after another in which jobs failed, up to the first in which jobs were completed and none failed."""

    began: datetime
    ended: datetime | None
    """None as long as it goes on."""

    failed: int


async def read(tx: Transaction, time_range: TimeRange) -> Figures:
    """The figures of the time up to now, whole clock hours counted."""
    until = await logs.moment(tx)
    since = time_range.since(until).replace(minute=0, second=0, microsecond=0)
    hours = await tallies.hours(tx, since)
    durations = await tallies.durations(tx, since)
    incidents = incidents_of(hours)
    speeds = {speed.worker_id: speed.average_s for speed in await tallies.speeds(tx, since)}
    tables = [
        _hours(hours, since, until),
        Table(
            name=Dataset.DURATIONS,
            columns=("jobs", "average_s", "p50_s", "p95_s", "p99_s"),
            rows=[(durations.jobs, durations.average, durations.p50, durations.p95, durations.p99)],
        ),
        Table(
            name=Dataset.FAILURES,
            columns=("code", "message", "jobs"),
            rows=[(failure.code, failure.message, failure.jobs) for failure in await tallies.failures(tx, since)],
        ),
        Table(
            name=Dataset.TYPES,
            columns=("type", "jobs"),
            rows=[(kind.workflow_type, kind.jobs) for kind in await tallies.types(tx, since)],
        ),
        Table(
            name=Dataset.WORKERS,
            columns=("worker", "completed", "failed", "average_s"),
            rows=[
                (ended.worker_id, ended.completed, ended.failed, speeds.get(ended.worker_id))
                for ended in await tallies.ended(tx, since)
            ],
        ),
        Table(
            name=Dataset.QUEUE,
            columns=("status", "agent", "jobs"),
            rows=[(gauge.status.value, gauge.agent_id, gauge.jobs) for gauge in await tallies.gauges(tx)],
        ),
        Table(
            name=Dataset.INCIDENTS,
            columns=("began", "ended", "failed"),
            rows=[(incident.began, incident.ended, incident.failed) for incident in incidents],
        ),
    ]
    summary = _summary(hours, durations, incidents, since, until) | {
        "users_signed_in": await users.signed_in_since(tx, since)
    }
    tables.insert(0, Table(name=Dataset.SUMMARY, columns=("figure", "value"), rows=list(summary.items())))
    return Figures(
        time_range=time_range,
        since=since,
        until=until,
        summary=summary,
        tables={table.name: table for table in tables},
    )


def incidents_of(hours: Sequence[Hour]) -> list[Incident]:
    """When jobs failed, and when they were well again, to the hour; oldest first."""
    failed = _by_hour(hours, JobStatus.FAILED)
    completed = _by_hour(hours, JobStatus.COMPLETED)
    found: list[Incident] = []
    began: datetime | None = None
    count = 0
    for hour in sorted(failed.keys() | completed.keys()):
        if failed.get(hour):
            began, count = began or hour, count + failed[hour]
        elif began is not None:
            found.append(Incident(began=began, ended=hour, failed=count))
            began, count = None, 0
    if began is not None:
        found.append(Incident(began=began, ended=None, failed=count))
    return found


def mttr_s(incidents: Sequence[Incident]) -> float | None:
    """How long it took on average until jobs were well again, in seconds; None when nothing has recovered."""
    took = [(incident.ended - incident.began).total_seconds() for incident in incidents if incident.ended]
    return round(sum(took) / len(took), 3) if took else None


def _summary(
    hours: Sequence[Hour], durations: Durations, incidents: Sequence[Incident], since: datetime, until: datetime
) -> dict[str, Cell]:
    counts: dict[str, Cell] = {
        f"jobs_{name}": happened(hours, status, since=since) for name, status in _COUNTED.items()
    }
    begun = happened(hours, JobStatus.PROCESSING, since=since)
    waited = sum(hour.wait_s for hour in hours)
    made = _by_hour(hours, JobStatus.QUEUED)
    return counts | {
        "success_percent": success_percent(hours, since=since),
        "completed_per_hour": round(happened(hours, JobStatus.COMPLETED, since=since) / ((until - since) / _HOUR), 3),
        "average_wait_s": round(waited / begun, 3) if begun else None,
        "average_run_s": run_s(hours, since=since),
        "p95_run_s": None if durations.p95 is None else round(durations.p95, 3),
        "busiest_hour": max(made, key=lambda hour: made[hour]) if made else None,
        "incidents": len(incidents),
        "mttr_s": mttr_s(incidents),
    }


def _hours(hours: Sequence[Hour], since: datetime, until: datetime) -> Table:
    """Every clock hour, also those in which nothing happened, oldest first."""
    counts: Mapping[str, Mapping[datetime, int]] = {name: _by_hour(hours, status) for name, status in _COUNTED.items()}
    each = [since + _HOUR * number for number in range(int((until - since) / _HOUR) + 1)]
    return Table(
        name=Dataset.HOURS,
        columns=("hour", *_COUNTED),
        rows=[(hour, *(counts[name].get(hour, 0) for name in _COUNTED)) for hour in each],
    )


def _by_hour(hours: Sequence[Hour], status: JobStatus) -> dict[datetime, int]:
    return {hour.hour: hour.jobs for hour in hours if hour.status is status}
