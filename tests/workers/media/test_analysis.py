"""One look through a video finds what was put into it."""

import pytest

from tests.videos import Videos
from workers.media import analysis, sample
from workers.media.analysis import Stretch


def test_every_cut_is_found_to_the_picture(videos: Videos) -> None:
    found = analysis.look_through(str(videos.talking()), 12.0)

    assert pytest.approx(sample.cuts_s(12.0), abs=0.002) == [scene.start_s for scene in found.scenes]
    assert 12.0 == found.scenes[-1].end_s


def test_black_and_silence_are_found_where_they_are(videos: Videos) -> None:
    *_, black_s, after_s = sample.cuts_s(12.0)

    found = analysis.look_through(str(videos.talking()), 12.0)

    (black,) = found.black
    assert pytest.approx(black_s, abs=0.15) == black.start_s
    assert pytest.approx(after_s, abs=0.15) == black.end_s
    assert any(part.start_s <= black_s + 0.2 and part.end_s >= after_s - 0.2 for part in found.silent)


def test_loud_and_quiet_parts_are_told_apart(videos: Videos) -> None:
    loudness = analysis.look_through(str(videos.talking()), 12.0).loudness

    assert loudness is not None
    assert -25 < loudness.integrated_lufs < -10
    assert 12 == len(loudness.per_second)
    assert loudness.per_second[0] < -35 < -20 < loudness.per_second[3]


def test_motion_is_followed_from_left_to_right(videos: Videos) -> None:
    motion = analysis.look_through(str(videos.talking(24.0)), 24.0).motion

    walking = motion.centre_x[4:9]
    assert sorted(walking) == walking
    assert walking[-1] - walking[0] > 0.2
    assert max(motion.level[4:9]) < max(motion.level[10:13])


def test_without_sound_nothing_is_said_about_it(videos: Videos) -> None:
    found = analysis.look_through(str(videos.silent()), 4.0)

    assert (None, []) == (found.loudness, found.silent)


def test_a_still_picture_is_one_scene_without_motion(videos: Videos) -> None:
    found = analysis.look_through(str(videos.still()), 3.0)

    assert [Stretch(start_s=0.0, end_s=3.0)] == found.scenes
    assert ([0.0] * 3, [0.5] * 3) == (found.motion.level, found.motion.centre_x)


def test_stretches_are_joined_marks_of_some_length() -> None:
    marks = [(0.0, True), (0.1, False), (1.0, True), (1.5, True), (2.0, False), (3.0, True)]

    found = analysis.stretches(marks, end_s=4.0, shortest_s=0.5)

    assert [(1.0, 2.0), (3.0, 4.0)] == [(part.start_s, part.end_s) for part in found]
