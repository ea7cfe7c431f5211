"""The agents there are, by id, and the chain a job goes through unless it asks for another."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from workers.agents import (
    audio_transcriber,
    clipper,
    face_detector,
    intelligent_cropper,
    moment_detector,
    script_generator,
    social_post_generator,
    video_analyzer,
    video_cutter,
    video_downloader,
    voiceover_creator,
)
from workers.agents.contract import Agent

GROUP: Final = "agentos.agents"
"""Entry points of other projects, each naming an `Agent`."""

_CHAIN: Final = (
    video_downloader.AGENT,
    video_analyzer.AGENT,
    audio_transcriber.AGENT,
    moment_detector.AGENT,
    face_detector.AGENT,
    intelligent_cropper.AGENT,
    video_cutter.AGENT,
    clipper.AGENT,
    script_generator.AGENT,
    social_post_generator.AGENT,
)

DEFAULT_CHAIN: Final = tuple(agent.id for agent in _CHAIN)
"""Ids in the order they run; the voiceover creator is there for those who ask for it."""

AGENTS: Final[Mapping[str, Agent]] = MappingProxyType({agent.id: agent for agent in (*_CHAIN, voiceover_creator.AGENT)})
"""The eleven agents of the house, in chain order."""


class BadAgent(Exception):
    """An installed package offers an agent that cannot be taken in; the message names both."""


def discovered() -> dict[str, Agent]:
    """The agents of the house and those that other installed projects offer; called when a worker starts.

    Raises:
        BadAgent: an offered agent is none, or takes an id that is taken.
    """
    found = dict(AGENTS)
    for offer in entry_points(group=GROUP):
        agent = offer.load()
        if not isinstance(agent, Agent):
            raise BadAgent(f"{offer.value} is offered as an agent but is none")
        if agent.id in found or agent.output.agent != agent.id:
            raise BadAgent(f"{offer.value} calls itself {agent.id}, which is taken or not the id of its output")
        found[agent.id] = agent
    return found
