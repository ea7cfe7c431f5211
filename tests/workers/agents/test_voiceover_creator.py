"""The script is read aloud when there is an engine for it, and the step says so when there is none."""

import sys
from pathlib import Path

import pytest

from tests.workers.agents.bench import Job
from workers.agents import voiceover_creator
from workers.agents.contract import Source
from workers.agents.script_generator import Script
from workers.agents.voiceover_creator import Voiceover
from workers.failures import StepFailed, StepSkipped

SPEAKING = """#!{python}
import sys, wave
text = sys.stdin.read()
assert sys.argv[1:4] == ["-s", "160", "-w"] and sys.argv[5:] == ["--stdin"], sys.argv
with wave.open(sys.argv[4], "wb") as sound:
    sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8000)
    sound.writeframes(bytes(2 * 800 * len(text)))
"""


def job_with(folder: Path) -> Job:
    job = Job(folder, Source())
    job.put(Script(title="T", hook="Hi", outline=[], narration="-v hello", keywords=[], captions=[]))
    return job


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    """Make a folder the only one programs are looked for in, with a stand-in for the engine or without."""
    programs = folder / "programs"
    programs.mkdir()
    if program is not None:
        engine = programs / "espeak-ng"
        engine.write_text(program.format(python=sys.executable))
        engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))


async def test_the_narration_is_read_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, SPEAKING)
    job = job_with(tmp_path)

    await job.do(voiceover_creator.AGENT)

    found = job.found(Voiceover)
    assert ("voiceover.wav", 0.8, "espeak-ng") == (found.path, found.duration_s, found.engine)
    assert (job.benches[Voiceover.agent].folder / found.path).exists()


async def test_without_an_engine_it_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, None)

    with pytest.raises(StepSkipped, match="no voice engine is installed"):
        await job_with(tmp_path).do(voiceover_creator.AGENT)


async def test_an_engine_that_fails_fails_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!{python}\nraise SystemExit(3)\n")

    with pytest.raises(StepFailed, match="the voice engine ended with code 3"):
        await job_with(tmp_path).do(voiceover_creator.AGENT)
