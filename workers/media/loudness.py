"""How loud sound is (EBU R 128), and bringing it to a given loudness."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av.error
import av.filter
import numpy as np
from av.audio.frame import AudioFrame

from workers.media.decoding import Samples

RATE: Final = 48_000
QUIETEST_LUFS: Final = -70.0
"""Where EBU R 128 stops measuring; anything this quiet counts as silence."""

PEAK: Final = 0.84
"""Highest sample after normalising, about -1.5 dB: room for what AAC adds on top."""

MOST_GAIN_DB: Final = 30.0
"""More would only bring up the noise of a nearly silent recording."""


class Meter:
    """Measures stereo sound at 48 kHz as it comes by."""

    def __init__(self) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(sample_rate=RATE, format="fltp", layout="stereo", time_base=Fraction(1, RATE))
        meter = self._graph.add("ebur128", "metadata=1:framelog=quiet")
        self._graph.link_nodes(source, meter, self._graph.add("abuffersink")).configure()
        self._heard = 0
        self.integrated_lufs = QUIETEST_LUFS
        """Loudness of all that came by."""
        self.range_lu = 0.0
        """How far loud and quiet passages lie apart."""
        self.momentary: list[float] = []
        """Loudness of the last 400 ms, every 100 ms."""

    def hear(self, part: Samples) -> None:
        if not part.shape[1]:
            return
        self._graph.push(_frame(part, at=self._heard))
        self._heard += part.shape[1]
        self._note()

    def finish(self) -> None:
        self._graph.push(None)
        self._note()

    def _note(self) -> None:
        for frame in _pulled(self._graph):
            facts = frame.metadata
            if "lavfi.r128.M" not in facts:
                continue
            self.momentary.append(_at_least(facts["lavfi.r128.M"], -120.0))
            self.integrated_lufs = _at_least(facts["lavfi.r128.I"], QUIETEST_LUFS)
            self.range_lu = _at_least(facts["lavfi.r128.LRA"], 0.0)


def _at_least(measured: str, least: float) -> float:
    """A measurement, no lower than `least`; of pure silence the meter says "nan", which is as low as it goes."""
    value = float(measured)
    return value if value > least else least


def integrated(sound: Samples) -> float:
    """Loudness of a whole stretch of stereo sound at 48 kHz, in LUFS; -70 is silence."""
    meter = Meter()
    for begin in range(0, sound.shape[1], RATE):
        meter.hear(sound[:, begin : begin + RATE])
    meter.finish()
    return meter.integrated_lufs


def normalised(sound: Samples, *, target_lufs: float) -> Samples:
    """The same sound at the wanted loudness, its peaks held below clipping; silence stays silence."""
    found = integrated(sound)
    if found <= QUIETEST_LUFS:
        return sound
    louder = _limited(sound, gain_db=min(target_lufs - found, MOST_GAIN_DB))
    # Holding the peaks takes some loudness away again; a second, small step makes up for it.
    missing = target_lufs - integrated(louder)
    return _limited(louder, gain_db=missing) if 0.3 < missing < 6.0 else louder


def _limited(sound: Samples, *, gain_db: float) -> Samples:
    gain = 10 ** (gain_db / 20)
    if float(np.abs(sound).max(initial=0.0)) * gain <= PEAK:
        return sound * np.float32(gain)
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="fltp", layout="stereo", time_base=Fraction(1, RATE))
    volume = graph.add("volume", f"volume={gain_db:.3f}dB:precision=float")
    limiter = graph.add("alimiter", f"limit={PEAK}:attack=5:release=60:level=disabled:latency=1")
    shape = graph.add("aformat", "sample_fmts=fltp:channel_layouts=stereo")
    graph.link_nodes(source, volume, limiter, shape, graph.add("abuffersink")).configure()
    parts = []
    for begin in range(0, sound.shape[1], RATE):
        graph.push(_frame(sound[:, begin : begin + RATE], at=begin))
        parts += [np.asarray(frame.to_ndarray(), dtype=np.float32) for frame in _pulled(graph)]
    graph.push(None)
    parts += [np.asarray(frame.to_ndarray(), dtype=np.float32) for frame in _pulled(graph)]
    held = np.concatenate(parts, axis=1)[:, : sound.shape[1]]
    missing = sound.shape[1] - held.shape[1]
    return np.pad(held, ((0, 0), (0, missing))) if missing else held


def _frame(part: Samples, *, at: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
    frame.sample_rate = RATE
    frame.pts = at
    frame.time_base = Fraction(1, RATE)
    return frame


def _pulled(graph: av.filter.Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, AudioFrame):
            yield frame
