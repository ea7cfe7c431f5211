"""The frame stays inside the picture, keeps faces in sight, is calm, and jumps only at cuts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.media import cropping
from workers.media.analysis import Motion, Stretch
from workers.media.cropping import Scene
from workers.media.faces import Box, Track

PART = Stretch(start_s=10.0, end_s=20.0)


def scene(*, faces: list[Track] | None = None, motion: Motion | None = None, cuts: list[float] | None = None) -> Scene:
    return Scene(width=640, height=360, cuts_s=cuts or [], motion=motion, faces=faces or [])


def face(*seen: tuple[float, float]) -> Track:
    """A face of a tenth of the picture whose middle is at a share of the width at each time."""
    boxes = [Box(at_s=at_s, x=x - 0.05, y=0.4, width=0.1, height=0.18) for at_s, x in seen]
    return Track(start_s=boxes[0].at_s, end_s=boxes[-1].at_s, boxes=boxes, prominence=1.0)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((640, 360), (9, 16), (202, 360)),
        ((640, 360), (1, 1), (360, 360)),
        ((640, 360), (16, 9), (640, 360)),
        ((360, 640), (9, 16), (360, 640)),
        ((360, 640), (16, 9), (360, 202)),
    ],
)
def test_the_frame_is_the_largest_even_one(
    size: tuple[int, int], aspect: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert expected == cropping.frame_size(*size, aspect)


def test_a_walking_face_stays_in_the_frame() -> None:
    walk = face(*((10 + step / 2, 0.2 + 0.03 * step) for step in range(21)))

    way = cropping.path(scene(faces=[walk]), PART, (9, 16))

    assert "faces" == way.follows
    for box in walk.boxes:
        x, _ = cropping.corner(way, box.at_s - PART.start_s)
        assert x <= box.x * 640
        assert (box.x + box.width) * 640 <= x + way.width


def test_without_faces_it_follows_the_motion() -> None:
    seconds = 30
    moving = Motion(level=[0.1] * seconds, centre_x=[0.8] * seconds, centre_y=[0.5] * seconds)

    way = cropping.path(scene(motion=moving), PART, (9, 16))

    assert "motion" == way.follows
    assert pytest.approx(640 * 0.8 - 101, abs=2) == way.waypoints[5].x


def test_without_anything_it_stays_in_the_middle() -> None:
    way = cropping.path(scene(), PART, (9, 16))

    assert ("centre", {(219.0, 0.0)}) == (way.follows, {(point.x, point.y) for point in way.waypoints})


def test_a_trembling_face_does_not_make_the_frame_tremble() -> None:
    trembling = face(*((10 + step / 2, 0.5 + 0.015 * (-1) ** step) for step in range(21)))

    way = cropping.path(scene(faces=[trembling]), PART, (9, 16))

    assert 1 == len({cropping.corner(way, at / 10)[0] for at in range(100)})


def test_it_jumps_with_the_picture() -> None:
    sides = [face((10.0, 0.2), (14.9, 0.2)), face((15.1, 0.8), (20.0, 0.8))]

    way = cropping.path(scene(faces=sides, cuts=[15.0]), PART, (9, 16))

    assert 26 == cropping.corner(way, 4.99)[0]
    assert 410 == cropping.corner(way, 5.0)[0]


@settings(max_examples=50)
@given(
    xs=st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=2, max_size=20),
    cuts=st.lists(st.floats(min_value=9.0, max_value=21.0), max_size=4),
    aspect=st.sampled_from([(9, 16), (1, 1), (4, 5), (16, 9), (4, 1)]),
)
def test_it_never_leaves_the_picture(xs: list[float], cuts: list[float], aspect: tuple[int, int]) -> None:
    seen = face(*((10 + 10 * index / len(xs), x) for index, x in enumerate(xs)))

    way = cropping.path(scene(faces=[seen], cuts=cuts), PART, aspect)

    assert (0, 0) == (way.width % 2, way.height % 2)
    assert all(before.at_s < after.at_s for before, after in pairwise(way.waypoints))
    for tenth in range(101):
        x, y = cropping.corner(way, tenth / 10)
        assert (0, 0) == (x % 2, y % 2)
        assert 0 <= x <= 640 - way.width
        assert 0 <= y <= 360 - way.height
