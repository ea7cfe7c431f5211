"""A video made from nothing: what `agentos demo` sends through the agents, and what their tests look at.

Six scenes with hard cuts between them: a quiet sunrise, a drawn presenter who walks and talks, fast shapes with loud
music, the presenter again, a moment of black and silence, and moving city lights. Everything an agent looks for is in
it and known beforehand: cuts, faces, voice, motion, loud and quiet parts.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

import cv2
import numpy as np

from workers.media import encoding
from workers.media.decoding import Samples
from workers.media.encoding import SOUND_RATE

Canvas = np.ndarray[Any, np.dtype[np.uint8]]
"""A picture in blue, green and red, shaped (height, width, 3)."""

SKIN: Final = (150, 185, 225)
SHADE: Final = (105, 135, 175)
HAIR: Final = (30, 40, 60)


def write_sample(
    path: str,
    seconds: float = 24.0,
    *,
    width: int = 640,
    height: int = 360,
    rate: int = 24,
    sound: bool = True,
) -> None:
    """Write the sample video: H.264 and AAC in MP4, the same pictures and sound every time.

    Args:
        seconds: its length; the scenes keep their shares of it.
        width: even pixels across.
        height: even pixels down.
        sound: False leaves out the audio stream.
    """
    with encoding.film(
        path,
        width=width,
        height=height,
        rate=Fraction(rate),
        sound=soundtrack(seconds) if sound else None,
        quality=24,
        preset="ultrafast",
    ) as film:
        for number, picture in enumerate(drawn(seconds, width=width, height=height, rate=rate)):
            planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), dtype=np.uint8)
            film.show(encoding.frame_of(planes), number=number)


def drawn(seconds: float, *, width: int, height: int, rate: int) -> Iterator[Canvas]:
    """The pictures of the sample, one after the other."""
    cuts = cuts_s(seconds)
    for number in range(round(seconds * rate)):
        at_s = number / rate
        scene = max(index for index, cut in enumerate(cuts) if at_s >= cut - 1e-9)
        ends_s = cuts[scene + 1] if scene + 1 < len(cuts) else seconds
        share = (at_s - cuts[scene]) / (ends_s - cuts[scene])
        canvas = np.zeros((height, width, 3), dtype=np.uint8)
        SCENES[scene][1](canvas, at_s, share)
        yield canvas


def cuts_s(seconds: float) -> list[float]:
    """When each scene of a sample of that length begins; the first at 0.0, all on whole 24ths of a second."""
    ends = np.cumsum([share for share, _, _ in SCENES])[:-1]
    return [0.0, *(round(float(end) * seconds * 24) / 24 for end in ends)]


def soundtrack(seconds: float) -> Samples:
    """The sound of the sample: stereo at 48 kHz."""
    starts = [round(cut * SOUND_RATE) for cut in cuts_s(seconds)]
    ends = [*starts[1:], round(seconds * SOUND_RATE)]
    parts = [
        sound(np.arange(end - start) / SOUND_RATE)
        for (_, _, sound), start, end in zip(SCENES, starts, ends, strict=True)
    ]
    return np.tile(np.concatenate(parts).astype(np.float32), (2, 1))


def draw_face(canvas: Canvas, *, x: int, y: int, radius: float, mouth: float = 0.3) -> None:
    """Draw a person from the shoulders up, plainly enough for a face detector to know one.

    Args:
        x: centre of the face.
        y: centre of the face.
        radius: half its height, in pixels.
        mouth: how far it is open, 0.0..1.0.
    """
    r = radius
    _oval(canvas, x, y + 2.2 * r, 1.7 * r, 1.1 * r, (120, 60, 40))
    _oval(canvas, x, y + 1.0 * r, 0.35 * r, 0.5 * r, (130, 165, 205))
    _oval(canvas, x, y - 0.25 * r, 0.95 * r, 1.1 * r, HAIR)
    _oval(canvas, x, y, 0.8 * r, 1.05 * r, SKIN)
    cv2.ellipse(canvas, (x, round(y - 0.75 * r)), (round(0.75 * r), round(0.35 * r)), 0, 180, 360, HAIR, -1)
    for side in (-1, 1):
        eye_x, eye_y = x + side * 0.34 * r, y - 0.15 * r
        _oval(canvas, eye_x, eye_y, 0.24 * r, 0.16 * r, SHADE)
        _oval(canvas, eye_x, eye_y, 0.18 * r, 0.09 * r, (235, 235, 235))
        _oval(canvas, eye_x, eye_y, 0.085 * r, 0.085 * r, (25, 30, 35))
        _oval(canvas, eye_x, eye_y - 0.25 * r, 0.22 * r, 0.05 * r, (35, 50, 70))
    _oval(canvas, x, y + 0.1 * r, 0.06 * r, 0.2 * r, (170, 205, 240))
    _oval(canvas, x, y + 0.32 * r, 0.18 * r, 0.05 * r, SHADE)
    _oval(canvas, x, y + 0.6 * r, 0.32 * r, (0.05 + 0.12 * mouth) * r, (90, 90, 170))


def voice(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Something like speech: a pitched voice in syllables, four a second, with a breath after every six."""
    syllable = np.floor(t * 4).astype(int)
    within = t * 4 % 1
    pitch = 125 + 25 * np.sin(syllable * 2.4)
    phase = 2 * np.pi * np.cumsum(pitch) / SOUND_RATE
    formants = np.stack((500 + 250 * np.sin(syllable * 1.7), 1500 + 500 * np.cos(syllable * 2.9)))
    tone = np.zeros_like(t)
    for harmonic in range(1, 21):
        nearness = np.exp(-(((harmonic * pitch - formants) / 220) ** 2)).sum(axis=0)
        tone += nearness * np.sin(harmonic * phase) / np.sqrt(harmonic)
    envelope = np.sin(np.pi * np.clip(within / 0.85, 0, 1)) ** 0.7 * (syllable % 7 != 6)
    spoken: np.ndarray[Any, Any] = 0.22 * envelope * tone
    return spoken


def _oval(canvas: Canvas, x: float, y: float, across: float, down: float, colour: tuple[int, int, int]) -> None:
    size = (max(1, round(across)), max(1, round(down)))
    cv2.ellipse(canvas, (round(x), round(y)), size, 0, 0, 360, colour, -1)


def _block(canvas: Canvas, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
    cv2.rectangle(canvas, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), colour, -1)


def _fill(canvas: Canvas, colour: tuple[int, int, int], *, below: float = 0.0) -> None:
    """Paint everything under a share of the height."""
    height, width, _ = canvas.shape
    _block(canvas, 0, height * below, width, height, colour)


def _sunrise(canvas: Canvas, at_s: float, share: float) -> None:
    height, width, _ = canvas.shape
    for band in range(16):
        _fill(canvas, (150 - 2 * band, 110 + 4 * band, 60 + 12 * band), below=band / 16)
    _oval(canvas, width * 0.7, height * (0.85 - 0.35 * share), height * 0.14, height * 0.14, (150, 225, 255))
    _fill(canvas, (70, 90, 50), below=0.8)


def _presenter_walking(canvas: Canvas, at_s: float, share: float) -> None:
    height, width, _ = canvas.shape
    _fill(canvas, (185, 160, 120))
    _fill(canvas, (120, 110, 100), below=0.75)
    draw_face(
        canvas,
        x=round(width * (0.25 + 0.4 * share)),
        y=round(height * 0.42),
        radius=height * 0.17,
        mouth=abs(np.sin(at_s * 4 * np.pi)),
    )


def _fast_shapes(canvas: Canvas, at_s: float, share: float) -> None:
    height, width, _ = canvas.shape
    _fill(canvas, (40, 20, 60))
    for index in range(7):
        angle = at_s * (2.2 + 0.3 * index) + index
        x, y = width * (0.5 + 0.36 * np.cos(angle)), height * (0.5 + 0.36 * np.sin(angle * 1.3))
        colour = (60 + 25 * index, 230 - 25 * index, 120 + 60 * (index % 3))
        _oval(canvas, x, y, height * 0.07, height * 0.07, colour)


def _presenter_near(canvas: Canvas, at_s: float, share: float) -> None:
    height, width, _ = canvas.shape
    _fill(canvas, (215, 225, 205))
    x = round(width * (0.68 + 0.01 * np.sin(at_s * 3)))
    draw_face(canvas, x=x, y=round(height * 0.42), radius=height * 0.22, mouth=abs(np.sin(at_s * 4 * np.pi)))
    _block(canvas, width * 0.06, height * 0.7, width * (0.06 + 0.35 * share), height * 0.78, (60, 120, 220))


def _black(canvas: Canvas, at_s: float, share: float) -> None:
    _fill(canvas, (0, 0, 0))


def _city_lights(canvas: Canvas, at_s: float, share: float) -> None:
    height, width, _ = canvas.shape
    _fill(canvas, (70, 35, 20))
    for index in range(9):
        x = (index * 0.13 - at_s * 0.12) % 1.1 * width
        top = height * (0.3 + 0.07 * (index * 5 % 4))
        _block(canvas, x - width / 30, top, x + width / 30, height, (110 + 12 * index, 90, 80))
        _oval(canvas, x, top + height * 0.1, height * 0.02, height * 0.03, (140, 230, 255))


def _breeze(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(7).standard_normal(len(t))
    quiet: np.ndarray[Any, Any] = 0.006 * noise
    return quiet


def _music(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 277.2, 329.6, 440.0))
    beat: np.ndarray[Any, Any] = 0.16 * chord * (0.35 + 0.65 * np.exp(-5 * (t * 2 % 1)))
    return beat


def _hum(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    steady: np.ndarray[Any, Any] = 0.05 * np.sin(2 * np.pi * 110 * t)
    return steady


def _silence(t: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.zeros_like(t)


SCENES: Final[
    tuple[
        tuple[float, Callable[[Canvas, float, float], None], Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]],
        ...,
    ]
] = (
    (0.13, _sunrise, _breeze),
    (0.25, _presenter_walking, voice),
    (0.18, _fast_shapes, _music),
    (0.22, _presenter_near, voice),
    (0.05, _black, _silence),
    (0.17, _city_lights, _hum),
)
"""Share of the whole, picture and sound of each scene, in order."""
