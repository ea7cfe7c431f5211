"""Writes the words that go with the clips: a hook, an outline, a narration, and captions where the words are known.

Everything in them was found in the video or given by a person; where nothing is known, nothing is said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from db.models.work import ArtifactKind
from workers.agents import roster, words
from workers.agents.audio_transcriber import Transcript
from workers.agents.clipper import Clips
from workers.agents.contract import Agent, MadeClip, MadeFile, Output, Step, Tools
from workers.agents.video_analyzer import Analysis
from workers.agents.video_downloader import Download
from workers.media import captions
from workers.media.analysis import Stretch
from workers.media.speech import Segment

LONGEST_HOOK = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What is known about the video and its clips."""

    title: str
    duration_s: float
    scenes: int | None
    clips: tuple[MadeClip, ...]
    """Best first; at least one."""

    said: list[Segment]
    """Only what has words."""

    @classmethod
    def of(cls, step: Step) -> "Input":
        video = step.needs(Download)
        looked = step.earlier(Analysis)
        heard = step.earlier(Transcript)
        return cls(
            title=video.title,
            duration_s=video.facts.duration_s,
            scenes=len(looked.findings.scenes) if looked else None,
            clips=step.needs(Clips).clips,
            said=[part for part in heard.speech.segments if part.text] if heard else [],
        )


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the outline."""

    start_s: float
    """In the source, seconds."""

    end_s: float
    text: str


class Captions(msgspec.Struct, frozen=True, kw_only=True):
    """The captions of one clip."""

    clip: str
    """File name of the clip."""

    srt: str
    """File name of the SubRip file, within the step's folder."""

    webvtt: str
    """File name of the WebVTT file, within the step's folder."""


class Script(Output, frozen=True, kw_only=True):
    """The words that go with the clips."""

    agent: ClassVar[str] = roster.SCRIPT_GENERATOR.id

    title: str
    hook: str
    """One sentence to begin with."""

    outline: list[Beat]
    """What each clip shows, in the order of the source."""

    narration: str
    """The script to be read aloud."""

    keywords: list[str]
    captions: list[Captions]
    """Empty when nobody could write down what is said."""


async def run(step: Step, tools: Tools) -> Script:
    """Write hook, outline, narration and captions."""
    asked = Input.of(step)
    hook = _hook(asked)
    outline = [_beat(asked, clip) for clip in sorted(asked.clips, key=lambda clip: clip.start_s)]
    narration = " ".join([hook, *(beat.text for beat in outline)])
    made = [made for clip in asked.clips if (made := _captions(asked, clip, tools.folder)) is not None]
    (tools.folder / "script.md").write_text(_page(asked.title, hook, outline), encoding="utf-8")
    return Script(
        title=asked.title,
        hook=hook,
        outline=outline,
        narration=narration,
        keywords=words.keywords(asked.title, *(part.text for part in asked.said), count=10),
        captions=made,
        files=(
            MadeFile(path="script.md", kind=ArtifactKind.SCRIPT, media_type="text/markdown"),
            *(
                MadeFile(path=name, kind=ArtifactKind.CAPTIONS, media_type=media_type)
                for each in made
                for name, media_type in ((each.srt, "application/x-subrip"), (each.webvtt, "text/vtt"))
            ),
        ),
    )


def _hook(asked: Input) -> str:
    """The most telling sentence of the best clip that has one; without words, the bare facts."""
    for clip in asked.clips:
        found = words.sentences(" ".join(part.text for part in _said_in(asked, clip)))
        if found:
            telling = max(found, key=lambda sentence: len(words.keywords(sentence, count=20)))
            return words.shortened(telling, LONGEST_HOOK)
    count = len(asked.clips)
    of_it = "its best moment" if count == 1 else f"its {count} best moments"
    return words.shortened(f"{asked.title}: {of_it} out of {words.clock(asked.duration_s)}.", LONGEST_HOOK)


def _beat(asked: Input, clip: MadeClip) -> Beat:
    said = " ".join(part.text for part in _said_in(asked, clip))
    strongest = max(clip.reasons, key=lambda reason: reason.points)
    text = words.shortened(said, 200) if said else f"{clip.duration_s:.0f} seconds: {strongest.reason}."
    return Beat(start_s=clip.start_s, end_s=clip.end_s, text=f"At {words.clock(clip.start_s)}: {text}")


def _said_in(asked: Input, clip: MadeClip) -> list[Segment]:
    return [part for part in asked.said if part.start_s < clip.end_s and part.end_s > clip.start_s]


def _captions(asked: Input, clip: MadeClip, folder: Path) -> Captions | None:
    lines = captions.within(_said_in(asked, clip), Stretch(start_s=clip.start_s, end_s=clip.end_s))
    if not lines:
        return None
    name = Path(clip.path).stem
    (folder / f"{name}.srt").write_text(captions.srt(lines), encoding="utf-8")
    (folder / f"{name}.vtt").write_text(captions.webvtt(lines), encoding="utf-8")
    return Captions(clip=clip.path, srt=f"{name}.srt", webvtt=f"{name}.vtt")


def _page(title: str, hook: str, outline: list[Beat]) -> str:
    return "\n".join([f"# {title}", "", hook, "", *(f"- {beat.text}" for beat in outline), ""])


AGENT = Agent(known=roster.SCRIPT_GENERATOR, output=Script, run=run)
