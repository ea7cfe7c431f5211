"""Switching agents on and off, and setting how they work."""

from typing import Any, Final

import msgspec

from db import agents
from db.agents import Agent
from db.database import Transaction
from db.models.work import AgentPriority
from db.rows import Row
from guards.errors import BadInput, NotFound
from resolvers.context import Context

LARGEST_OPTIONS: Final = 16_384
"""Bytes of an agent's own options, as JSON."""


class Changes(Row, frozen=True, kw_only=True):
    """What to change of an agent's configuration; what is None stays as it is."""

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
    if len(msgspec.json.encode(values.get("options"))) > LARGEST_OPTIONS:
        raise BadInput(f"options: at most {LARGEST_OPTIONS} bytes of JSON are taken")
    return _changed(context, tx, agent_id, await agents.configure(tx, agent_id, values))


def _changed(context: Context, tx: Transaction, agent_id: str, agent: Agent | None) -> Agent:
    if agent is None:
        raise NotFound(f"there is no agent {agent_id}")
    tx.after_commit(context.services.hub.ring)
    return agent
