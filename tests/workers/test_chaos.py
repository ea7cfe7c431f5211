"""Killing everything at random while jobs run: nothing is lost and nothing is done twice.

Real processes and real servers, all of them started here: workers are killed with -9 or frozen past their lease and
thawed again, Valkey is killed with -9 and restarted by its owner. The control is a worker that is frozen before it
completes a job and then writes without looking at its fence: it must leave a clip twice.
"""

import asyncio
import functools
import os
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa

from agentos.embedded import Addresses, Stores
from db import agents, jobs, managers, users
from db.database import Database
from db.jobs import NewJob
from db.migrations import runner
from db.models.managers import ManagerId
from db.models.work import AgentCategory, JobStatus
from tests.forks import Fork, Forking, forking
from tests.waiting import eventually, until
from tests.workers.flock import CHAIN, LEASE

pytestmark = pytest.mark.slow

JOBS = 50
REAPED_EVERY_S = 1
PATIENCE_S = 90


class Flock:
    """Worker processes of this test, each replaced when it has been killed."""

    def __init__(
        self, fork: Forking, addresses: Addresses, root: Path, *, unfenced: bool = False, held: bool = False
    ) -> None:
        flags = [flag for flag, wanted in (("--unfenced", unfenced), ("--held", held)) if wanted]
        self._born = functools.partial(fork, addresses.database_url, addresses.redis_url, str(root), *flags)
        self._stack = AsyncExitStack()
        self._workers: list[Fork] = []
        self.killed = 0
        self.frozen = 0

    @asynccontextmanager
    async def of(self, count: int) -> AsyncIterator["Flock"]:
        """So many workers at work until the block ends."""
        async with self._stack:
            self._workers = [await self._start() for _ in range(count)]
            yield self

    async def kill_one(self) -> None:
        """End a worker as a power failure would, and start another."""
        place = random.randrange(len(self._workers))
        self._workers[place].kill()
        await self._workers[place].wait()
        self._workers[place] = await self._start()
        self.killed += 1

    async def freeze_one(self) -> None:
        """Stop a worker until its jobs were given to others, and let it go on as if nothing had been."""
        worker = random.choice(self._workers)
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
            async with asyncio.timeout(PATIENCE_S):
                while line := (await worker.stdout.readline()).decode():
                    if any(each in line for each in wanted):
                        break
                else:
                    raise AssertionError(f"a worker ended and never said {wanted}")

    async def _start(self) -> Fork:
        return await self._stack.enter_async_context(self._born())


fork = forking("tests.workers.flock")


@pytest_asyncio.fixture
async def stores() -> AsyncIterator[tuple[Stores, Addresses, Path]]:
    """Servers of one test alone, because it kills them."""
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


async def _prepared(database: Database) -> None:
    async with database.system() as tx:
        await users.ensure_tenant(tx, "default")
    async with database.transaction("default") as tx:
        await agents.settle(tx, [agents.Known(name, name, AgentCategory.EDITING, "", "1", 60) for name in CHAIN])
        for name in CHAIN:
            await agents.configure(tx, name, {"max_concurrent": 50})


async def _reaped_often(database: Database) -> None:
    """Have jobs whose lease has run out be given to others five times as soon as usual."""
    async with database.system() as tx:
        await managers.asked(tx, ManagerId.QUEUE)
        await managers.ask(tx, ManagerId.QUEUE, every_s=REAPED_EVERY_S)


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
    stores: tuple[Stores, Addresses, Path], fork: Forking
) -> None:
    pair, addresses, root = stores
    await runner.upgrade(addresses.database_url)
    database = Database.connect(addresses.database_url, size=4)
    await _prepared(database)
    await _reaped_often(database)
    valkeys = 0
    async with Flock(fork, addresses, root).of(3) as flock:
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
                    await flock.kill_one()
        await eventually(lambda: _left(database), lambda left: left == 0, within_s=150, every_s=0.2)
        async with database.transaction("default") as tx:
            done = await jobs.how_many(tx, jobs.Filter(statuses=[JobStatus.COMPLETED]), owner=None)
    clips = await _clips_by_job(database)
    await database.close()

    assert (JOBS, [1] * JOBS) == (done, clips)
    assert (8, 2, 1) == (flock.killed, valkeys, flock.frozen)


@pytest.mark.parametrize(("unfenced", "clips"), [(False, 1), (True, 2)], ids=["fenced", "control"])
async def test_a_worker_that_was_frozen_before_it_completes_a_job_leaves_nothing(
    unfenced: bool, clips: int, fork: Forking, database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Another does the job while it is frozen, about to write down what it made.

    Control: without a fence it leaves its clip beside the other's; if it ever does not, this proves nothing any more.
    """
    addresses = Addresses(database_url=database_url, redis_url=redis_url)
    await _prepared(database)
    # The second wall, one clip of a rank for each job, would hide what a missing first one lets through.
    async with database.engine.begin() as owner:
        await owner.execute(sa.text("ALTER TABLE clips DROP CONSTRAINT clips_job_id_ordinal_key"))
    async with Flock(fork, addresses, tmp_path, unfenced=unfenced, held=True).of(1) as frozen:
        await _submit(database, 1)
        await frozen.said("completing")
        frozen.send(signal.SIGSTOP)
        # Not before: one that was only slow for a moment would lose its job.
        await _reaped_often(database)
        async with Flock(fork, addresses, tmp_path, unfenced=unfenced).of(1):
            await eventually(lambda: _left(database), lambda left: left == 0, within_s=PATIENCE_S, every_s=0.2)
        frozen.send(signal.SIGCONT)
        await frozen.said("went to another worker", "is completed with")

    assert [clips] == await _clips_by_job(database)
