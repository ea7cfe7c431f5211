"""What jobs may expect: how long others waited and ran lately, and when one will be done if it goes as they did.

An estimate is made of what was measured over the last 24 hours, or there is none.
"""

from datetime import datetime, timedelta

from dataloaders.snapshot.work import run_s, wait_s
from db import logs, queues, tallies
from db.database import Transaction
from db.jobs import Job
from db.models.work import JobStatus
from db.rows import Row


class Outlook(Row, frozen=True, kw_only=True):
    """How it went lately, as of one moment."""

    now: datetime
    wait_s: float | None
    """How long a job waited that began, on average; None when none began."""

    run_s: float | None
    """How long a job took that was completed or failed, on average; None when none was."""

    paused: bool
    """Whether no job is begun just now."""

    def completion(self, job: Job) -> datetime | None:
        """When a job will be done; None when it is over, overdue, held up, or nothing is known."""
        if self.run_s is None:
            return None
        run = timedelta(seconds=self.run_s)
        if job.status is JobStatus.QUEUED and self.wait_s is not None and not self.paused:
            return max(self.now, job.run_at + timedelta(seconds=self.wait_s)) + run
        if job.status is JobStatus.PROCESSING and job.started_at is not None:
            return job.started_at + run if job.started_at + run > self.now else None
        return None


async def outlook(tx: Transaction) -> Outlook:
    """How it went with the tenant's jobs lately."""
    now = await logs.moment(tx)
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    hours = await tallies.hours(tx, since)
    state = await queues.state(tx)
    return Outlook(
        now=now,
        wait_s=wait_s(hours, since=since),
        run_s=run_s(hours, since=since),
        paused=state is not None and state.paused,
    )
