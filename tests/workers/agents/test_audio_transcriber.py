"""The transcriber never claims words it has no model for."""

from pathlib import Path

import pytest

from tests.videos import Videos
from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import audio_transcriber
from workers.agents.audio_transcriber import Transcript
from workers.agents.contract import Source
from workers.failures import StepFailed, StepSkipped


async def test_without_a_model_it_says_so_and_finds_the_voice(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source(), config={"speech_model": None})
    job.put(known.download(videos.talking()))

    await job.do(audio_transcriber.AGENT)

    found = job.found(Transcript).speech
    assert "voice-activity" == found.engine
    assert found.segments
    assert {""} == {segment.text for segment in found.segments}


async def test_without_sound_it_is_skipped(tmp_path: Path) -> None:
    job = Job(tmp_path, Source())
    job.put(known.download(has_audio=False))

    with pytest.raises(StepSkipped, match="the video has no sound"):
        await job.do(audio_transcriber.AGENT)


async def test_a_model_that_is_not_there_fails_the_step(videos: Videos, tmp_path: Path) -> None:
    job = Job(tmp_path, Source(), config={"speech_model": str(tmp_path / "none")})
    job.put(known.download(videos.talking()))

    with pytest.raises(StepFailed, match="speech model"):
        await job.do(audio_transcriber.AGENT)
