"""Sound is measured and brought to the wanted loudness without clipping."""

import numpy as np
import pytest

from workers.media import loudness
from workers.media.decoding import Samples


def tone(level: float, seconds: float = 4.0) -> Samples:
    wave = level * np.sin(2 * np.pi * 997 * np.arange(round(loudness.RATE * seconds)) / loudness.RATE)
    return np.tile(np.float32(wave), (2, 1))


def test_a_known_tone_measures_as_it_should() -> None:
    """EBU Tech 3341: a stereo sine of 1 kHz at -23 dBFS is -23 LUFS."""
    assert pytest.approx(-23.0, abs=0.1) == loudness.integrated(tone(10 ** (-23 / 20)))


@pytest.mark.parametrize("level", [0.001, 0.05, 0.9])
def test_whatever_the_level_it_ends_at_the_target(level: float) -> None:
    found = loudness.normalised(tone(max(level, 0.01)), target_lufs=-14.0)

    assert pytest.approx(-14.0, abs=0.5) == loudness.integrated(found)


def test_peaks_are_held() -> None:
    quiet = tone(0.02)
    quiet[:, ::24_000] = 0.95

    found = loudness.normalised(quiet, target_lufs=-14.0)

    assert quiet.shape == found.shape
    assert np.abs(found).max() <= 0.9


def test_silence_stays_silence() -> None:
    silence = np.zeros((2, loudness.RATE), dtype=np.float32)

    assert 0.0 == np.abs(loudness.normalised(silence, target_lufs=-14.0)).max()


def test_digital_silence_is_measured_as_the_lowest_loudness_there_is() -> None:
    """Of samples that are all zero the meter says "nan"; no JSON can hold that, and a job once failed by it."""
    loud = tone(0.5, seconds=2.0)
    sound = np.concatenate([loud, np.zeros((2, 3 * loudness.RATE), dtype=np.float32), loud], axis=1)
    meter = loudness.Meter()

    for begin in range(0, sound.shape[1], loudness.RATE):
        meter.hear(sound[:, begin : begin + loudness.RATE])
    meter.finish()

    assert np.isfinite(meter.momentary).all()
    assert -120.0 == min(meter.momentary)
    assert np.isfinite([meter.integrated_lufs, meter.range_lu]).all()


def test_nothing_but_digital_silence_is_measured_too() -> None:
    assert loudness.QUIETEST_LUFS == loudness.integrated(np.zeros((2, 5 * loudness.RATE), dtype=np.float32))
