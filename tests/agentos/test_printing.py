"""What a person sees of an answer: cells that can be read and copied."""

from datetime import datetime, timedelta, timezone

import pytest

from agentos.cli.printing import show_links, show_table

MOMENT = datetime(2031, 5, 4, 14, 30, 1, 999_000, timezone(timedelta(hours=2)))


def test_a_table_has_no_trailing_blanks_and_its_times_end_with_the_second(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("id", "created", "title"), [(1, MOMENT, None), (22, None, "a long title of a video")])

    assert [
        "id  created               title",
        "1   2031-05-04T12:30:01Z",
        "22                        a long title of a video",
    ] == capsys.readouterr().out.splitlines()


def test_a_link_is_whole_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    link = f"http://127.0.0.1:8001/files/{'x' * 300}"

    show_links([link])

    assert f"  {link}" == capsys.readouterr().out.splitlines()[-1]
