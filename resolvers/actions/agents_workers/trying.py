"""Agents tried: whether one does what it is there for, on a video made from nothing, in a worker."""

from typing import Any, Final
from uuid import UUID

import msgspec

from db import agents, trials, workers
from db.database import Transaction
from db.models.control import TrialState
from db.rows import Row
from db.trials import Trial
from guards.breakers import Dependency
from guards.errors import BadInput, NotControllable, NotFound
from resolvers import jobs, waiting
from resolvers.actions.contract import Action, AgentId, Payload, View, Work, operation
from resolvers.context import Context

LARGEST_INPUT: Final = 16_384
"""Bytes of what an agent is asked for, as JSON."""

LATE_S: Final = 2.0
"""How long after its time a trial is still waited for, as its worker writes down that it was too late."""


class AgentTestInput(Payload, frozen=True, kw_only=True):
    """Which agent to try, and on what."""

    agent_id: AgentId
    input: dict[str, Any] | None = None
    """Wishes as a job would have them, such as `{"max_clips": 1}`; left out, the agent decides."""


class AgentTested(Row, frozen=True, kw_only=True):
    """How an agent did; the video it was tried on, and all it made, are gone again."""

    agent_id: str
    passed: bool
    outcome: TrialState
    duration_ms: int | None
    """Of the agent itself, without those that come before it; null when it did not get its turn."""

    output_summary: dict[str, Any] | None
    """What it found, with numbers in the place of lists; null unless it passed."""

    message: str | None
    """Why it did not pass."""

    worker_id: str | None
    """The worker that tried it."""


async def _testable(context: Context, asked: AgentTestInput) -> None:
    if len(msgspec.json.encode(asked.input)) > LARGEST_INPUT:
        raise BadInput(f"input: at most {LARGEST_INPUT} bytes of JSON are taken")
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await jobs.require_taken(tx)
        if await agents.by_id(tx, asked.agent_id) is None:
            raise NotFound(f"there is no agent {asked.agent_id}")
        ready = any(one.takes_jobs for one in await workers.on_duty(tx))
    if not ready:
        raise NotControllable("no worker is there that could try it, or all are paused")


@operation(
    "agent.test",
    View.AGENTS_WORKERS,
    per_minute=10,
    depends_on=Dependency.WORKERS,
    target="agent_id",
    prepare=_testable,
)
async def agent_test(work: Work, asked: AgentTestInput) -> AgentTested:
    """Try an agent on a short generated video, within half a minute.

    Raises:
        Maintenance: the system is being worked on.
        Conflict: the queue turns new work away, such as after an emergency stop.
        NotFound: there is no such agent.
        NotControllable: there is no worker that could.
    """
    async with work.services.database.transaction(work.caller.tenant) as tx:
        trial = await trials.add(tx, asked.agent_id, asked.input or {})
    ended = await _ended(work, trial)
    return AgentTested(
        agent_id=asked.agent_id,
        passed=ended.state is TrialState.PASSED,
        outcome=ended.state,
        duration_ms=ended.duration_ms,
        output_summary=ended.output,
        message=ended.message,
        worker_id=ended.worker_id,
    )


async def _ended(work: Work, trial: Trial) -> Trial:
    """The trial once it has ended; one that nobody ended in time has failed."""
    reported = trial.state

    async def look() -> Trial:
        nonlocal reported
        async with work.services.database.transaction(work.caller.tenant) as tx:
            seen = await _found(tx, trial.id)
        if seen.state not in (reported, *trials.ENDED):
            reported = seen.state
            await work.report(0.2, f"tried by worker {seen.worker_id}")
        return seen

    within_s = trials.PATIENCE.total_seconds() + LATE_S
    seen = await waiting.until(look, lambda seen: seen.state in trials.ENDED, within_s=within_s)
    if seen.state in trials.ENDED:
        return seen
    message = "no worker took it up" if seen.state is TrialState.WAITING else "its worker did not answer"
    async with work.services.database.transaction(work.caller.tenant) as tx:
        # Changes nothing should it have ended by itself just now.
        await trials.finish(tx, trial.id, TrialState.FAILED, message=f"{message} within half a minute")
        return await _found(tx, trial.id)


async def _found(tx: Transaction, trial_id: UUID) -> Trial:
    found = await trials.by_id(tx, trial_id)
    assert found is not None
    return found


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (agent_test,)
