"""Makes the finished clips: cropped, at one loudness, each with a thumbnail, a title and its reasons."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster, wishes, words
from workers.agents.audio_transcriber import Transcript
from workers.agents.contract import Agent, MadeClip, Output, Reason, Step, Tools
from workers.agents.intelligent_cropper import CropPaths
from workers.agents.moment_detector import Moments
from workers.agents.video_cutter import Cuts
from workers.agents.video_downloader import Download
from workers.failures import StepFailed
from workers.media import clipping
from workers.media.clipping import Finished
from workers.media.cropping import CropPath
from workers.media.cutting import Cut
from workers.media.moments import Moment
from workers.media.speech import Segment

LONGEST_TITLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The cuts, and how each is to be finished."""

    cuts: list[Cut]
    moments: list[Moment]
    paths: list[CropPath | None]
    """How each is cropped; None leaves it as it is."""

    title: str
    said: list[Segment]
    target_lufs: float

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        cuts, moments = step.needs(Cuts).cuts, step.needs(Moments).moments
        planned = step.earlier(CropPaths)
        heard = step.earlier(Transcript)
        paths: list[CropPath | None] = [*planned.paths] if planned else [None] * len(cuts)
        if not len(cuts) == len(moments) == len(paths):
            raise StepFailed("the cuts do not belong to these moments")
        return cls(
            cuts=cuts,
            moments=moments,
            paths=paths,
            title=step.needs(Download).title,
            said=heard.speech.segments if heard else [],
            target_lufs=wishes.number(step, tools, "target_lufs", default=-14, at_least=-40, at_most=-8),
        )


class Clips(Output, frozen=True, kw_only=True):
    """The finished clips; `clips` and `finished` are in the order of the moments, best first."""

    agent: ClassVar[str] = roster.CLIPPER.id

    finished: list[Finished]
    """What was measured on each clip: size, digest, loudness."""


async def run(step: Step, tools: Tools) -> Clips:
    """Finish each cut."""
    asked = Input.of(step, tools)
    made = await tools.compute(clipping.finish, asked.cuts, asked.paths, asked.target_lufs, str(tools.folder.resolve()))
    several = len(made) > 1
    clips = [
        _clip(clip, moment, _title(asked, moment, number if several else None))
        for number, (clip, moment) in enumerate(zip(made, asked.moments, strict=True), start=1)
    ]
    return Clips(clips=tuple(clips), finished=made)


def _clip(clip: Finished, moment: Moment, title: str) -> MadeClip:
    return MadeClip(
        path=clip.path,
        thumbnail=clip.thumbnail,
        title=title,
        start_s=moment.start_s,
        end_s=moment.end_s,
        duration_s=clip.duration_s,
        width=clip.width,
        height=clip.height,
        score=moment.score,
        reasons=tuple(Reason(reason=reason.text, points=reason.points) for reason in moment.reasons),
    )


def _title(asked: Input, moment: Moment, number: int | None) -> str:
    """The first thing said in a moment, else the video's title with the moment's number."""
    for part in asked.said:
        if moment.start_s <= part.start_s < moment.end_s and part.text:
            return words.shortened(words.sentences(part.text)[0], LONGEST_TITLE)
    if number is None:
        return words.shortened(asked.title, LONGEST_TITLE)
    ending = f" (clip {number})"
    return words.shortened(asked.title, LONGEST_TITLE - len(ending)) + ending


AGENT = Agent(known=roster.CLIPPER, output=Clips, run=run)
