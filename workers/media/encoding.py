"""Writing media files: H.264 and AAC in MP4, and stills."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.media import decoding
from workers.media.decoding import Samples

Planes = np.ndarray[Any, np.dtype[np.uint8]]
"""A picture as its three 4:2:0 planes one under the other, shaped (height * 3 / 2, width); even sizes only."""

SOUND_RATE: Final = 48_000
SOUND_BITS: Final = 160_000
_SOUND_BLOCK: Final = 1024


class Film:
    """A video being written, pictures and sound side by side."""

    def __init__(self, container: OutputContainer, pictures: VideoStream, sound: AudioStream | None, samples: Samples):
        self._container = container
        self._pictures = pictures
        self._sound = sound
        self._samples = samples
        self._written = 0

    def show(self, frame: VideoFrame, *, number: int) -> None:
        """Add a picture at its place, counted in pictures from 0; places may be left out, never gone back to."""
        frame.pts = number
        rate = self._pictures.codec_context.framerate
        frame.time_base = 1 / rate
        for packet in self._pictures.encode(frame):
            self._container.mux(packet)
        # Sound keeps pace with the pictures; written afterwards, the whole film would wait in memory for it.
        self._sound_until(int(number * SOUND_RATE / rate))

    def finish(self) -> None:
        self._sound_until(self._samples.shape[1])
        for packet in self._pictures.encode(None):
            self._container.mux(packet)
        if self._sound is not None:
            for packet in self._sound.encode(None):
                self._container.mux(packet)

    def _sound_until(self, end: int) -> None:
        if self._sound is None:
            return
        while self._written < min(end, self._samples.shape[1]):
            block = np.ascontiguousarray(self._samples[:, self._written : self._written + _SOUND_BLOCK])
            frame = AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate = SOUND_RATE
            frame.pts = self._written
            frame.time_base = Fraction(1, SOUND_RATE)
            self._written += block.shape[1]
            for packet in self._sound.encode(frame):
                self._container.mux(packet)


@contextmanager
def film(
    path: str, *, width: int, height: int, rate: Fraction, sound: Samples | None, quality: int, preset: str
) -> Iterator[Film]:
    """Write an MP4 that starts playing before it is loaded whole.

    Args:
        rate: pictures per second.
        sound: stereo at 48 kHz, or None for a silent film.
        quality: the constant rate factor; 18 looks like the source, 23 is common.
        preset: how long to think about each picture, e.g. `veryfast`.
    """
    with av.open(path, mode="w", format="mp4", options={"movflags": "+faststart"}) as container:
        pictures = container.add_stream("libx264", rate=rate, options={"crf": str(quality), "preset": preset})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        pictures.codec_context.time_base = 1 / rate
        pictures.codec_context.thread_count = decoding.CODEC_THREADS
        stream = None
        if sound is not None:
            stream = container.add_stream("aac", rate=SOUND_RATE, layout="stereo", options={"aac_coder": "fast"})
            stream.bit_rate = SOUND_BITS
        writing = Film(container, pictures, stream, sound if sound is not None else np.zeros((2, 0), dtype=np.float32))
        yield writing
        writing.finish()


def planes(frame: VideoFrame, *, width: int, height: int) -> Planes:
    """A stored picture turned upright, at the given even size."""
    turn = decoding.clockwise(frame)
    across, down = (height, width) if turn % 180 else (width, height)
    stored = np.asarray(frame.reformat(width=across, height=down, format="yuv420p").to_ndarray(), dtype=np.uint8)
    if not turn:
        return stored
    turned = [np.rot90(plane, k=-turn // 90) for plane in split(stored)]
    return joined(turned)


def split(picture: Planes) -> list[Planes]:
    """Brightness and the two colour planes of a picture."""
    down, across = picture.shape[0] * 2 // 3, picture.shape[1]
    half = (down // 2, across // 2)
    return [picture[:down], *(part.reshape(half) for part in np.split(picture[down:].reshape(-1), 2))]


def joined(parts: list[Planes]) -> Planes:
    """The picture of three planes."""
    down, across = parts[0].shape
    whole = np.empty((down * 3 // 2, across), dtype=np.uint8)
    whole[:down] = parts[0]
    colours = whole[down:].reshape(2, -1)
    colours[0], colours[1] = parts[1].reshape(-1), parts[2].reshape(-1)
    return whole


def cropped(picture: Planes, *, x: int, y: int, width: int, height: int) -> Planes:
    """A part of a picture; all four numbers even."""
    brightness, *colours = split(picture)
    parts = [brightness[y : y + height, x : x + width]]
    parts += [plane[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] for plane in colours]
    return joined(parts)


def frame_of(picture: Planes) -> VideoFrame:
    """A picture ready to be shown in a film."""
    return VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="yuv420p")


def write_still(path: str, picture: Planes, *, quality: int = 88) -> None:
    """Write a picture as a JPEG."""
    cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420), [cv2.IMWRITE_JPEG_QUALITY, quality])


def even(number: float, *, at_least: int = 2) -> int:
    """The nearest even number not above `number`."""
    return max(at_least, int(number) // 2 * 2)
