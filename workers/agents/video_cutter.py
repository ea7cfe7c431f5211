"""Cuts the chosen moments out of the video, exact to the picture."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.moment_detector import Moments
from workers.agents.video_downloader import Download
from workers.media import cutting
from workers.media.analysis import Stretch
from workers.media.cutting import Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The video and what to cut out of it."""

    path: str
    size: tuple[int, int]
    fps: float
    parts: list[Stretch]

    @classmethod
    def of(cls, step: Step) -> "Input":
        video = step.needs(Download)
        return cls(
            path=video.path,
            size=(video.facts.width, video.facts.height),
            fps=video.facts.fps,
            parts=[Stretch(start_s=part.start_s, end_s=part.end_s) for part in step.needs(Moments).moments],
        )


class Cuts(Output, frozen=True, kw_only=True):
    """The moments, each in a file of its own."""

    agent: ClassVar[str] = roster.VIDEO_CUTTER.id

    cuts: list[Cut]
    """One for each moment, in their order."""


async def run(step: Step, tools: Tools) -> Cuts:
    """Cut out each moment, upright, in even sizes, with its sound."""
    asked = Input.of(step)
    folder = str(tools.folder.resolve())
    return Cuts(cuts=await tools.compute(cutting.cut_out, asked.path, asked.parts, asked.size, asked.fps, folder))


AGENT = Agent(known=roster.VIDEO_CUTTER, output=Cuts, run=run)
