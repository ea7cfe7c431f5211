"""Faces are found where they are and followed as one."""

import pytest

from tests.videos import Videos
from workers.media import faces, sample
from workers.media.analysis import Stretch


def test_the_presenter_is_followed_across_the_picture(videos: Videos) -> None:
    _, begin_s, end_s, *_ = sample.cuts_s(12.0)

    found = faces.tracks(str(videos.talking()), [Stretch(start_s=begin_s, end_s=end_s)])

    assert 1 == len(found)
    first, last = found[0].boxes[0], found[0].boxes[-1]
    assert pytest.approx(0.25, abs=0.06) == first.x + first.width / 2
    assert pytest.approx(0.63, abs=0.06) == last.x + last.width / 2


def test_two_presenters_in_two_scenes_are_two_faces(videos: Videos) -> None:
    _, first_s, shapes_s, second_s, black_s, _ = sample.cuts_s(12.0)
    parts = [Stretch(start_s=first_s, end_s=shapes_s), Stretch(start_s=second_s, end_s=black_s)]

    found = faces.tracks(str(videos.talking()), parts)

    assert 2 == len(found)
    assert found[0].start_s > shapes_s, "the nearer face is the more prominent one"


def test_no_face_is_a_fine_answer(videos: Videos) -> None:
    assert [] == faces.tracks(str(videos.still()), [Stretch(start_s=0.0, end_s=3.0)])
