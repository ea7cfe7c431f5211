"""What requests say in text, read by the types of variables."""

from typing import Any

import pytest
from graphql import GraphQLInputType, parse_type, type_from_ast

from guards.errors import BadInput
from schema.rest import reading
from schema.root import schema

INNER = schema._schema


def kind(name: str) -> GraphQLInputType:
    found: Any = type_from_ast(INNER, parse_type(name))
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("Int!", "12", 12),
        ("Int", "-3", -3),
        ("BigInt", "9000000000", 9_000_000_000),
        ("Float", "0.5", 0.5),
        ("Boolean", "TRUE", True),
        ("Boolean!", "0", False),
        ("String", "12", "12"),
        ("ID!", "12", "12"),
        ("JobStatus", "queued", "QUEUED"),
        ("JobStatus!", "Queued", "QUEUED"),
        ("[JobStatus!]", "queued,failed", ["QUEUED", "FAILED"]),
        ("TimeRange!", "24h", "DAY"),
    ],
)
def test_text_becomes_what_the_variable_wants(name: str, text: str, value: object) -> None:
    assert value == reading.coerced("it", text, kind(name))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("Int", "abc", "limit: a whole number is needed, not 'abc'"),
        ("Int", "1e3", "limit: a whole number is needed, not '1e3'"),
        ("Int", "٣", "limit: a whole number is needed, not '٣'"),
        ("Int!", "9" * 19, f"limit: a whole number is needed, not '{'9' * 19}'"),
        ("Float", "nan", "limit: a number is needed, not 'nan'"),
        ("Boolean", "yes", "limit: true or false is needed, not 'yes'"),
        ("TimeRange", "1y", "limit: one of 1h, 24h, 7d, 30d is needed, not '1y'"),
        ("Int", "x" * 80, f"limit: a whole number is needed, not '{'x' * 50}'"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_needed(name: str, text: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        reading.coerced("limit", text, kind(name))

    assert told == str(refused.value)


def test_what_came_as_json_stays_for_graphql_to_judge() -> None:
    assert [12, True, {"a": 1}] == [reading.coerced("it", value, kind("Int")) for value in (12, True, {"a": 1})]


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ({}, (20, 0)),
        ({"page": "3"}, (20, 40)),
        ({"page": "2", "per_page": "5"}, (5, 5)),
        ({"limit": "10", "offset": "15"}, (10, 15)),
        ({"per_page": "100"}, (100, 0)),
        ({"limit": "7", "page": "2"}, (7, 7)),
        ({"per_page": "100", "page": "101"}, (100, 10_000)),
        ({"offset": "10000"}, (20, 10_000)),
    ],
)
def test_pages_are_counted_either_way(query: dict[str, str], page: tuple[int, int]) -> None:
    assert page == reading.page_of(query)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"page": "0"}, "page: a whole number, 1 to 501, is needed, not '0'"),
        ({"page": "102", "per_page": "100"}, "page: a whole number, 1 to 101, is needed, not '102'"),
        ({"per_page": "101"}, "per_page: a whole number, 1 to 100, is needed, not '101'"),
        ({"limit": "0"}, "limit: a whole number, 1 to 100, is needed, not '0'"),
        ({"offset": "-1"}, "offset: a whole number, 0 to 10000, is needed, not '-1'"),
        ({"offset": "10001"}, "offset: a whole number, 0 to 10000, is needed, not '10001'"),
        ({"page": "1", "offset": "0"}, "page, offset: use one of them"),
        ({"per_page": "1", "limit": "1"}, "per_page, limit: use one of them"),
    ],
)
def test_pages_that_cannot_be_are_refused(query: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput) as refused:
        reading.page_of(query)

    assert told == str(refused.value)
