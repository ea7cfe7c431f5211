"""What is written can be read back: sizes, rate, pictures and sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.videos import Videos, decoded
from workers.media import decoding, encoding
from workers.media.encoding import Planes


def flat(brightness: int, *, width: int = 64, height: int = 48) -> Planes:
    picture = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    picture[:height] = brightness
    return picture


def test_a_film_holds_what_was_shown_and_heard(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    sound = np.full((2, 48_000), 0.1, dtype=np.float32)

    with encoding.film(
        str(path), width=64, height=48, rate=Fraction(30000, 1001), sound=sound, quality=20, preset="ultrafast"
    ) as film:
        for number in range(30):
            film.show(encoding.frame_of(flat(number * 8)), number=number)

    assert (30, 64, 48) == decoded(path)
    with av.open(str(path)) as container:
        assert Fraction(30000, 1001) == container.streams.video[0].average_rate
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert pytest.approx(48_000, abs=2048) == heard


def test_a_crop_takes_the_same_part_of_all_three_planes() -> None:
    picture = flat(10)
    brightness, blue, red = encoding.split(picture)
    brightness[20:40, 30:50] = 200
    blue[10:20, 15:25] = 60
    red[10:20, 15:25] = 90

    part = encoding.split(encoding.cropped(picture, x=30, y=20, width=20, height=20))

    assert [200, 60, 90] == [int(plane.min()) for plane in part] == [int(plane.max()) for plane in part]


def test_planes_are_turned_upright(videos: Videos) -> None:
    picture = next(iter(decoding.pictures(str(videos.turned(-90)), until_s=1.0)))

    planes = encoding.planes(picture.frame, width=180, height=320)

    assert (480, 180) == planes.shape
    assert encoding.split(planes)[0][:100].mean() > 200


@pytest.mark.parametrize(("number", "expected"), [(321.0, 320), (320.9, 320), (2.0, 2), (0.5, 2)])
def test_even_is_never_above_and_never_nothing(number: float, expected: int) -> None:
    assert expected == encoding.even(number)
