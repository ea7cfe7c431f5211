"""Trials: a real agent on a generated video, without a job, and over in time."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from db import queues, trials
from db.database import Database
from db.models.control import TrialState, agent_trials
from db.trials import Trial
from tests.workers.conftest import Bench
from workers.agents import registry
from workers.agents.contract import Agent, Output, Step, Tools
from workers.failures import StepFailed, StepSkipped
from workers.trials import Trials

AGENT = "video-downloader"


async def tried(bench: Bench, trial: Trial, known: dict[str, Agent]) -> Trial:
    """A trial once a worker has been at it."""
    assert await Trials(bench.database, known, worker_id="w1", defaults={}).one() is not None
    async with bench.database.transaction("default") as tx:
        found = await trials.by_id(tx, trial.id)
    assert found is not None
    return found


async def asked(database: Database, agent_id: str = AGENT) -> Trial:
    """A trial that waits."""
    async with database.transaction("default") as tx:
        return await trials.add(tx, agent_id, {})


def playing(error: Exception) -> dict[str, Agent]:
    """The first agent of the chain, which ends in a way of the test's."""

    async def run(step: Step, tools: Tools) -> Output:
        raise error

    known = registry.AGENTS[AGENT].known
    return {AGENT: Agent(known=known, output=Output, run=run)}


@pytest.mark.slow
async def test_an_agent_passes_after_those_before_it_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PATIENCE", timedelta(minutes=5))
    ended = await tried(bench, await asked(bench.database, "video-analyzer"), dict(registry.AGENTS))

    assert (TrialState.PASSED, None, "w1") == (ended.state, ended.message, ended.worker_id)
    assert ended.output is not None
    assert 5 == ended.output["findings"]["scenes"]
    assert (ended.duration_ms or 0) > 0
    async with bench.database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM jobs"))
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM clips"))


@pytest.mark.parametrize(
    ("error", "state"),
    [(StepFailed("no"), TrialState.FAILED), (StepSkipped("no voice here"), TrialState.SKIPPED)],
)
async def test_how_an_agent_ends_is_told_in_its_words(bench: Bench, error: Exception, state: TrialState) -> None:
    ended = await tried(bench, await asked(bench.database), playing(error))

    assert (state, str(error), None) == (ended.state, ended.message, ended.output)


async def test_a_trial_that_nobody_waits_for_any_more_is_not_taken_up(bench: Bench) -> None:
    trial = await asked(bench.database)
    async with bench.database.system() as tx:
        late = sa.func.now() - timedelta(seconds=1)
        await tx.execute(sa.update(agent_trials).where(agent_trials.c.id == trial.id).values(expires_at=late))

    assert await Trials(bench.database, {}, worker_id="w1", defaults={}).one() is None


async def test_a_trial_is_taken_up_once(bench: Bench) -> None:
    await asked(bench.database)
    worker = Trials(bench.database, {}, worker_id="w1", defaults={})

    assert await worker.one() is not None
    assert await worker.one() is None


async def test_no_trial_is_begun_in_an_emergency(bench: Bench) -> None:
    trial = await asked(bench.database)
    worker = Trials(bench.database, {}, worker_id="w1", defaults={})
    async with bench.database.system() as tx:
        await queues.stop_all(tx, reason="smoke", by=None)
        while_stopping = await worker.one()
    stopped = await worker.one()
    async with bench.database.system() as tx:
        await queues.resume_stopped(tx, by=None)
    resumed = await worker.one()

    assert (None, None) == (while_stopping, stopped)
    assert resumed is not None
    assert trial.id == resumed.id


async def test_a_trial_that_was_given_up_stays_so_however_its_worker_ends(bench: Bench) -> None:
    trial = await asked(bench.database)
    async with bench.database.transaction("default") as tx:
        await trials.claim(tx, "w1")
        await trials.finish(tx, trial.id, TrialState.FAILED, message="its worker did not answer")
        await trials.finish(tx, trial.id, TrialState.PASSED, output={"late": True})
        found = await trials.by_id(tx, trial.id)

    assert found is not None
    assert (TrialState.FAILED, "its worker did not answer", None) == (found.state, found.message, found.output)
