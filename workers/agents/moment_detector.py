"""Finds the stretches of a video that are worth a clip, and says why each is."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster, wishes
from workers.agents.audio_transcriber import Transcript
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.video_analyzer import Analysis
from workers.agents.video_downloader import Download
from workers.failures import StepFailed
from workers.media import moments
from workers.media.analysis import Findings, Stretch
from workers.media.moments import Moment, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What is known of the video, and which moments are asked for."""

    findings: Findings
    speech: list[Stretch] | None
    duration_s: float
    wanted: Wanted

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        heard = step.earlier(Transcript)
        shortest = wishes.clip_s(step, tools, "min_s", default=15)
        longest = wishes.clip_s(step, tools, "max_s", default=max(60.0, shortest))
        if longest < shortest:
            raise StepFailed("max_s must not be less than min_s")
        count = wishes.whole(step, tools, "max_clips", default=5, at_least=1, at_most=20)
        return cls(
            findings=step.needs(Analysis).findings,
            speech=None
            if heard is None
            else [Stretch(start_s=part.start_s, end_s=part.end_s) for part in heard.speech.segments],
            duration_s=step.needs(Download).facts.duration_s,
            wanted=Wanted(min_s=shortest, max_s=longest, count=count),
        )


class Moments(Output, frozen=True, kw_only=True):
    """The moments worth a clip."""

    agent: ClassVar[str] = roster.MOMENT_DETECTOR.id

    moments: list[Moment]
    """Best first; they do not overlap."""


async def run(step: Step, tools: Tools) -> Moments:
    """Rank the stretches of the video and keep the best."""
    asked = Input.of(step, tools)
    found = await tools.compute(moments.ranked, asked.findings, asked.speech, asked.duration_s, asked.wanted)
    return Moments(moments=found)


AGENT = Agent(known=roster.MOMENT_DETECTOR, output=Moments, run=run)
