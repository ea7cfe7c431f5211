"""The facts of a video, measured: what it holds, how long it really lasts, what is wrong with it."""

import hashlib
from fractions import Fraction
from typing import Any, Final

import av
import av.error
import msgspec
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.compute import report
from workers.failures import StepFailed
from workers.media import decoding

HOLE_S: Final = 60.0
"""A gap between two pictures longer than this ends the video: a few pictures must not make hours of work."""

PIXELS: Final = 40_000_000
"""The largest picture taken in, a little above 8K."""

SMALLEST_SIDE: Final = 16
_BLOCK: Final = 1 << 20


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a video file really holds."""

    container: str
    """Name of the container, e.g. `mp4`, `matroska`."""

    duration_s: float
    """Seconds from the first picture to the end of the last one that can be read; never what the file declares."""

    width: int
    """Pixels across as it is to be seen: turned upright, with square pixels."""

    height: int
    """Pixels down as it is to be seen."""

    rotation: int
    """By how many degrees stored pictures are turned clockwise to be seen: 0, 90, 180 or 270."""

    fps: float
    """Pictures per second on average."""

    frames: int
    """How many pictures there are to decode."""

    video_codec: str

    audio_codec: str | None
    """None without sound."""

    has_audio: bool

    size_bytes: int

    sha256: str
    """Hex digest of the whole file."""

    warnings: list[str]
    """What is odd but can be worked with, in sentences for a person."""


def facts(path: str, expected_sha256: str | None, max_s: float) -> Facts:
    """Read a file through and say what it holds.

    Raises:
        StepFailed: it is no usable video, longer than `max_s`, or not the file it should be.
    """
    size, digest = _digest(path)
    if expected_sha256 is not None and expected_sha256.lower() != digest:
        raise StepFailed("the file is not the one that was announced: its SHA-256 differs")
    report(0.3)
    with decoding.opened(path) as container:
        stream = _video_stream(container)
        first = _first_picture(container)
        report(0.4)
        frames, duration_s, warnings = _length(container, stream)
        if duration_s > max_s:
            raise StepFailed(f"the video lasts {_clock(duration_s)}; at most {_clock(max_s)} are taken")
        width, height = upright_size(first, stream.sample_aspect_ratio)
        audio = container.streams.audio[0] if container.streams.audio else None
        if audio is None:
            warnings.append("the video has no sound")
        if width % 2 or height % 2:
            warnings.append(f"the picture of {width}x{height} is cut to even sizes")
        return Facts(
            container=_container_name(container),
            duration_s=round(duration_s, 3),
            width=width,
            height=height,
            rotation=decoding.clockwise(first),
            fps=round(frames / duration_s, 3),
            frames=frames,
            video_codec=stream.codec_context.name,
            audio_codec=audio.codec_context.name if audio is not None else None,
            has_audio=audio is not None,
            size_bytes=size,
            sha256=digest,
            warnings=warnings,
        )


def upright_size(frame: VideoFrame, pixel_shape: Fraction | None) -> tuple[int, int]:
    """Width and height of a picture as it is to be seen."""
    width, height = frame.width, frame.height
    if pixel_shape and Fraction(1, 10) < pixel_shape < 10:
        width = round(width * pixel_shape)
    return (height, width) if decoding.clockwise(frame) % 180 else (width, height)


def _digest(path: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        raise StepFailed("the file is not there any more") from None
    except (PermissionError, IsADirectoryError):
        raise StepFailed("the file may not be read") from None
    return size, digest.hexdigest()


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise StepFailed(
            "the file has sound but no pictures" if container.streams.audio else "the file has no pictures"
        )
    stream = container.streams.video[0]
    context = stream.codec_context
    if context.width * context.height > PIXELS:
        raise StepFailed(f"the picture of {context.width}x{context.height} is larger than can be worked with")
    if not context.width or not context.height:
        raise StepFailed("not one picture of the video can be decoded")
    if min(context.width, context.height) < SMALLEST_SIDE:
        raise StepFailed(f"the picture of {context.width}x{context.height} is too small to work with")
    return stream


def _first_picture(container: InputContainer) -> VideoFrame:
    for item in decoding.read(container, pictures=True, until_s=float("inf")):
        if isinstance(item, decoding.Picture):
            return item.frame
    raise StepFailed("not one picture of the video can be decoded")


def _length(container: InputContainer, stream: VideoStream) -> tuple[int, float, list[str]]:
    """How many pictures there are, how many seconds they last, and what is odd about that."""
    origin = decoding.origin_s(container)
    container.seek(0)
    shown_at: list[float] = []
    broken = 0
    try:
        for packet in container.demux(stream):
            broken += packet.is_corrupt
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size and not packet.is_corrupt and stamp is not None and packet.time_base:
                shown_at.append(float(stamp * packet.time_base) - origin)
    except av.error.FFmpegError:
        broken += 1
    if not shown_at:
        raise StepFailed("not one picture of the video can be decoded")
    shown_at.sort()
    lasting = _before_the_first_hole(shown_at)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    span = lasting[-1] - lasting[0]
    each = span / (len(lasting) - 1) if len(lasting) > 1 and span > 0 else 1 / max(rate, 1.0)
    duration_s = max(lasting[-1], 0.0) + min(each, 1.0)
    return len(lasting), duration_s, _doubts(_declared_s(container, stream), duration_s, broken)


def _before_the_first_hole(shown_at: list[float]) -> list[float]:
    for index in range(1, len(shown_at)):
        if shown_at[index] - shown_at[index - 1] > HOLE_S:
            return shown_at[:index]
    return shown_at


def _declared_s(container: InputContainer, stream: VideoStream) -> float:
    lengths = [(container.duration or 0) / av.time_base]
    if stream.duration and stream.time_base:
        lengths.append(float(stream.duration * stream.time_base))
    return max(lengths)


def _doubts(declared_s: float, duration_s: float, broken: int) -> list[str]:
    doubts = []
    if declared_s > duration_s + 1.0 + duration_s * 0.02:
        doubts.append(
            f"the file declares {_clock(declared_s)} but holds {_clock(duration_s)} of pictures; only those are used"
        )
    if broken:
        doubts.append("the file is damaged or cut off; only the part that can be read is used")
    return doubts


def _container_name(container: InputContainer) -> str:
    names: list[Any] = container.format.name.split(",")
    return "mp4" if "mp4" in names else str(names[0])


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
