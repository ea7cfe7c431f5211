"""Agents that other installed projects offer through an entry point."""

from importlib.metadata import entry_points
from typing import Final

from workers.agents.contract import Agent
from workers.agents.roster import ROSTER

GROUP: Final = "agentos.agents"
"""Entry points of other projects, each naming an `Agent`."""


class BadAgent(Exception):
    """An installed package offers an agent that cannot be taken in; the message names both."""


def offered() -> dict[str, Agent]:
    """What is offered, by id.

    Raises:
        BadAgent: an offered agent is none, or takes an id that is taken.
    """
    taken = {known.id for known in ROSTER}
    found: dict[str, Agent] = {}
    for offer in entry_points(group=GROUP):
        agent = offer.load()
        if not isinstance(agent, Agent):
            raise BadAgent(f"{offer.value} is offered as an agent but is none")
        if agent.id in taken or agent.id in found or agent.output.agent != agent.id:
            raise BadAgent(f"{offer.value} calls itself {agent.id}, which is taken or not the id of its output")
        found[agent.id] = agent
    return found
