"""Captions: what is said, in the two formats every player reads."""

from typing import Final

import msgspec

from workers.media.analysis import Stretch
from workers.media.speech import Segment, Word

LONGEST_LINE: Final = 42
LONGEST_S: Final = 4.0


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """One line shown for a while."""

    start_s: float
    """Seconds from the start of the clip."""

    end_s: float
    text: str


def within(segments: list[Segment], part: Stretch) -> list[Caption]:
    """What is said in a part of a video, in short lines, timed from its start."""
    captions: list[Caption] = []
    for segment in segments:
        for line in _lines(_words(segment)):
            start, end = max(line[0].start_s, part.start_s), min(line[-1].end_s, part.end_s)
            text = " ".join(word.text for word in line)
            if end > start and text:
                captions.append(
                    Caption(start_s=round(start - part.start_s, 3), end_s=round(end - part.start_s, 3), text=text)
                )
    return captions


def srt(captions: list[Caption]) -> str:
    """The captions as SubRip."""
    blocks = [
        f"{number}\n{_stamp(caption.start_s, ',')} --> {_stamp(caption.end_s, ',')}\n{caption.text}\n"
        for number, caption in enumerate(captions, start=1)
    ]
    return "\n".join(blocks)


def webvtt(captions: list[Caption]) -> str:
    """The captions as WebVTT."""
    blocks = [
        f"{_stamp(caption.start_s, '.')} --> {_stamp(caption.end_s, '.')}\n{_escaped(caption.text)}\n"
        for caption in captions
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _words(segment: Segment) -> list[Word]:
    """The timed words of a segment; without times of their own they share its time evenly."""
    if segment.words or not segment.text:
        return segment.words
    texts = segment.text.split()
    each = (segment.end_s - segment.start_s) / len(texts)
    return [
        Word(text=text, start_s=segment.start_s + index * each, end_s=segment.start_s + (index + 1) * each)
        for index, text in enumerate(texts)
    ]


def _lines(words: list[Word]) -> list[list[Word]]:
    lines: list[list[Word]] = []
    for word in words:
        fits = (
            lines
            and sum(len(other.text) + 1 for other in lines[-1]) + len(word.text) <= LONGEST_LINE
            and word.end_s - lines[-1][0].start_s <= LONGEST_S
        )
        if fits:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _stamp(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    hours, rest = divmod(thousandths, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
