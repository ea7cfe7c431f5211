"""Cutting stretches out of a video, exact to the picture, upright and in step with their sound."""

from fractions import Fraction
from pathlib import Path
from typing import Final

import msgspec

from workers.compute import report
from workers.failures import StepFailed
from workers.media import decoding, encoding
from workers.media.analysis import Stretch

FASTEST: Final = 60
LARGEST_SIDE: Final = 1920
"""Larger pictures are made smaller: no clip needs more, and each step after this one would pay for it."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a video in a file of its own."""

    path: str
    """Absolute; read by later steps of the same job."""

    start_s: float
    """Where it begins in the source."""

    end_s: float
    """Where it ends in the source."""

    duration_s: float
    """Measured, not asked for."""

    width: int
    height: int
    frames: int
    rate: tuple[int, int]
    """Pictures per second, as a fraction."""


def cut_out(path: str, parts: list[Stretch], size: tuple[int, int], fps: float, folder: str) -> list[Cut]:
    """Cut the parts out of a video, one MP4 each, in the order given.

    Args:
        size: width and height of the upright source.
        fps: pictures per second of the source.

    Raises:
        StepFailed: a part holds no picture.
    """
    total_s = sum(part.end_s - part.start_s for part in parts)
    done_s = 0.0
    cuts: list[Cut] = []
    for number, part in enumerate(parts, start=1):
        target = Path(folder) / f"cut-{number:02}.mp4"
        cuts.append(_cut(path, part, fitted(*size), _rate(fps), target, done_s, total_s))
        done_s += part.end_s - part.start_s
    return cuts


def fitted(width: int, height: int) -> tuple[int, int]:
    """An even size of the same shape, no side above `LARGEST_SIDE`."""
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    return encoding.even(width * scale), encoding.even(height * scale)


def _cut(
    path: str, part: Stretch, size: tuple[int, int], rate: Fraction, target: Path, done_s: float, total_s: float
) -> Cut:
    length_s = part.end_s - part.start_s
    sound = decoding.samples(path, since_s=part.start_s, until_s=part.end_s, rate=encoding.SOUND_RATE, channels=2)
    width, height = size
    last, shown = -1, 0
    with encoding.film(
        str(target), width=width, height=height, rate=rate, sound=sound, quality=16, preset="ultrafast"
    ) as film:
        for picture in decoding.pictures(path, since_s=part.start_s, until_s=part.end_s):
            number = int((picture.at_s - part.start_s) * rate + Fraction(1, 2))
            if number <= last:
                continue
            film.show(encoding.frame_of(encoding.planes(picture.frame, width=width, height=height)), number=number)
            last, shown = number, shown + 1
            report((done_s + picture.at_s - part.start_s) / total_s)
    if not shown:
        raise StepFailed(f"there are no pictures between {part.start_s:.1f} s and {part.end_s:.1f} s")
    return Cut(
        path=str(target),
        start_s=part.start_s,
        end_s=part.end_s,
        duration_s=round(max(float((last + 1) / rate), length_s if sound is not None else 0.0), 3),
        width=width,
        height=height,
        frames=shown,
        rate=(rate.numerator, rate.denominator),
    )


def _rate(fps: float) -> Fraction:
    """A steady rate near the source's own; 29.97 and its kin are kept exactly."""
    bounded = min(max(fps, 1.0), float(FASTEST))
    for whole in (24, 30, 48, 60):
        if abs(bounded - whole * 1000 / 1001) < 0.01:
            return Fraction(whole * 1000, 1001)
    return Fraction(round(bounded * 100), 100)
