"""Words come from the title and the transcript, and fit where they are put."""

import pytest

from workers.agents import words


def test_keywords_are_the_telling_words_most_frequent_first() -> None:
    found = words.keywords("The garden in spring", "We plant the garden. A garden needs water, water!", count=3)

    assert ["garden", "water", "spring"] == found


@pytest.mark.parametrize(
    ("given", "file_name", "expected"),
    [
        ("  A  day ", "x.mp4", "A day"),
        ("", "my_summer-trip.final.mp4", "My summer trip final"),
        ("", "", "Untitled video"),
        ("", "1234.mp4", "Untitled video"),
    ],
)
def test_a_title_is_found(given: str, file_name: str, expected: str) -> None:
    assert expected == words.title(given, file_name)


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("short", 10, "short"), ("one two three", 9, "one two…"), ("abcdefghij", 5, "abcd…")],
)
def test_shortened_ends_at_a_word(text: str, most: int, expected: str) -> None:
    assert expected == words.shortened(text, most)


@pytest.mark.parametrize(("seconds", "expected"), [(5.9, "0:05"), (65, "1:05"), (3665, "1:01:05")])
def test_a_clock_reads_as_people_write_it(seconds: float, expected: str) -> None:
    assert expected == words.clock(seconds)
