"""Without a model, voice is told from music, hum and silence."""

import pytest

from tests.videos import Videos
from workers.failures import StepFailed
from workers.media import sample, speech


def test_voice_is_found_where_somebody_speaks(videos: Videos) -> None:
    _, first_s, music_s, second_s, black_s, _ = sample.cuts_s(12.0)

    found = speech.voice_activity(str(videos.talking()), 12.0)

    assert ("voice-activity", None) == (found.engine, found.language)
    assert {""} == {segment.text for segment in found.segments}
    spoken = sum(
        max(0.0, min(segment.end_s, end) - max(segment.start_s, start))
        for segment in found.segments
        for start, end in ((first_s, music_s), (second_s, black_s))
    )
    assert spoken > 0.8 * (music_s - first_s + black_s - second_s)
    assert spoken > 0.85 * sum(segment.end_s - segment.start_s for segment in found.segments)


def test_a_tone_is_no_voice(videos: Videos) -> None:
    found = speech.voice_activity(str(videos.odd()), 2.0)

    assert ([], 0.0) == (found.segments, found.share)


def test_a_model_without_its_engine_is_said(videos: Videos) -> None:
    with pytest.raises(StepFailed, match=r"faster-whisper is not installed|model cannot be loaded"):
        speech.transcript(str(videos.talking()), 12.0, "/nowhere")
