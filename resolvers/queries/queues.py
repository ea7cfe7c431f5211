"""How the queue stands and went: read from counters and from who works on it, never from all jobs."""

from datetime import timedelta

from dataloaders.snapshot import work
from dataloaders.snapshot.work import Throughput
from db import logs, tallies, workers
from db.database import Database
from db.models.work import JobStatus
from db.rows import Row
from resolvers.context import Context


class Numbers(Row, frozen=True, kw_only=True):
    """How many jobs of a tenant are where, and how many workers there are for them."""

    jobs: dict[JobStatus, int]
    """Of every status; 0 where none is."""

    workers_alive: int


class Statistics(Row, frozen=True, kw_only=True):
    """How the queue went, as of now."""

    throughput: Throughput
    average_wait_s: float | None
    """Seconds that jobs begun in the last 24 hours had been due; null when none was."""

    average_run_s: float | None
    """Seconds that jobs completed or failed in the last 24 hours had taken; null when none was."""

    success_percent: float | None
    """Completed among those completed or failed in the last 24 hours; null when there are none."""

    worker_utilization_percent: float | None
    """Busy places among all places of the workers that are there; null when there is none."""

    workers_alive: int
    made_today: int
    """Today is the present day, UTC."""

    completed_today: int
    failed_today: int
    cancelled_today: int


async def numbers(database: Database, tenant: str) -> Numbers:
    """How many jobs of a tenant are where, now."""
    async with database.transaction(tenant) as tx:
        return Numbers(jobs=await tallies.counts(tx), workers_alive=await workers.how_many(tx, alive=True))


async def statistics(context: Context) -> Statistics:
    """How the queue of the caller's tenant went."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        hour = (await logs.moment(tx)).replace(minute=0, second=0, microsecond=0)
        today, yesterday = hour.replace(hour=0), hour - timedelta(days=1)
        hours, pace = await tallies.hours(tx, yesterday), await tallies.pace(tx)
        alive = [each for each in await workers.heard_last(tx, most=work.WORKERS_SHOWN) if each.alive]
    return Statistics(
        throughput=work.throughput(hours, pace, since=yesterday),
        average_wait_s=work.wait_s(hours, since=yesterday),
        average_run_s=work.run_s(hours, since=yesterday),
        success_percent=work.success_percent(hours, since=yesterday),
        worker_utilization_percent=work.utilization_percent(alive),
        workers_alive=len(alive),
        made_today=work.happened(hours, JobStatus.QUEUED, since=today),
        completed_today=work.happened(hours, JobStatus.COMPLETED, since=today),
        failed_today=work.happened(hours, JobStatus.FAILED, since=today),
        cancelled_today=work.happened(hours, JobStatus.CANCELLED, since=today),
    )
