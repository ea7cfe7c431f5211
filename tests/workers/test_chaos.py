"""Killing everything at random while jobs run: nothing is lost and nothing is done twice.

Real processes and real servers, all of them started here: workers are killed with -9 or frozen past their lease and
thawed again, Valkey is killed with -9 and restarted by its owner. The control is a worker that is frozen before it
completes a job and then writes without looking at its fence: it must leave a clip twice.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from agentos.embedded import Addresses, Stores
from db import agents, jobs, users
from db.database import Database
from db.jobs import NewJob
from db.migrations import runner
from db.models.work import AgentCategory, JobStatus
from tests.waiting import eventually, until
from tests.workers.flock import CHAIN, LEASE

pytestmark = pytest.mark.slow

JOBS = 50
REAPED_EVERY_S = 5
PATIENCE_S = 90


class Flock:
    """Worker processes of this test, each replaced when it has been killed."""

    def __init__(
        self, addresses: Addresses, root: Path, *, workers: int = 3, unfenced: bool = False, held: bool = False
    ) -> None:
        self._argv = [
            sys.executable,
            "-m",
            "tests.workers.flock",
            addresses.database_url,
            addresses.redis_url,
            str(root),
        ]
        self._argv += [flag for flag, wanted in (("--unfenced", unfenced), ("--held", held)) if wanted]
        self._count = workers
        self._workers: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self.frozen = 0

    def __enter__(self) -> "Flock":
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.communicate()

    def kill_one(self) -> None:
        """End a worker as a power failure would, and start another."""
        place = random.randrange(self._count)
        self._workers[place].kill()
        self._workers[place].communicate()
        self._workers[place] = self._start()
        self.killed += 1

    async def freeze_one(self) -> None:
        """Stop a worker until its jobs were given to others, and let it go on as if nothing had been."""
        worker = self._workers[random.randrange(self._count)]
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE.total_seconds() + REAPED_EVERY_S + 1)
        worker.send_signal(signal.SIGCONT)
        self.frozen += 1

    def send(self, number: signal.Signals) -> None:
        """Have all workers get a signal."""
        for worker in self._workers:
            worker.send_signal(number)

    async def said(self, *wanted: str) -> None:
        """Wait until each worker has said one of these things."""
        for worker in self._workers:
            assert worker.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                while line := (await asyncio.to_thread(worker.stdout.readline)).decode():
                    if any(each in line for each in wanted):
                        break
                else:
                    raise AssertionError(f"a worker ended and never said {wanted}")

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


@pytest_asyncio.fixture
async def stores() -> AsyncIterator[tuple[Stores, Addresses, Path]]:
    """Servers of this test alone, because it kills them."""
    folder = Path(tempfile.mkdtemp(prefix="aos-"))
    pair = Stores(folder, fast_unsafe=True)
    addresses = await pair.start()
    watch = asyncio.create_task(pair.watch())
    try:
        yield pair, addresses, folder / "files"
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        await pair.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _prepared(addresses: Addresses) -> Database:
    await runner.upgrade(addresses.database_url)
    database = Database.connect(addresses.database_url, size=4)
    async with database.system() as tx:
        await users.ensure_tenant(tx, "default")
    async with database.transaction("default") as tx:
        await agents.settle(tx, [agents.Known(name, name, AgentCategory.EDITING, "", "1", 60) for name in CHAIN])
        for name in CHAIN:
            await agents.configure(tx, name, {"max_concurrent": 50})
    return database


async def _submit(database: Database, how_many: int) -> None:
    for _ in range(how_many):
        async with database.transaction("default") as tx:
            await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v", chain=CHAIN, max_attempts=1000))


async def _left(database: Database) -> int:
    async with database.transaction("default") as tx:
        left: int = await tx.scalar(sa.text("SELECT count(*) FROM jobs WHERE status <> 'completed'"))
    return left


async def _clips_by_job(database: Database) -> list[int]:
    async with database.transaction("default") as tx:
        rows = await tx.rows(
            sa.text("SELECT count(clips.id) FROM jobs LEFT JOIN clips ON clips.job_id = jobs.id GROUP BY jobs.id")
        )
    return [count for (count,) in rows]


async def test_fifty_jobs_survive_kills_and_freezes_whole_and_once(
    stores: tuple[Stores, Addresses, Path],
) -> None:
    pair, addresses, root = stores
    database = await _prepared(addresses)
    valkeys = 0
    with Flock(addresses, root) as flock:
        await _submit(database, JOBS // 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(flock.freeze_one())
            for turn in range(10):
                await asyncio.sleep(random.uniform(0.3, 0.7))
                if turn == 5:
                    await _submit(database, JOBS - JOBS // 2)
                if turn % 4 == 3:
                    # On a slow machine it may not yet be back from the last time.
                    await until(lambda: pair.pids()["Valkey"] is not None, within_s=PATIENCE_S)
                    pid = pair.pids()["Valkey"]
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    valkeys += 1
                else:
                    flock.kill_one()
        await eventually(lambda: _left(database), lambda left: left == 0, within_s=150, every_s=0.2)
        async with database.transaction("default") as tx:
            done = await jobs.how_many(tx, jobs.Filter(statuses=[JobStatus.COMPLETED]), owner=None)
    clips = await _clips_by_job(database)
    await database.close()

    assert (JOBS, [1] * JOBS) == (done, clips)
    assert (8, 2, 1) == (flock.killed, valkeys, flock.frozen)


async def _clips_after_a_freeze(addresses: Addresses, root: Path, *, unfenced: bool) -> list[int]:
    """How many clips a job has that another worker did while the first was frozen, about to write down what it made."""
    database = await _prepared(addresses)
    # The second wall, one clip of a rank for each job, would hide what a missing first one lets through.
    async with database.engine.begin() as owner:
        await owner.execute(sa.text("ALTER TABLE clips DROP CONSTRAINT clips_job_id_ordinal_key"))
    with Flock(addresses, root, workers=1, unfenced=unfenced, held=True) as frozen:
        await _submit(database, 1)
        await frozen.said("completing")
        frozen.send(signal.SIGSTOP)
        with Flock(addresses, root, workers=1, unfenced=unfenced):
            await eventually(lambda: _left(database), lambda left: left == 0, within_s=PATIENCE_S, every_s=0.2)
        frozen.send(signal.SIGCONT)
        await frozen.said("went to another worker", "is completed with")
    clips = await _clips_by_job(database)
    await database.close()
    return clips


async def test_a_worker_that_was_frozen_before_it_completes_a_job_leaves_nothing(
    stores: tuple[Stores, Addresses, Path],
) -> None:
    _, addresses, root = stores

    assert [1] == await _clips_after_a_freeze(addresses, root, unfenced=False)


async def test_control_without_a_fence_it_leaves_its_clip_beside_the_other(
    stores: tuple[Stores, Addresses, Path],
) -> None:
    """If this ever finds one clip, the tests above prove nothing any more."""
    _, addresses, root = stores

    assert [2] == await _clips_after_a_freeze(addresses, root, unfenced=True)
