"""Opening media files and reading what they really hold.

Nothing a file says about itself is believed: its length is what can be decoded, its pictures are turned the way they
are meant to be seen, and every time is in seconds since the first moment of the file. Only self-contained files are
opened: a playlist could name any file of this machine or any address of its network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import av
import av.error
import av.logging
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.video.frame import VideoFrame

from workers.failures import StepFailed

# Silent, not filtered: any level makes the codecs' own threads call into Python, and one that waits for the interpreter
# while a container is being closed never gets it. What matters of the messages is raised.
av.logging.set_level(None)

Samples = np.ndarray[Any, np.dtype[np.float32]]
"""Sound as float32 in -1.0..1.0, shaped (channels, samples)."""

Grey = np.ndarray[Any, np.dtype[np.uint8]]
"""A picture's brightness, shaped (height, width)."""

CODEC_THREADS: Final = 2
FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,h264,hevc,wav,mp3,aac,flac"
)
"""Containers that hold their own data; playlists, image patterns and concat scripts are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One decoded picture, as stored: not yet turned upright."""

    at_s: float
    """Seconds since the start of the file."""

    frame: VideoFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """One decoded stretch of sound."""

    at_s: float
    """Seconds since the start of the file."""

    frame: AudioFrame


@contextmanager
def opened(path: str) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        StepFailed: it is missing, not media, or its index is gone; the message says which.
    """
    try:
        container = av.open(
            path,
            mode="r",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except av.error.FileNotFoundError:
        raise StepFailed("the file is not there any more") from None
    except av.error.PermissionError:
        raise StepFailed("the file may not be read") from None
    except (av.error.FFmpegError, ValueError):
        raise StepFailed(_why_unreadable(path)) from None
    with container:
        for stream in (*container.streams.video, *container.streams.audio):
            stream.codec_context.thread_count = CODEC_THREADS
            stream.codec_context.thread_type = "AUTO"
        yield container


def origin_s(container: InputContainer) -> float:
    """The timestamp the file starts at; taken off every other one."""
    return (container.start_time or 0) / av.time_base


def read(
    container: InputContainer, *, pictures: bool = False, sound: bool = False, since_s: float = 0.0, until_s: float
) -> Iterator[Picture | Sound]:
    """Decode the first video and audio stream, in the order they are stored.

    Damaged parts are left out. What lies before `since_s` may still come (decoding starts at a key picture); it ends
    when every chosen stream has passed `until_s`.
    """
    streams = [*container.streams.video[:1]] * pictures + [*container.streams.audio[:1]] * sound
    if not streams:
        return
    origin = origin_s(container)
    if since_s > 0.5:
        container.seek(int((origin + since_s) * av.time_base))
    passed: set[int] = set()
    for packet in _packets(container, streams):
        if packet.stream_index in passed:
            continue
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in decoded:
            if frame.time is None:
                continue
            at_s = frame.time - origin
            if at_s >= until_s:
                passed.add(packet.stream_index)
            elif isinstance(frame, VideoFrame):
                yield Picture(at_s=at_s, frame=frame)
            elif isinstance(frame, AudioFrame):
                yield Sound(at_s=at_s, frame=frame)
        if len(passed) == len(streams):
            return


def pictures(path: str, *, since_s: float = 0.0, until_s: float) -> Iterator[Picture]:
    """The pictures shown from `since_s` until before `until_s`."""
    with opened(path) as container:
        for item in read(container, pictures=True, since_s=since_s, until_s=until_s):
            if isinstance(item, Picture) and item.at_s >= since_s - 1e-6:
                yield item


def samples(path: str, *, since_s: float, until_s: float, rate: int, channels: int) -> Samples | None:
    """The sound between two times, placed exactly: silence where the file has none; None without an audio stream.

    Timestamps that stray by less than 50 ms are taken for jitter, so that sound is not chopped up by rounding.
    """
    with opened(path) as container:
        if not container.streams.audio:
            return None
        whole = np.zeros((channels, round((until_s - since_s) * rate)), dtype=np.float32)
        placed: int | None = None
        resampler = AudioResampler(format="fltp", layout="mono" if channels == 1 else "stereo", rate=rate)
        for item in read(container, sound=True, since_s=max(0.0, since_s - 0.1), until_s=until_s):
            if not isinstance(item, Sound):
                continue
            due = round((item.at_s - since_s) * rate)
            if placed is None or abs(due - placed) > rate // 20:
                placed = due
            placed = _place(whole, _resampled(resampler, item.frame), placed)
        if placed is not None:
            _place(whole, _resampled(resampler, None), placed)
        return whole


def stream_of_samples(path: str, *, until_s: float, rate: int) -> Iterator[Samples]:
    """The sound as mono blocks, one after the other, without holding it all."""
    with opened(path) as container:
        resampler = AudioResampler(format="fltp", layout="mono", rate=rate)
        for item in read(container, sound=True, until_s=until_s):
            if isinstance(item, Sound):
                yield _resampled(resampler, item.frame)


def clockwise(frame: VideoFrame) -> int:
    """By how many degrees a stored picture must be turned clockwise to be upright: 0, 90, 180 or 270."""
    return -round(frame.rotation / 90) % 4 * 90


def grey(frame: VideoFrame, *, width: int) -> Grey:
    """The upright brightness of a picture, made at most `width` wide before it is turned."""
    height = max(2, round(frame.height * width / frame.width))
    small = frame.reformat(width=width, height=height, format="gray", interpolation="AREA", threads=1)
    turned = np.rot90(np.asarray(small.to_ndarray(), dtype=np.uint8), k=-clockwise(frame) // 90)
    return np.ascontiguousarray(turned)


def _packets(container: InputContainer, streams: list[Any]) -> Iterator[Any]:
    """The packets up to where the file ends or cannot be read any further."""
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError:
        return


def _resampled(resampler: AudioResampler, frame: AudioFrame | None) -> Samples:
    parts = [np.asarray(part.to_ndarray(), dtype=np.float32) for part in resampler.resample(frame)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), dtype=np.float32)


def _place(whole: Samples, part: Samples, at: int) -> int:
    """Write a part where it belongs, as far as it lies inside; where the next one goes."""
    begin, end = max(at, 0), min(at + part.shape[1], whole.shape[1])
    if begin < end:
        whole[:, begin:end] = part[:, begin - at : end - at]
    after: int = at + part.shape[1]
    return after


def _why_unreadable(path: str) -> str:
    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        return "the file is empty"
    if b"ftyp" in head[:16]:
        return "the video is cut off before its index; please upload it again"
    try:
        head.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        return "the file is not a video this service can read"
    return "the file is text, not a video"
