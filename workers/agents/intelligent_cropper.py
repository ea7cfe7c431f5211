"""Plans how the frame moves through each moment, so that a narrow clip shows what matters in a wide video."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster, wishes
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.face_detector import Faces
from workers.agents.moment_detector import Moments
from workers.agents.video_analyzer import Analysis
from workers.agents.video_downloader import Download
from workers.failures import StepSkipped
from workers.media import cropping, cutting
from workers.media.analysis import Stretch
from workers.media.cropping import CropPath, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The moments, what is known of them, and the shape asked for."""

    parts: list[Stretch]
    scene: Scene
    aspect: tuple[int, int]

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        aspect = wishes.aspect(step, tools)
        if aspect is None:
            raise StepSkipped("the clips keep the shape of the video")
        facts = step.needs(Download).facts
        width, height = cutting.fitted(facts.width, facts.height)
        looked = step.earlier(Analysis)
        seen = step.earlier(Faces)
        scene = Scene(
            width=width,
            height=height,
            cuts_s=[part.start_s for part in looked.findings.scenes] if looked else [],
            motion=looked.findings.motion if looked else None,
            faces=seen.tracks if seen else [],
        )
        chosen = step.needs(Moments).moments
        return cls(
            parts=[Stretch(start_s=moment.start_s, end_s=moment.end_s) for moment in chosen],
            scene=scene,
            aspect=aspect,
        )


class CropPaths(Output, frozen=True, kw_only=True):
    """How the frame moves."""

    agent: ClassVar[str] = roster.INTELLIGENT_CROPPER.id

    paths: list[CropPath]
    """One for each moment, in their order."""


async def run(step: Step, tools: Tools) -> CropPaths:
    """Plan a path for each moment."""
    asked = Input.of(step, tools)
    return CropPaths(paths=await tools.compute(cropping.paths, asked.scene, asked.parts, asked.aspect))


AGENT = Agent(known=roster.INTELLIGENT_CROPPER, output=CropPaths, run=run)
