"""Finds the faces in the chosen moments, or in the whole video when none were chosen."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.moment_detector import Moments
from workers.agents.video_downloader import Download
from workers.media import faces
from workers.media.analysis import Stretch
from workers.media.faces import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where to look."""

    path: str
    parts: list[Stretch]

    @classmethod
    def of(cls, step: Step) -> "Input":
        video = step.needs(Download)
        chosen = step.earlier(Moments)
        whole = [Stretch(start_s=0.0, end_s=video.facts.duration_s)]
        parts = [Stretch(start_s=moment.start_s, end_s=moment.end_s) for moment in chosen.moments] if chosen else whole
        return cls(path=video.path, parts=parts)


class Faces(Output, frozen=True, kw_only=True):
    """The faces of a video."""

    agent: ClassVar[str] = roster.FACE_DETECTOR.id

    tracks: list[Track]
    """Each face over time, most prominent first; empty when there is none."""


async def run(step: Step, tools: Tools) -> Faces:
    """Look for faces a few times a second and follow them."""
    asked = Input.of(step)
    return Faces(tracks=await tools.compute(faces.tracks, asked.path, asked.parts))


AGENT = Agent(known=roster.FACE_DETECTOR, output=Faces, run=run)
