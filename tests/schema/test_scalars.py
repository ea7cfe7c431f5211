"""Numbers, ids and times at the border."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLError, GraphQLScalarType, parse_value

from guards.errors import BadInput
from schema.root import schema
from schema.scalars import DEEPEST_JSON, LARGEST, SCALARS, BigInt, named, utc, uuid_of

KEY = UUID("01a204f8-e1ef-7721-9061-af58bbbbb7db")


@pytest.mark.parametrize("value", [0, -LARGEST, LARGEST])
def test_a_whole_number_of_53_bits_passes(value: int) -> None:
    scalar = SCALARS[BigInt]
    assert scalar.serialize is not None
    assert scalar.parse_value is not None

    assert (value, value) == (scalar.serialize(value), scalar.parse_value(value))


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 1.0, "1", True, None])
def test_nothing_else_is_a_big_int(value: Any) -> None:
    scalar = SCALARS[BigInt]
    assert scalar.parse_value is not None

    with pytest.raises(GraphQLError, match="BigInt"):
        scalar.parse_value(value)


def test_an_id_is_a_uuid_or_nobodys() -> None:
    assert [KEY, None, None] == [uuid_of(str(KEY)), uuid_of("clipper"), uuid_of("")]


def test_an_id_of_an_input_is_refused_by_the_name_of_its_field() -> None:
    assert (KEY, None) == (named("ownerId", str(KEY)), named("ownerId", None))
    with pytest.raises(BadInput, match=r"^ownerId: "):
        named("ownerId", "x" * 1000)


def test_times_are_taken_in_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert noon == utc("at", datetime(2026, 1, 1, 12))
    assert noon == utc("at", datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))))
    assert utc("at", None) is None
    with pytest.raises(BadInput, match=r"^at: "):
        utc("at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def json_scalar() -> GraphQLScalarType:
    found = schema._schema.type_map["JSON"]
    assert isinstance(found, GraphQLScalarType)
    return found


@pytest.mark.parametrize(
    "value", [None, True, 1.5, "é 🎬", 2**63 - 1, -(2**63), {"a": [1, {"b": "c"}]}, nested(DEEPEST_JSON)]
)
def test_json_that_can_be_kept_passes_as_it_is(value: Any) -> None:
    assert value == json_scalar().parse_value(value)


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        float("nan"),
        {"a": [-float("inf")]},
        2**63,
        -(2**63) - 1,
        "a\0",
        ["\ud800"],
        {"a\0": 1},
        nested(DEEPEST_JSON + 1),
    ],
)
def test_json_that_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError):
        json_scalar().parse_value(value)


@pytest.mark.parametrize("literal", ["{a: 1e999}", "[-1e999]", "99999999999999999999", '{a: "\\u0000"}'])
def test_a_literal_of_json_is_looked_at_too(literal: str) -> None:
    with pytest.raises(GraphQLError):
        json_scalar().parse_literal(parse_value(literal))
