"""Cuts are exact to the picture, upright, in even sizes, and hear what they show."""

from pathlib import Path

import numpy as np
import pytest

from tests.videos import Videos, decoded
from workers.failures import StepFailed
from workers.media import cutting, decoding
from workers.media.analysis import Stretch


def part(start_s: float, end_s: float) -> list[Stretch]:
    return [Stretch(start_s=start_s, end_s=end_s)]


def test_a_cut_is_exact_to_the_picture(videos: Videos, tmp_path: Path) -> None:
    """Cut at a scene change, its first picture is the new scene's and its last the old one's."""
    source = str(videos.talking())

    (cut,) = cutting.cut_out(source, part(1.5, 4.25), (640, 360), 24.0, str(tmp_path))

    assert (66, 640, 360) == decoded(Path(cut.path)) == (cut.frames, cut.width, cut.height)
    assert 2.75 == cut.duration_s
    wanted = [decoding.grey(shown.frame, width=64) for shown in decoding.pictures(source, since_s=1.5, until_s=4.25)]
    found = [decoding.grey(shown.frame, width=64) for shown in decoding.pictures(cut.path, until_s=9.0)]
    assert all(np.abs(a.astype(int) - b).mean() < 3 for a, b in zip(wanted, found, strict=True))


def test_sound_stays_with_its_pictures(videos: Videos, tmp_path: Path) -> None:
    source = str(videos.talking())

    (cut,) = cutting.cut_out(source, part(4.0, 6.0), (640, 360), 24.0, str(tmp_path))

    wanted = decoding.samples(source, since_s=4.0, until_s=6.0, rate=8_000, channels=1)
    found = decoding.samples(cut.path, since_s=0.0, until_s=2.0, rate=8_000, channels=1)
    assert wanted is not None
    assert found is not None
    likeness = np.correlate(found[0], wanted[0][400:-400], mode="valid")
    assert abs(int(likeness.argmax()) - 400) < 80, "ten milliseconds at most"


def test_a_turned_video_is_cut_upright(videos: Videos, tmp_path: Path) -> None:
    (cut,) = cutting.cut_out(str(videos.turned(-90)), part(0.0, 1.0), (180, 320), 24.0, str(tmp_path))

    assert (24, 180, 320) == decoded(Path(cut.path))
    shown = next(iter(decoding.pictures(cut.path, until_s=1.0)))
    assert decoding.grey(shown.frame, width=90)[:40].mean() > 200


def test_odd_sizes_become_even(videos: Videos, tmp_path: Path) -> None:
    (cut,) = cutting.cut_out(str(videos.odd()), part(0.0, 1.0), (321, 241), 24.0, str(tmp_path))

    assert (24, 320, 240) == decoded(Path(cut.path))


def test_large_pictures_are_made_smaller() -> None:
    assert (1920, 1080) == cutting.fitted(3840, 2160)
    assert (1080, 1920) == cutting.fitted(2160, 3840)


def test_a_part_without_pictures_is_refused(videos: Videos, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"no pictures between 9\.0 s and 12\.0 s"):
        cutting.cut_out(str(videos.odd()), part(9.0, 12.0), (320, 240), 24.0, str(tmp_path))
