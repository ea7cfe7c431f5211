"""Trials of agents: asked for by a person, taken up by whichever worker looks first, over within half a minute."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from db import queues
from db.database import Transaction
from db.models.control import TrialState, agent_trials
from db.models.work import queue_states
from db.rows import Row, Shape

PATIENCE: Final = timedelta(seconds=30)
"""How long a trial may take, the wait for a worker included."""

KEPT: Final = timedelta(days=1)


class Trial(Row, frozen=True):
    """One trial."""

    id: UUID
    tenant_id: str
    agent_id: str
    options: dict[str, Any]
    """What the agent is asked for, as a job would ask."""

    state: TrialState
    worker_id: str | None
    message: str | None
    """Why it failed or was skipped."""

    output: dict[str, Any] | None
    """What the agent found, in short."""

    duration_ms: int | None
    """Of the agent itself, without those before it; None when it was not begun."""

    created_at: datetime
    expires_at: datetime


TRIAL = Shape(Trial, agent_trials)
ENDED: Final = (TrialState.PASSED, TrialState.FAILED, TrialState.SKIPPED)


async def add(tx: Transaction, agent_id: str, options: Mapping[str, Any]) -> Trial:
    """A trial that waits for a worker."""
    await tx.execute(sa.delete(agent_trials).where(agent_trials.c.created_at < sa.func.now() - KEPT))
    statement = sa.insert(agent_trials).values(
        tenant_id=tx.tenant, agent_id=agent_id, options=dict(options), expires_at=sa.func.now() + PATIENCE
    )
    made = await TRIAL.first(tx, statement.returning(*TRIAL.columns))
    assert made is not None
    return made


async def by_id(tx: Transaction, trial_id: UUID) -> Trial | None:
    """One trial, or None."""
    return await TRIAL.first(tx, TRIAL.select().where(agent_trials.c.id == trial_id))


async def claim(tx: Transaction, worker_id: str) -> Trial | None:
    """Take up the trial that has waited longest; None when none waits that still matters to anybody.

    One of a tenant that was stopped in an emergency waits on, and none is taken up while anything is being decided.
    """
    if not await queues.still(tx):
        return None
    stopped = sa.exists().where(queue_states.c.tenant_id == agent_trials.c.tenant_id, queue_states.c.stopped)
    waiting = (
        sa.select(agent_trials.c.id)
        .where(agent_trials.c.state == TrialState.WAITING, agent_trials.c.expires_at > sa.func.now(), ~stopped)
        .order_by(agent_trials.c.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    statement = (
        sa.update(agent_trials)
        .where(agent_trials.c.id.in_(waiting))
        .values(state=TrialState.RUNNING, worker_id=worker_id)
    )
    return await TRIAL.first(tx, statement.returning(*TRIAL.columns))


async def finish(
    tx: Transaction,
    trial_id: UUID,
    state: TrialState,
    *,
    message: str | None = None,
    output: Mapping[str, Any] | None = None,
    duration_ms: int | None = None,
) -> None:
    """Say how a trial ended, unless that was said before: who asked may have given up on it."""
    await tx.execute(
        sa.update(agent_trials)
        .where(agent_trials.c.id == trial_id, agent_trials.c.state.not_in(ENDED))
        .values(
            state=state,
            message=message,
            output=None if output is None else dict(output),
            duration_ms=duration_ms,
        )
    )
