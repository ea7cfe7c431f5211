"""What a job may expect: measured on others, or nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.outlooks import Outlook, outlook
from db import jobs, leases, queues
from db.database import Database
from db.jobs import Job, NewJob
from db.models.work import JobStatus
from db.models.work import jobs as table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KNOWN = Outlook(now=NOW, wait_s=10, run_s=60, paused=False)


async def queued(database: Database) -> Job:
    async with database.transaction("default") as tx:
        return await jobs.add(tx, NewJob(user_id=None, source_url="https://v.test", chain=["clipper"]))


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)


@pytest.mark.parametrize(
    ("facts", "known", "expected"),
    [
        ({"run_at": NOW - seconds(4)}, {}, NOW + seconds(6 + 60)),
        ({"run_at": NOW - seconds(400)}, {}, NOW + seconds(60)),
        ({"run_at": NOW + seconds(100)}, {}, NOW + seconds(110 + 60)),
        ({"run_at": NOW}, {"wait_s": None}, None),
        ({"run_at": NOW}, {"run_s": None}, None),
        ({"run_at": NOW}, {"paused": True}, None),
        ({"status": JobStatus.PROCESSING, "started_at": NOW - seconds(20)}, {"paused": True}, NOW + seconds(40)),
        ({"status": JobStatus.PROCESSING, "started_at": NOW - seconds(20)}, {"run_s": None}, None),
        ({"status": JobStatus.PROCESSING, "started_at": NOW - seconds(60)}, {}, None),
        ({"status": JobStatus.COMPLETED, "started_at": NOW - seconds(20)}, {}, None),
        ({"status": JobStatus.FAILED, "started_at": NOW - seconds(20)}, {}, None),
    ],
)
async def test_an_estimate_is_made_of_what_others_took(
    facts: dict[str, Any], known: dict[str, Any], expected: datetime | None, database: Database
) -> None:
    job = msgspec.structs.replace(await queued(database), **facts)

    assert expected == msgspec.structs.replace(KNOWN, **known).completion(job)


async def test_what_is_known_is_what_happened_lately(database: Database) -> None:
    async with database.transaction("default") as tx:
        before = await outlook(tx)
    job = await queued(database)
    # In one transaction, whose clock stands still: it has waited for five seconds to the letter.
    async with database.system() as tx:
        await tx.execute(sa.update(table).where(table.c.id == job.id).values(run_at=sa.func.now() - seconds(5)))
        [claim] = await leases.claim(tx, "w", most=1)
        await tx.execute(sa.update(table).where(table.c.id == job.id).values(started_at=sa.func.now() - seconds(30)))
        await leases.complete(tx, claim)
    async with database.transaction("default") as tx:
        await queues.mark_paused(tx)
        after = await outlook(tx)

    assert (None, None, False) == (before.wait_s, before.run_s, before.paused)
    assert (5, 30, True) == (round(after.wait_s or 0), round(after.run_s or 0), after.paused)
