"""Speech in a video: words with a model, and without one at least where somebody seems to speak."""

import importlib
from typing import Any, Final

import msgspec
import numpy as np

from workers.compute import report
from workers.failures import StepFailed
from workers.media import decoding
from workers.media.analysis import Stretch, stretches

RATE: Final = 16_000
HOP: Final = 512
HOP_S: Final = HOP / RATE
VOICE_BAND_HZ: Final = (200.0, 3800.0)
ABOVE_NOISE_DB: Final = 10.0
QUIETEST_DB: Final = -55.0
UNEVEN_DB: Final = 4.0
"""How much loudness must vary within a second; speech comes in syllables, a tone or a fan does not."""

FLATTEST: Final = 0.45
"""Spectral flatness above which sound is noise and not a voice."""

PAUSE_S: Final = 0.6
SHORTEST_S: Final = 0.3


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One spoken word."""

    text: str
    start_s: float
    end_s: float


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch in which somebody speaks."""

    start_s: float
    end_s: float
    text: str
    """What is said; empty without a speech model."""

    words: list[Word]
    """Its words in order; empty without a speech model."""


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What is said in a video, and when."""

    engine: str
    """`faster-whisper`, or `voice-activity` when no model was there and only the times are known."""

    language: str | None
    """Two letters; None when nobody can tell."""

    segments: list[Segment]
    share: float
    """Part of the video in which somebody speaks, 0.0..1.0."""


def voice_activity(path: str, duration_s: float) -> Speech:
    """Find where somebody seems to speak, by loudness, pitch range and rhythm; no words."""
    levels: list[float] = []
    flatness: list[float] = []
    rest = np.zeros(0, dtype=np.float32)
    for block in decoding.stream_of_samples(path, until_s=duration_s, rate=RATE):
        waiting = np.concatenate((rest, block[0]))
        used = len(waiting) // HOP * HOP
        if used:
            level, flat = _voice_band(waiting[:used].reshape(-1, HOP))
            levels.extend(level)
            flatness.extend(flat)
            report(len(levels) * HOP_S / duration_s)
        rest = waiting[used:]
    spoken = _spoken(np.asarray(levels), np.asarray(flatness))
    found = _joined(stretches(spoken, end_s=min(duration_s, len(levels) * HOP_S), shortest_s=0.0))
    segments = [Segment(start_s=part.start_s, end_s=part.end_s, text="", words=[]) for part in found]
    return Speech(engine="voice-activity", language=None, segments=segments, share=_share(segments, duration_s))


def transcript(path: str, duration_s: float, model_path: str) -> Speech:
    """Write down what is said, with the speech model in a folder of this machine.

    Raises:
        StepFailed: faster-whisper is not installed or the model cannot be loaded.
    """
    try:
        whisper: Any = importlib.import_module("faster_whisper")
    except ImportError:
        raise StepFailed("a speech model is set but faster-whisper is not installed") from None
    try:
        model = whisper.WhisperModel(model_path, device="cpu", compute_type="int8", cpu_threads=decoding.CODEC_THREADS)
    except (RuntimeError, ValueError, OSError):
        raise StepFailed("the speech model cannot be loaded") from None
    # As samples, never as a path: faster-whisper would open the file its own way, past every check made here.
    heard = decoding.samples(path, since_s=0.0, until_s=duration_s, rate=RATE, channels=1)
    if heard is None:
        raise StepFailed("the video has no sound")
    parts, info = model.transcribe(heard[0], word_timestamps=True, vad_filter=False, beam_size=1)
    segments = []
    for part in parts:
        report(part.end / duration_s)
        words = [
            Word(text=word.word.strip(), start_s=round(word.start, 3), end_s=round(word.end, 3))
            for word in part.words or []
        ]
        segments.append(
            Segment(start_s=round(part.start, 3), end_s=round(part.end, 3), text=part.text.strip(), words=words)
        )
    return Speech(
        engine="faster-whisper", language=info.language, segments=segments, share=_share(segments, duration_s)
    )


def _voice_band(hops: np.ndarray[Any, Any]) -> tuple[list[float], list[float]]:
    """Level in dB and spectral flatness of each hop, in the band of the human voice."""
    power = np.square(np.abs(np.fft.rfft(hops * np.hanning(HOP), axis=1))) / HOP**2 + 1e-14
    pitch = np.fft.rfftfreq(HOP, 1 / RATE)
    band = power[:, (pitch >= VOICE_BAND_HZ[0]) & (pitch <= VOICE_BAND_HZ[1])]
    level = 10 * np.log10(band.sum(axis=1) * 4)
    flat = np.exp(np.log(band).mean(axis=1)) / band.mean(axis=1)
    return level.tolist(), flat.tolist()


def _spoken(levels: np.ndarray[Any, Any], flatness: np.ndarray[Any, Any]) -> list[tuple[float, bool]]:
    if not len(levels):
        return []
    loud = levels > max(QUIETEST_DB, float(np.percentile(levels, 10)) + ABOVE_NOISE_DB)
    second = round(1 / HOP_S)
    bounded = np.pad(np.maximum(levels, QUIETEST_DB), (second // 2, second - second // 2 - 1), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(bounded, second)
    # Beats swell and fade within a second as well, but only fall off slowly; syllables also rise slowly. Both the
    # spread and the number of rises are asked for.
    uneven = windows.std(axis=1) > UNEVEN_DB
    rises = (np.diff(windows, axis=1) > 1.5).sum(axis=1) >= 6
    return [
        (index * HOP_S, bool(is_voice)) for index, is_voice in enumerate(loud & uneven & rises & (flatness < FLATTEST))
    ]


def _joined(found: list[Stretch]) -> list[Stretch]:
    """Stretches with the pauses between words closed and stray noises left out."""
    joined: list[Stretch] = []
    for part in found:
        if joined and part.start_s - joined[-1].end_s <= PAUSE_S:
            joined[-1] = Stretch(start_s=joined[-1].start_s, end_s=part.end_s)
        else:
            joined.append(part)
    return [part for part in joined if part.end_s - part.start_s >= SHORTEST_S]


def _share(segments: list[Segment], duration_s: float) -> float:
    spoken = sum(segment.end_s - segment.start_s for segment in segments)
    return round(min(1.0, spoken / duration_s), 3)
