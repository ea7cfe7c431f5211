"""Facts are measured, and a bad file is refused in words a person understands."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.videos import Videos
from workers.failures import StepFailed
from workers.media import probe

HOURS_S = 3600.0


def test_an_ordinary_video_is_measured(videos: Videos) -> None:
    path = videos.talking(6.0)

    facts = probe.facts(str(path), None, 2 * HOURS_S)

    assert ("mp4", "h264", "aac", True) == (facts.container, facts.video_codec, facts.audio_codec, facts.has_audio)
    assert (640, 360, 0) == (facts.width, facts.height, facts.rotation)
    assert (6.0, 24.0, 144) == (facts.duration_s, facts.fps, facts.frames)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == facts.sha256
    assert path.stat().st_size == facts.size_bytes
    assert [] == facts.warnings


def test_a_file_that_is_not_the_announced_one_is_refused(videos: Videos) -> None:
    with pytest.raises(StepFailed, match="SHA-256 differs"):
        probe.facts(str(videos.silent()), "0" * 64, HOURS_S)


def test_no_sound_is_said_and_is_fine(videos: Videos) -> None:
    facts = probe.facts(str(videos.silent()), None, HOURS_S)

    assert (False, None) == (facts.has_audio, facts.audio_codec)
    assert ["the video has no sound"] == facts.warnings


def test_a_turned_video_is_measured_as_it_is_seen(videos: Videos) -> None:
    facts = probe.facts(str(videos.turned(-90)), None, HOURS_S)

    assert (180, 320, 90) == (facts.width, facts.height, facts.rotation)


def test_odd_sizes_are_said(videos: Videos) -> None:
    facts = probe.facts(str(videos.odd()), None, HOURS_S)

    assert (321, 241) == (facts.width, facts.height)
    assert ["the picture of 321x241 is cut to even sizes"] == facts.warnings


def test_a_declared_length_is_not_believed(videos: Videos) -> None:
    facts = probe.facts(str(videos.declared_long()), None, 60.0)

    assert 2.0 == facts.duration_s
    assert "the file declares 4:00:00 but holds 2.0 s of pictures; only those are used" in facts.warnings


def test_a_lone_picture_hours_later_makes_no_hours_of_work(videos: Videos) -> None:
    facts = probe.facts(str(videos.far_apart()), None, 60.0)

    assert 1.9 < facts.duration_s < 2.1


def test_a_cut_off_video_is_used_as_far_as_it_goes(videos: Videos) -> None:
    facts = probe.facts(str(videos.cut_off()), None, 60.0)

    assert 1.0 < facts.duration_s < 5.5
    assert any("only" in warning for warning in facts.warnings)


def test_a_video_that_really_is_too_long_is_refused(videos: Videos) -> None:
    with pytest.raises(StepFailed, match=r"the video lasts 6\.0 s; at most 5\.0 s are taken"):
        probe.facts(str(videos.talking(6.0)), None, 5.0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Videos.text, "the file is text, not a video"),
        (Videos.noise, "the file is not a video this service can read"),
        (Videos.empty, "the file is empty"),
        (Videos.without_index, "the video is cut off before its index; please upload it again"),
        (Videos.without_pictures, "the file has sound but no pictures"),
        (Videos.playlist, "the file is text, not a video"),
        (lambda videos: videos.text().with_name("nowhere.mp4"), "the file is not there any more"),
    ],
)
def test_a_bad_file_is_refused_in_plain_words(videos: Videos, made: Callable[[Videos], Path], message: str) -> None:
    with pytest.raises(StepFailed) as refusal:
        probe.facts(str(made(videos)), None, HOURS_S)

    assert message == str(refusal.value)
