"""Managers do their one thing round after round, and skip a round that the stores do not let them do."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from db import leases, tallies
from db.database import DatabaseUnavailable
from db.models.work import JobStatus
from tests.waiting import eventually
from tests.workers.conftest import Bench
from workers.managers import Manager, managers


async def test_each_manager_s_round_does_its_work(bench: Bench) -> None:
    job = await bench.submitted()
    async with bench.database.system() as tx:
        await leases.claim(tx, "silent", most=1, lease=timedelta(seconds=-1))
        before = await tallies.counts(tx)

    for manager in managers(bench.database, bench.files):
        await manager.tick()

    async with bench.database.transaction("default") as tx:
        after = await tallies.counts(tx)
    assert (1, 0) == (before[JobStatus.PROCESSING], before[JobStatus.QUEUED])
    assert (0, 1) == (after[JobStatus.PROCESSING], after[JobStatus.QUEUED])
    assert JobStatus.QUEUED is (await bench.found(job.id)).status


@pytest.mark.parametrize(
    "trouble",
    [
        DatabaseUnavailable("away"),
        OperationalError("DELETE", {}, TimeoutError("the statement took too long")),
        OSError("no space left on device"),
    ],
)
async def test_a_round_that_the_stores_refuse_is_skipped_and_the_next_one_comes(trouble: Exception) -> None:
    rounds: list[str] = []

    async def tick() -> None:
        rounds.append("tried")
        if len(rounds) == 1:
            raise trouble

    async def so_far() -> int:
        return len(rounds)

    running = asyncio.create_task(Manager(name="test", every=timedelta(milliseconds=10), tick=tick).run())
    seen = await eventually(so_far, lambda count: count >= 3)
    running.cancel()
    await asyncio.wait([running])

    assert seen >= 3
