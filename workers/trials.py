"""Trials: an agent is run on a video made from nothing, after those that come before it in the usual chain.

No job is made for it, so it leaves no clips, no events and no numbers behind; all that is written is in a folder that
is gone afterwards.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from db import agents, trials
from db.database import Database
from db.models.control import TrialState
from db.trials import Trial
from workers import compute
from workers.agents.contract import Agent, Output, Source, Step
from workers.agents.roster import DEFAULT_CHAIN
from workers.failures import MayPass, StepFailed, StepSkipped
from workers.media.sample import write_sample
from workers.turn import Bench

SAMPLE_S: Final = 6.0
"""Length of the video an agent is tried on."""

LONGEST_TEXT: Final = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a trial ended."""

    state: TrialState
    message: str | None = None
    output: Mapping[str, Any] | None = None
    duration_ms: int | None = None


class Trials:
    """Carries out trials in one worker, one after the other."""

    def __init__(
        self, database: Database, known: Mapping[str, Agent], *, worker_id: str, defaults: Mapping[str, Any]
    ) -> None:
        self._database = database
        self._known = known
        self._worker_id = worker_id
        self._defaults = defaults

    async def one(self) -> Trial | None:
        """Take up a trial that waits and bring it to its end; None when none does."""
        async with self._database.system() as tx:
            trial = await trials.claim(tx, self._worker_id)
        if trial is None:
            return None
        ended = await self._ended(trial)
        log.info("the trial of the agent %s has %s", trial.agent_id, ended.state)
        async with self._database.transaction(trial.tenant_id) as tx:
            await trials.finish(
                tx, trial.id, ended.state, message=ended.message, output=ended.output, duration_ms=ended.duration_ms
            )
        return trial

    async def _ended(self, trial: Trial) -> _Ended:
        patience_s = trials.PATIENCE.total_seconds()
        try:
            async with asyncio.timeout(patience_s):
                return await self._carried_out(trial)
        except TimeoutError:
            return _Ended(TrialState.FAILED, f"took longer than the {patience_s:.0f} s that a trial is given")

    async def _carried_out(self, trial: Trial) -> _Ended:
        async with self._database.transaction(trial.tenant_id) as tx:
            configured = await agents.by_id(tx, trial.agent_id)
        agent = None if configured is None else self._known.get(configured.implementation)
        if configured is None or agent is None:
            return _Ended(TrialState.FAILED, f"there is no agent {trial.agent_id} in this worker")
        with tempfile.TemporaryDirectory(prefix="agentos-trial-") as folder:
            sample = Path(folder) / "sample.mp4"
            try:
                await compute.run(write_sample, str(sample), SAMPLE_S)
                results = await self._before(trial, agent, sample)
            except (StepFailed, MayPass) as error:
                return _Ended(TrialState.FAILED, f"what comes before it did not succeed: {error}")
            step = _step(trial, sample, trial.options, results)
            config = {**self._defaults, **configured.options}
            memory_mb = configured.memory_mb or compute.MEMORY_MB
            return await _tried(agent, step, Bench(folder=_made(folder, agent), config=config, memory_mb=memory_mb))

    async def _before(self, trial: Trial, agent: Agent, sample: Path) -> dict[str, bytes]:
        """What the agents before it in the usual chain find."""
        results: dict[str, bytes] = {}
        for agent_id in DEFAULT_CHAIN:
            if agent_id == agent.id:
                break
            earlier = self._known[agent_id]
            bench = Bench(folder=_made(sample.parent, earlier), config=self._defaults, memory_mb=compute.MEMORY_MB)
            try:
                output = await earlier.run(_step(trial, sample, {}, results), bench)
            except StepSkipped:
                continue
            results[agent_id] = msgspec.json.encode(output)
        return results


async def _tried(agent: Agent, step: Step, bench: Bench) -> _Ended:
    began = time.monotonic()
    try:
        output = await agent.run(step, bench)
    except StepSkipped as skipped:
        return _Ended(TrialState.SKIPPED, str(skipped), None, _ms_since(began))
    except (StepFailed, MayPass) as failed:
        return _Ended(TrialState.FAILED, str(failed), None, _ms_since(began))
    return _Ended(TrialState.PASSED, None, _short(output), _ms_since(began))


def _step(trial: Trial, sample: Path, options: Mapping[str, Any], results: Mapping[str, bytes]) -> Step:
    source = Source(file=sample, title="Trial")
    return Step(job_id=trial.id, attempt=1, source=source, options=options, results=dict(results))


def _made(folder: str | Path, agent: Agent) -> Path:
    own = Path(folder) / agent.id
    own.mkdir(mode=0o700)
    return own


def _short(output: Output) -> dict[str, Any]:
    """What an agent found, with numbers in the place of lists, and without the paths of a folder that is gone."""
    plain = msgspec.json.decode(msgspec.json.encode(output))
    return {name: _shorter(value) for name, value in plain.items() if name != "path"}


def _shorter(value: Any) -> Any:
    if isinstance(value, list):
        return len(value)
    if isinstance(value, dict):
        return {name: _shorter(inner) for name, inner in value.items()}
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
