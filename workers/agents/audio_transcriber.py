"""Writes down what is said, with a speech model; without one, notes at least when somebody speaks, and says so."""

from dataclasses import dataclass
from typing import ClassVar

from workers.agents import roster
from workers.agents.contract import Agent, Output, Step, Tools
from workers.agents.video_downloader import Download
from workers.failures import StepSkipped
from workers.media import speech
from workers.media.speech import Speech


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The video, and the model to listen with."""

    path: str
    duration_s: float
    model: str | None
    """Folder of a faster-whisper model on this machine, set by the operator; None without one."""

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        video = step.needs(Download)
        if not video.facts.has_audio:
            raise StepSkipped("the video has no sound")
        model = tools.config.get("speech_model")
        return cls(path=video.path, duration_s=video.facts.duration_s, model=str(model) if model else None)


class Transcript(Output, frozen=True, kw_only=True):
    """What is said in a video."""

    agent: ClassVar[str] = roster.AUDIO_TRANSCRIBER.id

    speech: Speech


async def run(step: Step, tools: Tools) -> Transcript:
    """Listen to the video."""
    asked = Input.of(step, tools)
    if asked.model is None:
        return Transcript(speech=await tools.compute(speech.voice_activity, asked.path, asked.duration_s))
    return Transcript(speech=await tools.compute(speech.transcript, asked.path, asked.duration_s, asked.model))


AGENT = Agent(known=roster.AUDIO_TRANSCRIBER, output=Transcript, run=run)
