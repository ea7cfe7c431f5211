"""What comes out of a file is what can be decoded, at its place, the right way up."""

import numpy as np
import pytest

from tests.videos import Videos
from workers.failures import StepFailed
from workers.media import decoding


def test_pictures_come_from_the_asked_time_on(videos: Videos) -> None:
    found = [picture.at_s for picture in decoding.pictures(str(videos.talking()), since_s=5.0, until_s=6.0)]

    assert pytest.approx([5 + number / 24 for number in range(24)], abs=0.001) == found


def test_sound_lies_where_it_was_put(videos: Videos) -> None:
    """The sample is silent while it is black, so its loudest part must not be there."""
    sound = decoding.samples(str(videos.talking()), since_s=9.0, until_s=11.0, rate=16_000, channels=1)

    assert sound is not None
    assert (1, 32_000) == sound.shape
    black = sound[0, round(0.5 * 16_000) : round(0.8 * 16_000)]
    assert np.abs(black).max() < 0.01 < np.abs(sound[0, -8_000:]).max()


def test_sound_ends_in_silence_where_the_file_ends(videos: Videos) -> None:
    sound = decoding.samples(str(videos.odd()), since_s=0.0, until_s=5.0, rate=8_000, channels=2)

    assert sound is not None
    assert (2, 40_000) == sound.shape
    assert 0.0 == np.abs(sound[:, 20_000:]).max()


def test_there_is_no_sound_without_an_audio_stream(videos: Videos) -> None:
    assert decoding.samples(str(videos.silent()), since_s=0.0, until_s=1.0, rate=8_000, channels=1) is None


@pytest.mark.parametrize(
    ("degrees", "bright"),
    [(-90, np.s_[:100, :]), (90, np.s_[-100:, :]), (180, np.s_[:, -100:])],
)
def test_a_turned_picture_is_set_upright(videos: Videos, degrees: int, bright: tuple[slice, slice]) -> None:
    """The left third is white as stored: turned clockwise it comes to the top."""
    picture = next(iter(decoding.pictures(str(videos.turned(degrees)), until_s=1.0)))

    upright = decoding.grey(picture.frame, width=320)

    assert ((180, 320) if degrees == 180 else (320, 180)) == upright.shape
    assert upright[bright].mean() > 200 > 120 > upright.mean()


def test_a_damaged_file_gives_what_it_has(videos: Videos) -> None:
    found = [picture.at_s for picture in decoding.pictures(str(videos.cut_off()), until_s=60.0)]

    assert sorted(found) == found
    assert 24 < len(found) < 144


def test_a_playlist_is_not_followed(videos: Videos) -> None:
    """It could name any file of this machine."""
    with pytest.raises(StepFailed), decoding.opened(str(videos.playlist())):
        pass
