"""Looks a video through: scenes, black and silent stretches, loudness and motion."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.video_downloader import Download
from workers.media import analysis
from workers.media.analysis import Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The video and how far it goes."""

    path: str
    duration_s: float

    @classmethod
    def of(cls, step: Step) -> "Input":
        video = step.needs(Download)
        return cls(path=video.path, duration_s=video.facts.duration_s)


class Analysis(Output, frozen=True, kw_only=True):
    """What is in a video, and when."""

    agent: ClassVar[str] = roster.VIDEO_ANALYZER.id

    findings: Findings


async def run(step: Step, tools: Tools) -> Analysis:
    """Decode the video once and note what it shows and sounds like."""
    asked = Input.of(step)
    return Analysis(findings=await tools.compute(analysis.look_through, asked.path, asked.duration_s))


AGENT = Agent(known=roster.VIDEO_ANALYZER, output=Analysis, run=run)
