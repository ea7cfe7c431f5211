"""The sample is what it says: its length, its scenes, the same every time."""

from pathlib import Path

import numpy as np

from tests.videos import decoded
from workers.media import sample


def test_the_sample_has_the_asked_length_and_size(tmp_path: Path) -> None:
    sample.write_sample(str(tmp_path / "a.mp4"), 2.0, width=320, height=180)

    assert (48, 320, 180) == decoded(tmp_path / "a.mp4")


def test_scenes_follow_each_other_on_whole_pictures() -> None:
    cuts = sample.cuts_s(24.0)

    assert len(sample.SCENES) == len(cuts)
    assert sorted(cuts) == cuts
    assert all(abs(cut * 24 - round(cut * 24)) < 1e-9 for cut in cuts)


def test_it_is_the_same_every_time() -> None:
    first, second = (list(sample.drawn(1.0, width=64, height=36, rate=24)) for _ in range(2))

    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert np.array_equal(sample.soundtrack(1.0), sample.soundtrack(1.0))


def test_its_sound_does_not_clip() -> None:
    assert np.abs(sample.soundtrack(6.0)).max() <= 1.0
