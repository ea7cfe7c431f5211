"""Reads the script aloud with a voice engine of this machine; without one the step is skipped, and says so."""

import asyncio
import shutil
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from db.models.work import ArtifactKind
from workers.agents import roster, wishes
from workers.agents.contract import Agent, MadeFile, Output, Step, Tools
from workers.agents.script_generator import Script
from workers.failures import StepFailed, StepSkipped

ENGINES: Final = ("espeak-ng", "espeak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What to read, and with what."""

    text: str
    engine: str
    """Path of the program."""

    words_per_minute: int

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        engine = next((found for name in ENGINES if (found := shutil.which(name))), None)
        if engine is None:
            raise StepSkipped(f"no voice engine is installed ({' or '.join(ENGINES)})")
        return cls(
            text=step.needs(Script).narration,
            engine=engine,
            words_per_minute=wishes.whole(step, tools, "words_per_minute", default=160, at_least=80, at_most=400),
        )


class Voiceover(Output, frozen=True, kw_only=True):
    """The script, read aloud."""

    agent: ClassVar[str] = roster.VOICEOVER_CREATOR.id

    path: str
    """File name of a WAV file within the step's folder."""

    duration_s: float
    engine: str


async def run(step: Step, tools: Tools) -> Voiceover:
    """Read the script aloud into a WAV file."""
    asked = Input.of(step, tools)
    target = tools.folder.resolve() / "voiceover.wav"
    await _speak(asked, target)
    return Voiceover(
        path=target.name,
        duration_s=_lasting_s(target),
        engine=Path(asked.engine).name,
        files=(MadeFile(path=target.name, kind=ArtifactKind.VOICEOVER, media_type="audio/wav"),),
    )


async def _speak(asked: Input, target: Path) -> None:
    # The text goes in by the pipe: as an argument, one that begins with a dash would be an option.
    program = await asyncio.create_subprocess_exec(
        asked.engine,
        "-s",
        str(asked.words_per_minute),
        "-w",
        str(target),
        "--stdin",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await program.communicate(asked.text.encode())
    finally:
        if program.returncode is None:
            program.kill()
            await asyncio.shield(program.wait())
    if program.returncode or not target.exists():
        raise StepFailed(f"the voice engine ended with code {program.returncode}")


def _lasting_s(path: Path) -> float:
    try:
        with wave.open(str(path), "rb") as sound:
            return round(sound.getnframes() / sound.getframerate(), 3)
    except (wave.Error, EOFError):
        raise StepFailed("the voice engine wrote no sound") from None


AGENT = Agent(known=roster.VOICEOVER_CREATOR, output=Voiceover, run=run)
