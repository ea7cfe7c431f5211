"""Finishing clips: the crop applied, the sound at one loudness, a still to show for it."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from workers.compute import report
from workers.failures import StepFailed
from workers.media import cropping, decoding, encoding, loudness
from workers.media.cropping import CropPath
from workers.media.cutting import Cut
from workers.media.encoding import Planes

STILLS: Final = 12
"""How many pictures of a clip are considered for its thumbnail."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A finished clip on disk."""

    path: str
    """File name within the step's folder."""

    thumbnail: str
    """File name of a JPEG within the step's folder."""

    duration_s: float
    width: int
    height: int
    size_bytes: int
    sha256: str
    """Hex digest of the clip."""

    loudness_lufs: float | None
    """After normalising; None without sound or when it is silent."""


def finish(cuts: list[Cut], ways: list[CropPath | None], target_lufs: float, folder: str) -> list[Finished]:
    """Make a clip of each cut; `ways` says how each is cropped, None leaves it whole."""
    clips: list[Finished] = []
    for number, (cut, way) in enumerate(zip(cuts, ways, strict=True), start=1):
        clips.append(
            _clip(cut, way, target_lufs, Path(folder), f"clip-{number:02}", (number - 1) / len(cuts), len(cuts))
        )
    return clips


def _clip(
    cut: Cut, way: CropPath | None, target_lufs: float, folder: Path, name: str, done: float, count: int
) -> Finished:
    film_path, still_path = folder / f"{name}.mp4", folder / f"{name}.jpg"
    sound = decoding.samples(cut.path, since_s=0.0, until_s=cut.duration_s, rate=loudness.RATE, channels=2)
    if sound is not None:
        sound = loudness.normalised(sound, target_lufs=target_lufs)
    heard = loudness.integrated(sound) if sound is not None else loudness.QUIETEST_LUFS
    width, height = (way.width, way.height) if way is not None else (cut.width, cut.height)
    rate = Fraction(*cut.rate)
    best = _Still()
    every = max(1, cut.frames // STILLS)
    with encoding.film(
        str(film_path), width=width, height=height, rate=rate, sound=sound, quality=21, preset="veryfast"
    ) as film:
        for index, picture in enumerate(decoding.pictures(cut.path, until_s=cut.duration_s + 1.0)):
            whole = encoding.planes(picture.frame, width=cut.width, height=cut.height)
            shown = whole if way is None else _framed(whole, way, picture.at_s)
            if index % every == every // 2 or index == 0:
                best.consider(shown)
            film.show(encoding.frame_of(shown), number=round(picture.at_s * rate))
            report(done + picture.at_s / cut.duration_s / count)
    if best.picture is None:
        raise StepFailed(f"the cut from {cut.start_s:.1f} s to {cut.end_s:.1f} s holds no pictures")
    encoding.write_still(str(still_path), best.picture)
    content = film_path.read_bytes()
    return Finished(
        path=film_path.name,
        thumbnail=still_path.name,
        duration_s=cut.duration_s,
        width=width,
        height=height,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        loudness_lufs=round(heard, 1) if heard > loudness.QUIETEST_LUFS else None,
    )


def _framed(picture: Planes, way: CropPath, at_s: float) -> Planes:
    x, y = cropping.corner(way, at_s)
    return encoding.cropped(picture, x=x, y=y, width=way.width, height=way.height)


class _Still:
    """The best picture so far: sharp, neither dark nor washed out."""

    def __init__(self) -> None:
        self.picture: Planes | None = None
        self._worth = -1.0

    def consider(self, picture: Planes) -> None:
        brightness = np.ascontiguousarray(encoding.split(picture)[0])
        middle = float(brightness.mean()) / 255
        sharp = float(cv2.Laplacian(cv2.resize(brightness, (160, 160)), cv2.CV_64F).std())
        worth = (1 + sharp) * max(0.05, 1 - abs(middle - 0.5) * 1.6)
        if worth > self._worth:
            self.picture, self._worth = picture.copy(), worth
