"""Cells stay what they are: text, numbers and times, and never a formula."""

from datetime import UTC, datetime

import pytest

from resolvers import sheets


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "\uff1d1"])
def test_no_text_is_a_formula(text: str) -> None:
    assert f"'{text}" in sheets.rows([[text]]).decode()


def test_numbers_and_times_stay_what_they_are() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert b"-5,0.25,2026-01-02T03:04:05+00:00,,a-b\r\n" == sheets.rows([[-5, 0.25, moment, None, "a-b"]])


def test_what_would_end_a_cell_is_quoted() -> None:
    assert b'"a,b","say ""no""","two\nlines"\r\n' == sheets.rows([["a,b", 'say "no"', "two\nlines"]])
