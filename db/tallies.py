"""How many jobs there are, and how they went: added up from counters, or from a bounded number of the newest rows.

Triggers append a delta for every change (`0003`, `0010`, `0029`); the sum of the deltas is the exact number at any
moment, before, while and after they are folded. Nothing here costs more because a tenant has more jobs.
"""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from db.database import Transaction
from db.models.work import JobStatus, StepStatus, job_gauges, job_hours, step_hours
from db.rows import Row

SAMPLE: Final = 1000
"""How many of the newest jobs a figure is taken from that cannot be added up, such as a percentile."""


class Gauge(Row, frozen=True):
    """How many jobs are in one status, waiting for or with one agent."""

    status: JobStatus
    agent_id: str | None
    """Whose turn it is; None for jobs that are over."""

    jobs: int


class Hour(Row, frozen=True):
    """What happened to jobs within one clock hour.

    The status says what: `queued` were made, `processing` were begun, the others ended so.
    """

    hour: datetime
    status: JobStatus
    jobs: int
    wait_s: float
    """Seconds that the jobs begun had been due, together."""

    run_s: float
    """Seconds that the jobs ended had taken, together."""


class StepHour(Row, frozen=True):
    """How steps of one agent ended within one clock hour; those that were never begun are not among them."""

    hour: datetime
    agent_id: str
    status: StepStatus
    steps: int
    run_s: float
    """Seconds that they had taken, together."""


class Pace(Row, frozen=True):
    """How many jobs were completed lately."""

    last_hour: int
    """Within the last sixty minutes."""

    previous_hour: int
    """Within the sixty minutes before."""


class Durations(Row, frozen=True):
    """How long the newest completed jobs took, in seconds; None where there is none."""

    jobs: int
    """How many it was measured on, at most `SAMPLE`."""

    average: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Speed(Row, frozen=True):
    """How long a worker's jobs took on average, among the newest completed ones."""

    worker_id: str
    jobs: int
    average_s: float


class Ended(Row, frozen=True):
    """How many jobs a worker ended, among the newest that ended."""

    worker_id: str
    completed: int
    failed: int


class Failure(Row, frozen=True):
    """One way in which jobs failed, among the newest failed ones."""

    code: str | None
    message: str | None
    jobs: int


class Kindred(Row, frozen=True):
    """How many of the newest jobs are of one type."""

    workflow_type: str
    jobs: int


_COUNTS = sa.select(job_gauges.c.status, sa.cast(sa.func.sum(job_gauges.c.jobs), sa.BigInteger)).group_by(
    job_gauges.c.status
)
_GAUGES = (
    sa.select(job_gauges.c.status, job_gauges.c.agent_id, sa.cast(sa.func.sum(job_gauges.c.jobs), sa.BigInteger))
    .group_by(job_gauges.c.status, job_gauges.c.agent_id)
    .having(sa.func.sum(job_gauges.c.jobs) != 0)
)
_HOURS = (
    sa.select(
        job_hours.c.hour,
        job_hours.c.status,
        sa.cast(sa.func.sum(job_hours.c.jobs), sa.BigInteger),
        sa.func.sum(job_hours.c.wait_s),
        sa.func.sum(job_hours.c.run_s),
    )
    .where(job_hours.c.hour >= sa.bindparam("since"))
    .group_by(job_hours.c.hour, job_hours.c.status)
    .order_by(job_hours.c.hour, job_hours.c.status)
)
_STEP_HOURS = (
    sa.select(
        step_hours.c.hour,
        step_hours.c.agent_id,
        step_hours.c.status,
        sa.cast(sa.func.sum(step_hours.c.steps), sa.BigInteger),
        sa.func.sum(step_hours.c.run_s),
    )
    .where(step_hours.c.hour >= sa.bindparam("since"))
    .group_by(step_hours.c.hour, step_hours.c.agent_id, step_hours.c.status)
    .order_by(step_hours.c.hour, step_hours.c.agent_id, step_hours.c.status)
)
_PACE = sa.text(
    "SELECT count(*) FILTER (WHERE completed_at > now() - interval '1 hour'), "
    "count(*) FILTER (WHERE completed_at <= now() - interval '1 hour') "
    "FROM jobs WHERE completed_at > now() - interval '2 hours' AND status = 'completed'"
)
_NEWEST_COMPLETED = (
    "WITH newest AS (SELECT worker_id, extract(epoch FROM completed_at - started_at)::float8 AS run_s FROM jobs "
    "WHERE completed_at >= :since AND status = 'completed' AND started_at IS NOT NULL "
    "ORDER BY completed_at DESC LIMIT :most) "
)
_DURATIONS = sa.text(
    _NEWEST_COMPLETED + "SELECT count(*), avg(run_s), percentile_cont(0.5) WITHIN GROUP (ORDER BY run_s), "
    "percentile_cont(0.95) WITHIN GROUP (ORDER BY run_s), percentile_cont(0.99) WITHIN GROUP (ORDER BY run_s) "
    "FROM newest"
)
_SPEEDS = sa.text(
    _NEWEST_COMPLETED + "SELECT worker_id, count(*), avg(run_s) FROM newest "
    "WHERE worker_id IS NOT NULL GROUP BY worker_id ORDER BY 3, 1"
)
_ENDED = sa.text(
    "WITH newest AS (SELECT worker_id, status FROM jobs WHERE completed_at >= :since "
    "ORDER BY completed_at DESC LIMIT :most) "
    "SELECT worker_id, count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed') "
    "FROM newest WHERE worker_id IS NOT NULL GROUP BY worker_id ORDER BY worker_id"
)
_FAILURES = sa.text(
    "WITH newest AS (SELECT error_code, error_message FROM jobs WHERE status = 'failed' AND completed_at >= :since "
    "ORDER BY completed_at DESC LIMIT :most) "
    "SELECT error_code, error_message, count(*) FROM newest GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
)
_TYPES = sa.text(
    "WITH newest AS (SELECT workflow_type FROM jobs WHERE created_at >= :since ORDER BY created_at DESC LIMIT :most) "
    "SELECT workflow_type, count(*) FROM newest GROUP BY 1 ORDER BY 2 DESC, 1"
)

# Whoever deletes a delta writes its share of the sum in the same statement, so that no snapshot of the database ever
# lacks it. A delta that another transaction commits meanwhile is in neither and is left for the next time.
_FOLD_GAUGES = sa.text(
    "WITH many AS (SELECT tenant_id, status, agent_id FROM job_gauges GROUP BY 1, 2, 3 HAVING count(*) > 1), "
    "gone AS (DELETE FROM job_gauges USING many WHERE job_gauges.tenant_id = many.tenant_id "
    "AND job_gauges.status = many.status AND job_gauges.agent_id IS NOT DISTINCT FROM many.agent_id "
    "RETURNING job_gauges.tenant_id, job_gauges.status, job_gauges.agent_id, job_gauges.jobs), "
    "kept AS (INSERT INTO job_gauges (tenant_id, status, agent_id, jobs) "
    "SELECT tenant_id, status, agent_id, sum(jobs) FROM gone GROUP BY 1, 2, 3 HAVING sum(jobs) <> 0) "
    "SELECT count(*) FROM gone"
)
_FOLD_HOURS = sa.text(
    "WITH many AS (SELECT tenant_id, hour, status FROM job_hours GROUP BY 1, 2, 3 HAVING count(*) > 1), "
    "gone AS (DELETE FROM job_hours USING many WHERE job_hours.tenant_id = many.tenant_id "
    "AND job_hours.hour = many.hour AND job_hours.status = many.status "
    "RETURNING job_hours.tenant_id, job_hours.hour, job_hours.status, job_hours.jobs, wait_s, run_s), "
    "kept AS (INSERT INTO job_hours (tenant_id, hour, status, jobs, wait_s, run_s) "
    "SELECT tenant_id, hour, status, sum(jobs), sum(wait_s), sum(run_s) FROM gone GROUP BY 1, 2, 3) "
    "SELECT count(*) FROM gone"
)
_FOLD_STEPS = sa.text(
    "WITH many AS (SELECT tenant_id, hour, agent_id, status FROM step_hours GROUP BY 1, 2, 3, 4 HAVING count(*) > 1), "
    "gone AS (DELETE FROM step_hours USING many WHERE step_hours.tenant_id = many.tenant_id "
    "AND step_hours.hour = many.hour AND step_hours.agent_id = many.agent_id AND step_hours.status = many.status "
    "RETURNING step_hours.tenant_id, step_hours.hour, step_hours.agent_id, step_hours.status, steps, run_s), "
    "kept AS (INSERT INTO step_hours (tenant_id, hour, agent_id, status, steps, run_s) "
    "SELECT tenant_id, hour, agent_id, status, sum(steps), sum(run_s) FROM gone GROUP BY 1, 2, 3, 4) "
    "SELECT count(*) FROM gone"
)


async def counts(tx: Transaction) -> dict[JobStatus, int]:
    """How many jobs are in each status; 0 where none is."""
    counted = dict(await tx.rows(_COUNTS))
    return {status: counted.get(status, 0) for status in JobStatus}


async def gauges(tx: Transaction) -> list[Gauge]:
    """The same by the agent whose turn it is."""
    return [Gauge(*row) for row in await tx.rows(_GAUGES)]


async def hours(tx: Transaction, since: datetime) -> list[Hour]:
    """What happened in each clock hour that began at `since` or later; hours without anything are absent."""
    return [Hour(*row) for row in await tx.rows(_HOURS, {"since": since})]


async def steps(tx: Transaction, since: datetime) -> list[StepHour]:
    """How steps ended in each clock hour that began at `since` or later; hours without any are absent."""
    return [StepHour(*row) for row in await tx.rows(_STEP_HOURS, {"since": since})]


async def pace(tx: Transaction) -> Pace:
    """How many jobs were completed in the last hour and in the one before; costs what two hours brought."""
    [row] = await tx.rows(_PACE)
    return Pace(*row)


async def durations(tx: Transaction, since: datetime) -> Durations:
    """How long jobs took that were completed at `since` or later."""
    [row] = await tx.rows(_DURATIONS, {"since": since, "most": SAMPLE})
    return Durations(*row)


async def speeds(tx: Transaction, since: datetime) -> list[Speed]:
    """How fast each worker was since then, the fastest first."""
    return [Speed(*row) for row in await tx.rows(_SPEEDS, {"since": since, "most": SAMPLE})]


async def ended(tx: Transaction, since: datetime) -> list[Ended]:
    """How many jobs each worker completed and failed since then."""
    return [Ended(*row) for row in await tx.rows(_ENDED, {"since": since, "most": SAMPLE})]


async def failures(tx: Transaction, since: datetime) -> list[Failure]:
    """How jobs failed since then, the most frequent first."""
    return [Failure(*row) for row in await tx.rows(_FAILURES, {"since": since, "most": SAMPLE})]


async def types(tx: Transaction, since: datetime) -> list[Kindred]:
    """Which types of jobs were made since then, the most frequent first."""
    return [Kindred(*row) for row in await tx.rows(_TYPES, {"since": since, "most": SAMPLE})]


async def fold(tx: Transaction) -> int:
    """Add the deltas up to one row for each tenant, hour and status; for a system transaction.

    Returns:
        How many rows were folded; 0 also when somebody else is folding just now.
    """
    # Two at once would lose nothing, but wait for each other's rows and may do so crosswise.
    if not await tx.try_hold("tallies/fold"):
        return 0
    gauges_folded: int = await tx.scalar(_FOLD_GAUGES)
    hours_folded: int = await tx.scalar(_FOLD_HOURS)
    steps_folded: int = await tx.scalar(_FOLD_STEPS)
    return gauges_folded + hours_folded + steps_folded
