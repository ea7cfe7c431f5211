"""Captions are short lines, timed from the start of their clip."""

from workers.media import captions
from workers.media.analysis import Stretch
from workers.media.captions import Caption
from workers.media.speech import Segment, Word


def test_only_what_is_said_in_the_part_is_shown_and_timed_from_its_start() -> None:
    said = [
        Segment(start_s=1.0, end_s=2.0, text="before", words=[]),
        Segment(start_s=10.5, end_s=12.5, text="inside it", words=[]),
    ]

    found = captions.within(said, Stretch(start_s=10.0, end_s=20.0))

    assert [Caption(start_s=0.5, end_s=2.5, text="inside it")] == found


def test_long_speech_is_broken_into_lines() -> None:
    words = [Word(text=f"word{number:02}", start_s=number / 2, end_s=number / 2 + 0.4) for number in range(20)]
    said = [Segment(start_s=0.0, end_s=10.0, text=" ".join(word.text for word in words), words=words)]

    found = captions.within(said, Stretch(start_s=0.0, end_s=10.0))

    assert [word.text for word in words] == " ".join(line.text for line in found).split()
    assert all(len(line.text) <= captions.LONGEST_LINE for line in found)
    assert all(line.end_s - line.start_s <= captions.LONGEST_S for line in found)


def test_both_formats_are_written_as_players_read_them() -> None:
    lines = [Caption(start_s=0.5, end_s=61.25, text="a < b"), Caption(start_s=3661.0, end_s=3662.0, text="end")]

    assert captions.srt(lines) == ("1\n00:00:00,500 --> 00:01:01,250\na < b\n\n2\n01:01:01,000 --> 01:01:02,000\nend\n")
    assert captions.webvtt(lines) == (
        "WEBVTT\n\n00:00:00.500 --> 00:01:01.250\na &lt; b\n\n01:01:01.000 --> 01:01:02.000\nend\n"
    )
