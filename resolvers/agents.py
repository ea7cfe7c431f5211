"""Switching agents on and off, setting how they work, and having them begin anew."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from dataloaders.snapshot.agents_workers import restored
from db import agents, clearing
from db.agents import Agent
from db.clearing import Found, Wanted
from db.database import Transaction
from db.jobs import Job
from db.models.work import AgentPriority, JobStatus
from db.rows import Row
from guards.errors import BadInput, NotFound
from resolvers.context import Context

LARGEST_OPTIONS: Final = 16_384
"""Bytes of an agent's own options, as JSON."""


class Changes(Row, frozen=True, kw_only=True):
    """What to change of an agent's configuration; what is None stays as it is."""

    enabled: bool | None = None
    auto_start: bool | None = None
    max_concurrent: int | None = None
    timeout_s: int | None = None
    retry_attempts: int | None = None
    priority: AgentPriority | None = None
    memory_mb: int | None = None
    cpu_cores: int | None = None
    disk_mb: int | None = None
    options: dict[str, Any] | None = None


async def switched(context: Context, tx: Transaction, agent_id: str, *, enabled: bool) -> Agent:
    """Switch an agent on, so that its steps are begun again, or off: steps at work go on, none is begun.

    Raises:
        NotFound: there is no such agent.
    """
    return _changed(context, tx, agent_id, await agents.mark_enabled(tx, agent_id, enabled=enabled))


async def configure(context: Context, tx: Transaction, agent_id: str, changes: Changes) -> Agent:
    """Change how an agent works, from its next step on.

    Raises:
        NotFound: there is no such agent.
        BadInput: the options are too large, or nothing is to be changed.
    """
    values = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not None}
    if not values:
        raise BadInput("say at least one thing that is to be changed")
    if changes.options is not None:
        values["options"] = await _unhidden(tx, agent_id, changes.options)
    if len(msgspec.json.encode(values.get("options"))) > LARGEST_OPTIONS:
        raise BadInput(f"options: at most {LARGEST_OPTIONS} bytes of JSON are taken")
    return _changed(context, tx, agent_id, await agents.configure(tx, agent_id, values))


async def configured(context: Context, tx: Transaction, wanted: Sequence[tuple[str, Changes]]) -> list[Agent]:
    """Change how several agents work, in the order in which they are named.

    Raises:
        NotFound: one of them there is not.
        BadInput: one is named twice, its options are too large, or nothing is to be changed of it.
    """
    changes = dict(wanted)
    if twice := [agent_id for number, (agent_id, _) in enumerate(wanted) if agent_id in dict(wanted[:number])]:
        raise BadInput(f"agents: {twice[0]} is named twice")
    if idle := [agent_id for agent_id, change in wanted if change == Changes()]:
        raise BadInput(f"agents: say at least one thing that is to be changed of {idle[0]}")
    # In one order for all callers: two that name the same agents would else wait for each other for ever.
    after = {agent_id: await configure(context, tx, agent_id, changes[agent_id]) for agent_id in sorted(changes)}
    return [after[agent_id] for agent_id, _ in wanted]


async def restarted(context: Context, tx: Transaction, ids: Sequence[str] | None) -> tuple[list[str], list[Job]]:
    """Have agents begin anew what they are at: which those are, and the jobs that are queued for it.

    Args:
        ids: None for all of the tenant's.

    Raises:
        NotFound: there is no such agent.
    """
    known = {agent.id for agent in await agents.everyone(tx)}
    for agent_id in ids or ():
        if agent_id not in known:
            raise NotFound(f"there is no agent {agent_id}")
    meant = sorted(known if ids is None else set(ids))
    back = await clearing.put_back(tx, meant)
    for job in back:
        tx.after_commit(partial(context.services.doorbell.ring, job.id))
    return meant, back


async def cleared(context: Context, tx: Transaction, agent_id: str | None, *, dry_run: bool) -> Found:
    """Cancel the jobs that wait for an agent's turn; what went.

    Args:
        agent_id: None for whosever turn it is.
        dry_run: change nothing; what would go.

    Raises:
        NotFound: there is no such agent.
    """
    if agent_id is not None and await agents.by_id(tx, agent_id) is None:
        raise NotFound(f"there is no agent {agent_id}")
    wanted = Wanted(statuses=[JobStatus.QUEUED], turn_of=agent_id)
    if dry_run:
        return await clearing.found(tx, wanted)
    cancelled = await clearing.cancel(tx, wanted)
    await agents.announce_cleared(tx, Counter(job.current_step for job in cancelled if job.current_step))
    counts = {JobStatus.QUEUED: len(cancelled)} if cancelled else {}
    return Found(counts, [job.id for job in cancelled[: clearing.SAMPLE]])


async def _unhidden(tx: Transaction, agent_id: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the present value wherever one is given as it is shown: hidden."""
    # Held until the end: what somebody else makes a secret meanwhile would else become the old one again.
    present = await agents.for_change(tx, agent_id)
    return options if present is None else restored(options, present.options)


def _changed(context: Context, tx: Transaction, agent_id: str, agent: Agent | None) -> Agent:
    if agent is None:
        raise NotFound(f"there is no agent {agent_id}")
    return agent
