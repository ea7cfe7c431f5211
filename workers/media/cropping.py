"""Where to look: the path of a smaller frame through a video, so that what matters stays inside it.

Faces come first, then whatever moves, then the middle. The path is calm: it does not follow small movements, it never
runs ahead of the picture, and it jumps only where the picture itself does, at a cut.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from workers.media import encoding
from workers.media.analysis import Motion, Stretch
from workers.media.faces import Track

STEP_S: Final = 0.25
SHORTEST_SHOT_S: Final = 0.05
CALM_S: Final = 0.9
"""How long a turn towards something new takes, about."""

STILL: Final = 0.04
"""Shares of the picture the middle may stray before the frame moves at all."""

FACE_HOLDS_S: Final = 1.0
"""How long before and after it was seen a face still counts."""

FAINT: Final = 0.002
"""Motion below this is noise; nothing to look at."""


class Waypoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the frame is at one time; between two of them it moves evenly."""

    at_s: float
    """Seconds from the start of the moment."""

    x: float
    """Left edge of the frame in pixels of the upright picture."""

    y: float
    """Top edge of the frame in pixels of the upright picture."""


class CropPath(msgspec.Struct, frozen=True, kw_only=True):
    """The way of the frame through one moment."""

    width: int
    """Pixels across, even, the same all the way."""

    height: int
    """Pixels down, even, the same all the way."""

    follows: str
    """What most of it keeps in sight: `faces`, `motion` or `centre`."""

    waypoints: list[Waypoint]
    """In order of time, at least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known of the video the frame moves through."""

    width: int
    """Pixels of the upright picture, even."""

    height: int
    cuts_s: list[float]
    motion: Motion | None
    faces: list[Track]


def frame_size(width: int, height: int, aspect: tuple[int, int]) -> tuple[int, int]:
    """The largest even frame of an aspect (across, down) that fits into a picture of even size."""
    across, down = aspect
    if width * down > height * across:
        return encoding.even(height * across / down), height
    return width, encoding.even(width * down / across)


def paths(scene: Scene, parts: list[Stretch], aspect: tuple[int, int]) -> list[CropPath]:
    """The way of a frame through each of the parts."""
    return [path(scene, part, aspect) for part in parts]


def path(scene: Scene, part: Stretch, aspect: tuple[int, int]) -> CropPath:
    """The way of a frame through one part of a video."""
    width, height = frame_size(scene.width, scene.height, aspect)
    room = np.array([scene.width - width, scene.height - height], dtype=float)
    waypoints: list[Waypoint] = []
    followed: list[str] = []
    for start, end in _shots(part, scene.cuts_s):
        times = np.linspace(start, end, max(2, int((end - start) / STEP_S) + 1))
        aims, kinds = _aims(scene, times)
        followed += kinds
        middles = _calm(aims, step_s=float(times[1] - times[0])) * (scene.width, scene.height)
        corners = np.clip(middles - (width / 2, height / 2), 0.0, room)
        waypoints += [
            Waypoint(at_s=round(float(at - part.start_s), 3), x=round(float(x), 1), y=round(float(y), 1))
            for at, (x, y) in zip(times, corners, strict=True)
        ]
    follows = max(("faces", "motion", "centre"), key=followed.count)
    return CropPath(width=width, height=height, follows=follows, waypoints=waypoints)


def corner(way: CropPath, at_s: float) -> tuple[int, int]:
    """Where the frame's left upper corner is at a time of its moment, in even pixels."""
    times = [point.at_s for point in way.waypoints]
    x = np.interp(at_s, times, [point.x for point in way.waypoints])
    y = np.interp(at_s, times, [point.y for point in way.waypoints])
    return int(x) // 2 * 2, int(y) // 2 * 2


def _shots(part: Stretch, cuts_s: list[float]) -> list[tuple[float, float]]:
    """A part from cut to cut; each shot ends a millisecond early, so that the frame jumps with the picture."""
    edges = [part.start_s]
    for cut in sorted(cuts_s):
        if edges[-1] + SHORTEST_SHOT_S < cut < part.end_s - SHORTEST_SHOT_S:
            edges.append(cut)
    edges.append(part.end_s)
    return [(start, end - 0.001 if end != part.end_s else end) for start, end in pairwise(edges)]


def _aims(scene: Scene, times: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """What the frame should have in its middle at each time, in shares of the picture, and what kind of thing it is."""
    faces = [_faces_middle(scene.faces, float(at), float(times[0]), float(times[-1])) for at in times]
    if any(face is not None for face in faces):
        return _filled(faces), ["faces"] * len(times)
    if scene.motion is None:
        return np.full((len(times), 2), 0.5), ["centre"] * len(times)
    seconds = np.arange(len(scene.motion.level)) + 0.5
    within = (seconds > times[0] - 0.5) & (seconds < times[-1] + 0.5)
    level = np.asarray(scene.motion.level)[within]
    if not len(level) or level.max() < FAINT:
        return np.full((len(times), 2), 0.5), ["centre"] * len(times)
    x = np.interp(times, seconds[within], np.asarray(scene.motion.centre_x)[within])
    y = np.interp(times, seconds[within], np.asarray(scene.motion.centre_y)[within])
    return np.stack((x, y), axis=1), ["motion"] * len(times)


def _faces_middle(faces: list[Track], at_s: float, since_s: float, until_s: float) -> tuple[float, float] | None:
    """The middle of the faces of one shot at a time, each counting as much as it takes of the picture."""
    middles: list[tuple[float, float, float]] = []
    for face in faces:
        boxes = [box for box in face.boxes if since_s - 1e-3 <= box.at_s <= until_s + 1e-3]
        if not boxes or not boxes[0].at_s - FACE_HOLDS_S <= at_s <= boxes[-1].at_s + FACE_HOLDS_S:
            continue
        times = [box.at_s for box in boxes]
        x = float(np.interp(at_s, times, [box.x + box.width / 2 for box in boxes]))
        y = float(np.interp(at_s, times, [box.y + box.height / 2 for box in boxes]))
        middles.append((sum(box.width * box.height for box in boxes), x, y))
    if not middles:
        return None
    # A second face counts only when it is nearly as large: between two faces far apart there is nothing to see.
    largest = max(weight for weight, _, _ in middles)
    heard = [(weight, x, y) for weight, x, y in middles if weight > largest / 2]
    total = sum(weight for weight, _, _ in heard)
    return sum(weight * x for weight, x, _ in heard) / total, sum(weight * y for weight, _, y in heard) / total


def _filled(aims: list[tuple[float, float] | None]) -> np.ndarray[Any, Any]:
    """Aims with the gaps closed from the nearest known ones."""
    known = [index for index, aim in enumerate(aims) if aim is not None]
    values = np.asarray([aim for aim in aims if aim is not None])
    every = np.arange(len(aims))
    return np.stack([np.interp(every, known, values[:, axis]) for axis in (0, 1)], axis=1)


def _calm(aims: np.ndarray[Any, Any], *, step_s: float) -> np.ndarray[Any, Any]:
    """Aims without the trembling: small moves left out, the rest eased in both directions of time, so without lag."""
    held = aims.copy()
    for index in range(1, len(held)):
        away = aims[index] - held[index - 1]
        held[index] = held[index - 1] + np.sign(away) * np.maximum(np.abs(away) - STILL, 0.0)
    ease = 1 - np.exp(-step_s / (CALM_S / 3))
    for order in (1, -1):
        line = held[::order]
        for index in range(1, len(line)):
            line[index] = line[index - 1] + ease * (line[index] - line[index - 1])
    return held
