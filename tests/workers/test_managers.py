"""Managers do their one thing in a round."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.snapshot import About, Snapshots
from db import events, leases, tallies, workers
from db.models.managers import ManagerId
from db.models.work import JobStatus
from db.redis import Redis
from tests.db.test_workers import said
from tests.trails import anchors_in
from tests.workers.conftest import Bench
from workers.managers import OPTIONS, known, options


async def test_each_manager_s_round_does_its_work(bench: Bench, redis: Redis, tmp_path: Path) -> None:
    about = About(version="0", started_at=datetime.now(UTC), data_dir=tmp_path, host="127.0.0.1", port=0, ws_port=0)
    snapshots = Snapshots(bench.database, redis, about)
    job = await bench.submitted()
    async with bench.database.system() as tx:
        await leases.claim(tx, "silent", most=1, lease=timedelta(seconds=-1))
        before = await tallies.counts(tx)

    for manager in known(bench.database, bench.files, snapshots, anchors_in(bench.database, tmp_path)):
        await manager.tick(options(manager.id, {}))
    await snapshots.close()

    async with bench.database.transaction("default") as tx:
        after = await tallies.counts(tx)
    assert (1, 0) == (before[JobStatus.PROCESSING], before[JobStatus.QUEUED])
    assert (0, 1) == (after[JobStatus.PROCESSING], after[JobStatus.QUEUED])
    assert JobStatus.QUEUED is (await bench.found(job.id)).status


async def test_a_round_of_the_queue_tells_of_workers_that_fell_silent(
    bench: Bench, redis: Redis, tmp_path: Path
) -> None:
    async with bench.database.system() as tx:
        await workers.beat(tx, said("gone"))
        await tx.execute(sa.text("UPDATE workers SET heartbeat_at = now() - interval '16 s'"))
    about = About(version="0", started_at=datetime.now(UTC), data_dir=tmp_path, host="127.0.0.1", port=0, ws_port=0)
    snapshots, anchors = Snapshots(bench.database, redis, about), anchors_in(bench.database, tmp_path)
    managers = {m.id: m for m in known(bench.database, bench.files, snapshots, anchors)}

    for _ in range(2):
        await managers[ManagerId.QUEUE].tick(options(ManagerId.QUEUE, {}))

    async with bench.database.transaction("default") as tx:
        told = [event.payload for event in await events.after(tx, events.START) if event.entity_id == "gone"]
    assert [{"state": "idle"}, {"state": "idle", "silent": True}] == told


async def test_a_round_of_the_queue_takes_no_more_jobs_than_its_options_say(
    bench: Bench, redis: Redis, tmp_path: Path
) -> None:
    for _ in range(3):
        await bench.submitted()
    async with bench.database.system() as tx:
        await leases.claim(tx, "silent", most=3, lease=timedelta(seconds=-1))
    about = About(version="0", started_at=datetime.now(UTC), data_dir=tmp_path, host="127.0.0.1", port=0, ws_port=0)
    snapshots, anchors = Snapshots(bench.database, redis, about), anchors_in(bench.database, tmp_path)
    managers = {m.id: m for m in known(bench.database, bench.files, snapshots, anchors)}

    await managers[ManagerId.QUEUE].tick(options(ManagerId.QUEUE, {"most": 2}))

    async with bench.database.system() as tx:
        await tallies.fold(tx)
        assert 1 == (await tallies.counts(tx))[JobStatus.PROCESSING]


@pytest.mark.parametrize(
    ("manager", "given"),
    [(ManagerId.QUEUE, {"most": 0}), (ManagerId.QUEUE, {"least": 1}), (ManagerId.CLEANUP, {"most": 5})],
)
def test_options_are_known_and_in_their_range(manager: ManagerId, given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        options(manager, given)


@pytest.mark.parametrize("manager", OPTIONS)
def test_options_that_were_never_set_are_the_usual_ones(manager: ManagerId) -> None:
    assert OPTIONS[manager]() == options(manager, {})
