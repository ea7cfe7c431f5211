"""Conditional requests: tags are compared whole, however they are sent."""

import pytest
from starlette.datastructures import Headers

from schema.rest.conditions import none_match


@pytest.mark.parametrize(
    "sent",
    [['"a"'], [' "a" '], ['W/"a"'], ['"b", "a"'], ['W/"b","a"'], ['"b"', '"a"'], ["*"], [" * "]],
)
def test_who_has_the_bytes_is_known_by_their_tag(sent: list[str]) -> None:
    assert none_match(_headers(sent), '"a"')


@pytest.mark.parametrize("sent", [[], [""], ["a"], ['"ab", a'], ['"*"'], ['"b"', 'W/"c"']])
def test_nothing_less_than_the_whole_tag_is_taken_for_it(sent: list[str]) -> None:
    assert not none_match(_headers(sent), '"a"')


def _headers(sent: list[str]) -> Headers:
    return Headers(raw=[(b"if-none-match", each.encode()) for each in sent])
