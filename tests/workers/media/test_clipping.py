"""A thumbnail shows something; a clip without sound stays without."""

from pathlib import Path

import cv2
import pytest

from tests.videos import Videos
from workers.media import clipping, cutting, sample
from workers.media.analysis import Stretch


def test_the_thumbnail_is_not_the_black_part(videos: Videos, tmp_path: Path) -> None:
    """Two thirds of the cut are black."""
    black_s, after_s = sample.cuts_s(12.0)[-2:]
    parts = [Stretch(start_s=black_s, end_s=after_s + 0.3)]
    cuts = cutting.cut_out(str(videos.talking()), parts, (640, 360), 24.0, str(tmp_path))

    (clip,) = clipping.finish(cuts, [None], -14.0, str(tmp_path))

    still = cv2.imread(str(tmp_path / clip.thumbnail))
    assert still is not None
    assert still.mean() > 30


def test_a_silent_video_makes_a_silent_clip(videos: Videos, tmp_path: Path) -> None:
    cuts = cutting.cut_out(str(videos.silent()), [Stretch(start_s=0.0, end_s=1.0)], (320, 180), 24.0, str(tmp_path))

    (clip,) = clipping.finish(cuts, [None], -14.0, str(tmp_path))

    assert clip.loudness_lufs is None
    assert pytest.approx(1.0, abs=0.01) == clip.duration_s
