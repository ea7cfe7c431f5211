"""Numbers, ids and times at the border."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLError

from guards.errors import BadInput
from schema.scalars import LARGEST, SCALARS, BigInt, named, utc, uuid_of

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
