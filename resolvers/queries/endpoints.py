"""How endpoints, jobs and agents did over a stretch of time: read from rollups, never from what they are made of.

Endpoints belong to the house, so their figures are the same for every tenant; jobs and agents are those of the caller's
tenant, added up, and name nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.work import happened
from db import logs, tallies, traffic
from db.models.work import JobStatus, StepStatus
from db.rows import Row
from db.tallies import Hour, StepHour
from db.traffic import Key, Marks, Traffic
from guards.permissions import Permission
from resolvers.context import Context

_HOUR: Final = timedelta(hours=1)


class Measured(Row, frozen=True, kw_only=True):
    """What was counted of the endpoints in a stretch of time."""

    since: datetime
    until: datetime
    used: Mapping[Key, Traffic]
    """Those that were asked for."""

    marks: Mapping[Key, Marks]
    """Those that ever were."""

    everything: bool
    """Whether the caller is shown all endpoints, not only those for people."""


class HourOfJobs(Row, frozen=True, kw_only=True):
    """What happened to jobs within one clock hour."""

    hour: datetime
    made: int
    begun: int
    completed: int
    failed: int
    cancelled: int


class HourOfAgent(Row, frozen=True, kw_only=True):
    """How an agent did within one clock hour."""

    hour: datetime
    agent_id: str
    completed: int
    failed: int
    skipped: int
    average_s: float | None
    """Seconds that a completed step took on average; null without any."""


class Course(Row, frozen=True, kw_only=True):
    """How endpoints, jobs and agents did over time."""

    measured: Measured
    jobs: list[HourOfJobs]
    agents: list[HourOfAgent]


async def measured(context: Context, time_range: TimeRange) -> Measured:
    """How the endpoints were used; an hour is counted by the minute, a day by clock hours, what is longer by days."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        until = await logs.moment(tx)
        since = beginning(until, time_range)
        return Measured(
            since=since,
            until=until,
            used=await traffic.by_endpoint(tx, since),
            marks=await traffic.marks(tx),
            everything=context.may(Permission.SERVICE_READ),
        )


async def course(context: Context, time_range: TimeRange) -> Course:
    """The same with the jobs and agents of the caller's tenant, by whole clock hours."""
    found = await measured(context, time_range)
    since = found.since.replace(minute=0)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        hours = await tallies.hours(tx, since)
        steps = await tallies.steps(tx, since)
    return Course(measured=found, jobs=list(_jobs(hours, since, found.until)), agents=list(_agents(steps)))


def beginning(until: datetime, time_range: TimeRange) -> datetime:
    """The minute, clock hour or day, in UTC, in which the stretch of time before a moment begins."""
    minute = time_range.since(until).replace(second=0, microsecond=0)
    if time_range is TimeRange.HOUR:
        return minute
    hour = minute.replace(minute=0)
    return hour if time_range is TimeRange.DAY else hour.replace(hour=0)


def _jobs(hours: Sequence[Hour], since: datetime, until: datetime) -> Iterable[HourOfJobs]:
    """Every hour, oldest first."""
    by_hour: dict[datetime, list[Hour]] = {}
    for each in hours:
        by_hour.setdefault(each.hour, []).append(each)
    for number in range((until - since) // _HOUR + 1):
        hour = since + number * _HOUR
        own = by_hour.get(hour, [])
        yield HourOfJobs(
            hour=hour,
            made=happened(own, JobStatus.QUEUED, since=hour),
            begun=happened(own, JobStatus.PROCESSING, since=hour),
            completed=happened(own, JobStatus.COMPLETED, since=hour),
            failed=happened(own, JobStatus.FAILED, since=hour),
            cancelled=happened(own, JobStatus.CANCELLED, since=hour),
        )


def _agents(steps: Sequence[StepHour]) -> Iterable[HourOfAgent]:
    """Hours in which an agent ended something, oldest first."""
    grouped: dict[tuple[datetime, str], dict[StepStatus, StepHour]] = {}
    for step in steps:
        grouped.setdefault((step.hour, step.agent_id), {})[step.status] = step
    for (hour, agent_id), own in grouped.items():
        done = own.get(StepStatus.COMPLETED)
        yield HourOfAgent(
            hour=hour,
            agent_id=agent_id,
            completed=done.steps if done else 0,
            failed=own[StepStatus.FAILED].steps if StepStatus.FAILED in own else 0,
            skipped=own[StepStatus.SKIPPED].steps if StepStatus.SKIPPED in own else 0,
            average_s=round(done.run_s / done.steps, 3) if done else None,
        )
