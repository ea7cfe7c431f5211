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
