"""Agents of a tenant's own: a built-in one under another name, with options and limits of its own."""

import unicodedata
from typing import Any, Final

import msgspec

from db import agents
from db.agents import Agent
from db.database import Transaction
from db.models.work import AgentCategory
from guards.errors import BadInput, Conflict, NotFound
from resolvers.agents import LARGEST_OPTIONS
from resolvers.context import Context

MOST: Final = 100
"""Agents that a tenant may have in all."""


async def added(
    context: Context,
    tx: Transaction,
    agent_id: str,
    *,
    base: str,
    name: str,
    category: AgentCategory | None,
    options: dict[str, Any],
) -> tuple[Agent, int]:
    """Give a built-in agent another name; the new one, and how many agents there are now.

    Raises:
        BadInput: the base is no built-in agent, the name is not plain text, or the options are too large.
        Conflict: the id is taken, or there are too many agents.
    """
    if any(unicodedata.category(letter)[0] == "C" for letter in name) or not name.strip():
        raise BadInput("display_name: plain text is taken, without control characters")
    if len(msgspec.json.encode(options)) > LARGEST_OPTIONS:
        raise BadInput(f"config: at most {LARGEST_OPTIONS} bytes of JSON are taken")
    of = await agents.by_id(tx, base)
    if of is None or of.implementation != of.id:
        raise BadInput(f"base_agent: {base} is no built-in agent")
    # Two at once would both find room for one more.
    await tx.hold(f"{tx.tenant}/agents")
    if await agents.how_many_there_are(tx) >= MOST:
        raise Conflict(f"there are {MOST} agents already: remove one first")
    made = await agents.add_alias(
        tx, of, agent_id, name=" ".join(name.split()), category=category or of.category, options=options
    )
    if made is None:
        raise Conflict(f"there is an agent {agent_id} already")
    return made, await agents.how_many_there_are(tx)


async def removed(context: Context, tx: Transaction, agent_id: str) -> None:
    """Remove an agent of the tenant's own.

    Raises:
        NotFound: there is no such agent.
        Conflict: it is built in, or jobs that are not over need it.
    """
    # What whoever makes a job holds as well: none can be made for an agent that is just being removed.
    await tx.hold(f"{tx.tenant}/queue")
    agent = await agents.by_id(tx, agent_id)
    if agent is None:
        raise NotFound(f"there is no agent {agent_id}")
    if agent.implementation == agent.id:
        raise Conflict(f"{agent_id} is built in: config.configure_agent with enabled false switches it off")
    if needing := await agents.needed_by(tx, agent_id):
        raise Conflict(f"{needing} jobs that are not over need {agent_id}: wait for them, or cancel them")
    await agents.remove(tx, agent_id)
