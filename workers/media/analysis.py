"""Looking a video through once: scenes, black and silent stretches, loudness, motion.

One decode pass feeds all of it. Pictures are made small first: a scene cut shows at 160 pixels as well as at 4K, at a
small part of the cost.
"""

from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av.error
import av.filter
import msgspec
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from workers.compute import report
from workers.media import decoding
from workers.media.decoding import Grey, Picture, Sound
from workers.media.loudness import RATE, Meter

WIDTH: Final = 160
CUT_SCORE: Final = 5.0
"""What `scdet` must score for a cut; 8 misses cuts between scenes of like brightness, 3 sees cuts in fast motion."""

SHORTEST_SCENE_S: Final = 0.4
DARK: Final = 32
"""Brightness (of 255) below which a pixel is black."""

BLACK_SHARE: Final = 0.98
SHORTEST_BLACK_S: Final = 0.2
SILENT_DB: Final = -50.0
SHORTEST_SILENCE_S: Final = 0.4
MOTION_EVERY_S: Final = 0.1


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a video."""

    start_s: float
    """Seconds from the start of the video."""

    end_s: float
    """Seconds from the start of the video; not part of it any more."""


class Loudness(msgspec.Struct, frozen=True, kw_only=True):
    """How loud a video is, after EBU R 128."""

    integrated_lufs: float
    """Of the whole; -70 is silence."""

    range_lu: float
    """How far quiet and loud passages lie apart."""

    per_second: list[float]
    """Loudest 400 ms of each second, in LUFS; -120 where there is nothing."""


class Motion(msgspec.Struct, frozen=True, kw_only=True):
    """How much moves, and where; one number per second of the video in each list."""

    level: list[float]
    """Mean change of brightness from picture to picture, 0.0..1.0."""

    centre_x: list[float]
    """Where it moves, from 0.0 at the left to 1.0 at the right; 0.5 where nothing does."""

    centre_y: list[float]
    """Where it moves, from 0.0 at the top to 1.0 at the bottom; 0.5 where nothing does."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that one look through a video tells."""

    scenes: list[Stretch]
    """From cut to cut; together they are the whole video."""

    black: list[Stretch]
    silent: list[Stretch]
    """Empty without sound, as nothing could be told apart."""

    loudness: Loudness | None
    """None without sound."""

    motion: Motion


def look_through(path: str, duration_s: float) -> Findings:
    """Decode a video once, up to `duration_s`, and say what is in it."""
    seen = _Seen(duration_s)
    heard: _Heard | None = None
    with decoding.opened(path) as container:
        if container.streams.audio:
            heard = _Heard(duration_s)
        for item in decoding.read(container, pictures=True, sound=True, until_s=duration_s):
            if isinstance(item, Picture):
                seen.look(item)
                report(item.at_s / duration_s)
            elif heard is not None:
                heard.listen(item)
    if heard is not None:
        heard.finish()
    return Findings(
        scenes=seen.scenes(),
        black=seen.black(),
        silent=heard.silent() if heard is not None else [],
        loudness=heard.loudness() if heard is not None else None,
        motion=seen.motion(),
    )


class _Seen:
    """What the pictures showed so far."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._seconds = max(1, int(np.ceil(duration_s)))
        self._graph: av.filter.Graph | None = None
        self._height = 0
        self._cuts: list[float] = []
        self._dark: list[tuple[float, bool]] = []
        self._before: Grey | None = None
        self._before_s = -1.0
        self._change = np.zeros((4, self._seconds))

    def look(self, picture: Picture) -> None:
        frame = picture.frame
        if self._graph is None:
            self._height = max(16, round(frame.height * WIDTH / frame.width / 2) * 2)
            self._graph = _cut_detector(self._height)
        small = frame.reformat(width=WIDTH, height=self._height, format="yuv420p", interpolation="AREA", threads=1)
        small.pts = round(picture.at_s * 1000)
        small.time_base = Fraction(1, 1000)
        self._graph.push(small)
        if _is_cut(self._graph):
            self._cut(picture.at_s)
        if picture.at_s - self._before_s < MOTION_EVERY_S * 0.9:
            return
        brightness = np.asarray(small.to_ndarray(), dtype=np.uint8)[: self._height]
        self._dark.append((picture.at_s, float((brightness < DARK).mean()) >= BLACK_SHARE))
        self._move(brightness, turn=decoding.clockwise(frame), at_s=picture.at_s)
        self._before, self._before_s = brightness, picture.at_s

    def scenes(self) -> list[Stretch]:
        edges = [0.0, *self._cuts, self._duration_s]
        if len(edges) > 2 and edges[-1] - edges[-2] < SHORTEST_SCENE_S:
            del edges[-2]
        return [Stretch(start_s=round(start, 3), end_s=round(end, 3)) for start, end in pairwise(edges)]

    def black(self) -> list[Stretch]:
        return stretches(self._dark, end_s=self._duration_s, shortest_s=SHORTEST_BLACK_S)

    def motion(self) -> Motion:
        level, weight_x, weight_y, count = self._change
        moving = np.where(level > 0, level, 1.0)
        return Motion(
            level=_rounded(level / np.maximum(count, 1.0), digits=4),
            centre_x=_rounded(np.where(level > 0, weight_x / moving, 0.5)),
            centre_y=_rounded(np.where(level > 0, weight_y / moving, 0.5)),
        )

    def _cut(self, at_s: float) -> None:
        last = self._cuts[-1] if self._cuts else 0.0
        if at_s - last >= SHORTEST_SCENE_S:
            self._cuts.append(at_s)
        # Across a cut everything changes and nothing moves.
        self._before = None

    def _move(self, brightness: Grey, *, turn: int, at_s: float) -> None:
        if self._before is None:
            return
        change = np.abs(brightness.astype(np.int16) - self._before)
        change[change < 8] = 0  # noise of the sensor and of the codec, spread over the whole picture
        change = np.rot90(change, k=-turn // 90)
        level = float(change.mean()) / 255
        down, across = change.shape
        total = max(float(change.sum()), 1e-9)
        x = float(change.sum(axis=0) @ (np.arange(across) + 0.5)) / total / across
        y = float(change.sum(axis=1) @ (np.arange(down) + 0.5)) / total / down
        self._change[:, min(int(at_s), self._seconds - 1)] += (level, level * x, level * y, 1.0)


class _Heard:
    """What the sound told so far."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._meter = Meter()
        self._resampler = AudioResampler(format="fltp", layout="stereo", rate=RATE)
        self._starts_s: float | None = None
        self._levels: list[float] = []
        self._rest = np.zeros((2, 0), dtype=np.float32)

    def listen(self, sound: Sound) -> None:
        if self._starts_s is None:
            self._starts_s = max(sound.at_s, 0.0)
        for part in self._resampler.resample(sound.frame):
            samples = np.asarray(part.to_ndarray(), dtype=np.float32)
            self._meter.hear(samples)
            self._level(samples)

    def finish(self) -> None:
        self._meter.finish()

    def silent(self) -> list[Stretch]:
        """Where nothing is to be heard, and where the sound has not begun or has ended already."""
        start = self._starts_s or 0.0
        quiet = [(0.0, True)] if start > 0 else []
        quiet += [(start + index / 10, level < SILENT_DB) for index, level in enumerate(self._levels)]
        ends_s = start + len(self._levels) / 10
        if self._duration_s - ends_s > 0.2:
            quiet.append((ends_s, True))
        return stretches(quiet, end_s=self._duration_s, shortest_s=SHORTEST_SILENCE_S)

    def loudness(self) -> Loudness:
        first = round((self._starts_s or 0.0) * 10)
        tenths = np.full(max(1, int(np.ceil(self._duration_s))) * 10, -120.0)
        momentary = np.asarray(self._meter.momentary[: max(0, len(tenths) - first)])
        tenths[first : first + len(momentary)] = momentary
        return Loudness(
            integrated_lufs=round(self._meter.integrated_lufs, 1),
            range_lu=round(self._meter.range_lu, 1),
            per_second=_rounded(tenths.reshape(-1, 10).max(axis=1), digits=1),
        )

    def _level(self, samples: decoding.Samples) -> None:
        """Note how loud each tenth of a second is, in dB of full scale."""
        waiting = np.concatenate((self._rest, samples), axis=1)
        whole = waiting.shape[1] // (RATE // 10)
        used = whole * (RATE // 10)
        power = np.square(waiting[:, :used]).reshape(2, whole, RATE // 10).mean(axis=(0, 2))
        self._levels += [float(level) for level in 10 * np.log10(np.maximum(power, 1e-12))]
        self._rest = waiting[:, used:]


def stretches(marks: list[tuple[float, bool]], *, end_s: float, shortest_s: float) -> list[Stretch]:
    """Where marks are true from one to the next, as stretches of at least `shortest_s`."""
    found: list[Stretch] = []
    since: float | None = None
    for at_s, is_so in [*marks, (end_s, False)]:
        if is_so and since is None:
            since = at_s
        elif not is_so and since is not None:
            if at_s - since >= shortest_s:
                found.append(Stretch(start_s=round(since, 3), end_s=round(at_s, 3)))
            since = None
    return found


def _cut_detector(height: int) -> av.filter.Graph:
    graph = av.filter.Graph()
    shape = VideoFrame(WIDTH, height, "yuv420p").format
    source = graph.add_buffer(width=WIDTH, height=height, format=shape, time_base=Fraction(1, 1000))
    graph.link_nodes(source, graph.add("scdet", f"threshold={CUT_SCORE}"), graph.add("buffersink")).configure()
    return graph


def _is_cut(graph: av.filter.Graph) -> bool:
    cut = False
    while True:
        try:
            cut = "lavfi.scd.time" in graph.vpull().metadata or cut
        except (av.error.BlockingIOError, av.error.EOFError):
            return cut


def _rounded(numbers: np.ndarray[Any, Any], *, digits: int = 3) -> list[float]:
    return [round(float(number), digits) for number in numbers]
