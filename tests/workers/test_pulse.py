"""The pulse: what a worker is asked is obeyed within a second and said at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db import workers
from db.models.work import JobStatus, WorkerState
from db.workers import OnDuty
from tests.waiting import eventually, until
from tests.workers.conftest import CHAIN, Bench
from workers.agents.contract import Step, Tools
from workers.engine import Engine
from workers.pulse import Pulse
from workers.trials import Trials

ALONE = CHAIN[:1]


@asynccontextmanager
async def beating(bench: Bench) -> AsyncIterator[tuple[Engine, "asyncio.Task[None]"]]:
    """A worker at work, with a pulse; and the end of its work."""
    turns = bench.turns()
    engine = bench.engine(turns=turns)
    trials = Trials(bench.database, {}, worker_id="w1", defaults={})
    pulse = asyncio.create_task(Pulse(bench.database, engine, turns, trials, name="worker-1", version="5").run())
    working = asyncio.create_task(engine.run())
    try:
        await eventually(lambda: said(bench), lambda found: found is not None)
        yield engine, working
    finally:
        engine.drain()
        await working
        pulse.cancel()
        await asyncio.wait([pulse])


async def said(bench: Bench) -> OnDuty | None:
    """What the worker last said of itself, found by its name."""
    async with bench.database.system() as tx:
        return await workers.last_of(tx, "worker-1")


async def desired(bench: Bench, state: WorkerState) -> None:
    async with bench.database.system() as tx:
        await workers.desire(tx, ["w1"], state)


async def test_a_worker_that_is_to_retire_does_its_last_job_and_returns(bench: Bench) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait(step: Step, tools: Tools) -> None:
        begun.set()
        await go.wait()

    bench.acts[ALONE[0]] = wait
    job = await bench.submitted(chain=ALONE)
    later = await bench.submitted(chain=ALONE)
    async with beating(bench) as (_, working):
        await until(begun.is_set)
        await desired(bench, WorkerState.DRAINING)
        await eventually(lambda: said(bench), lambda one: one is not None and one.state is WorkerState.DRAINING)
        assert not working.done()
        go.set()
        await until(working.done)

    assert JobStatus.COMPLETED is (await bench.found(job.id)).status
    assert (JobStatus.QUEUED, 0) == ((still := await bench.found(later.id)).status, still.attempt)


async def test_who_drains_is_not_called_back(bench: Bench) -> None:
    async with beating(bench) as (_, working):
        await desired(bench, WorkerState.DRAINING)
        await desired(bench, WorkerState.ACTIVE)
        await until(working.done)


async def test_settings_are_taken_over_and_said(bench: Bench) -> None:
    async with beating(bench) as (engine, _):
        async with bench.database.system() as tx:
            await workers.ask(tx, ["w1"], {"max_jobs": 4, "queues": ["shorts"]})
        found = await eventually(lambda: said(bench), lambda one: one is not None and one.settings["max_jobs"] == 4)

    assert (4, ("shorts",)) == (engine.concurrency, engine.queues)
    assert found is not None
    assert {"max_jobs": 4, "job_timeout": None, "queues": ["shorts"]} == found.settings


async def test_a_job_that_takes_longer_than_it_may_here_fails(bench: Bench) -> None:
    async def for_ever(step: Step, tools: Tools) -> None:
        await asyncio.Event().wait()

    bench.acts[ALONE[0]] = for_ever
    async with beating(bench):
        async with bench.database.system() as tx:
            await workers.ask(tx, ["w1"], {"job_timeout": 1})
        await eventually(lambda: said(bench), lambda one: one is not None and one.settings["job_timeout"] == 1)
        job = await bench.submitted(chain=ALONE)
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert failed.error_message is not None
    # The step, or before its step the job: whichever a slow machine is late with.
    assert "took longer than the 1 s " in failed.error_message
