"""The agents a worker has: those of the house, and what other installed projects offer."""

from collections.abc import Mapping
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
from workers.agents.offers import offered

AGENTS: Final[Mapping[str, Agent]] = MappingProxyType(
    {
        agent.id: agent
        for agent in (
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
            voiceover_creator.AGENT,
        )
    }
)
"""The eleven agents of the house, in the order of the roster."""


def discovered() -> dict[str, Agent]:
    """The agents of the house and those that other installed projects offer; called when a worker starts.

    Raises:
        BadAgent: an offered agent is none, or takes an id that is taken.
    """
    return {**AGENTS, **offered()}
