"""Faces in a video, followed from picture to picture."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec

from workers.compute import report
from workers.media import decoding
from workers.media.analysis import Stretch
from workers.media.decoding import Grey

EVERY_S: Final = 0.4
"""Looking more often finds the same faces; heads take longer to cross a picture."""

MOST_LOOKS: Final = 900
"""In a long video the looks lie further apart instead of becoming more."""

WIDTH: Final = 400
SMALLEST: Final = 26
"""Pixels across, in the picture of `WIDTH`, below which a face is not looked for."""

SAME: Final = 0.25
"""How much two boxes must overlap (shared by joint area) to be one face."""

LOST_S: Final = 1.5
FEWEST: Final = 2
"""A face seen once only is mostly a pattern on a wall."""


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """Where a face is at one time; in shares of the picture, 0.0..1.0, so that it holds at any size."""

    at_s: float
    x: float
    """Left edge."""

    y: float
    """Top edge."""

    width: float
    height: float


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One face over time."""

    start_s: float
    end_s: float
    boxes: list[Box]
    """In order of time."""

    prominence: float
    """Mean share of the picture the face takes, times the number of times it was seen."""


@dataclass(slots=True)
class _Following:
    boxes: list[Box] = field(default_factory=list)


def tracks(path: str, parts: list[Stretch]) -> list[Track]:
    """The faces seen in the given parts of a video, most prominent first; none is a fine answer."""
    detector = _detector()
    total_s = sum(part.end_s - part.start_s for part in parts)
    every_s = max(EVERY_S, total_s / MOST_LOOKS)
    following: list[_Following] = []
    looked_s = 0.0
    for part in sorted(parts, key=lambda part: part.start_s):
        due_s = part.start_s
        for picture in decoding.pictures(path, since_s=part.start_s, until_s=part.end_s):
            if picture.at_s < due_s - 1e-6:
                continue
            due_s = picture.at_s + every_s
            _follow(following, _found(detector, decoding.grey(picture.frame, width=WIDTH), picture.at_s))
            report((looked_s + picture.at_s - part.start_s) / total_s)
        looked_s += part.end_s - part.start_s
    seen = [_track(face.boxes) for face in following if len(face.boxes) >= FEWEST]
    return sorted(seen, key=lambda track: (-track.prominence, track.start_s))


def _detector() -> Any:
    return cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"))


def _found(detector: Any, picture: Grey, at_s: float) -> list[Box]:
    down, across = picture.shape
    hits = detector.detectMultiScale(picture, scaleFactor=1.15, minNeighbors=5, minSize=(SMALLEST, SMALLEST))
    return [
        Box(
            at_s=round(at_s, 3),
            x=round(float(x) / across, 4),
            y=round(float(y) / down, 4),
            width=round(float(width) / across, 4),
            height=round(float(height) / down, 4),
        )
        for x, y, width, height in hits
    ]


def _follow(following: list[_Following], found: list[Box]) -> None:
    """Add each face to the one it continues: the one it overlaps most, if that was seen lately."""
    pairs = sorted(
        (
            (_shared(face.boxes[-1], box), index, number)
            for index, face in enumerate(following)
            for number, box in enumerate(found)
            if 0 < box.at_s - face.boxes[-1].at_s <= LOST_S
        ),
        reverse=True,
    )
    continued: set[int] = set()
    known: set[int] = set()
    for shared, index, number in pairs:
        if shared >= SAME and index not in continued and number not in known:
            following[index].boxes.append(found[number])
            continued.add(index)
            known.add(number)
    following += [_Following([box]) for number, box in enumerate(found) if number not in known]


def _shared(one: Box, other: Box) -> float:
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    return both / (one.width * one.height + other.width * other.height - both)


def _track(boxes: list[Box]) -> Track:
    area = sum(box.width * box.height for box in boxes)
    return Track(start_s=boxes[0].at_s, end_s=boxes[-1].at_s, boxes=boxes, prominence=round(area, 4))
