"""Values on their way in and out: scalars beyond GraphQL's own five, ids, times."""

import math
from datetime import UTC, datetime
from typing import Any, Final, NewType
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from guards.errors import BadInput
from schema.limits import UNSTORABLE, storable

LARGEST = 2**53 - 1
"""Beyond it a JSON number is no longer exact in JavaScript."""

BigInt = NewType("BigInt", int)

Nothing = NewType("Nothing", dict[str, Any])

DEEPEST_JSON = 32
"""Levels that a JSON value may be nested."""


def _as_is(value: Any) -> Any:
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        # GraphQL's own kind of error: in a variable it is the client's mistake, and told; any other looks like ours.
        raise GraphQLError("a BigInt is a whole number of at most 53 bits")
    return value


def _storable(value: Any) -> Any:
    """A JSON value that PostgreSQL keeps and every client reads back as it was."""
    level: list[Any] = [value]
    for _ in range(DEEPEST_JSON + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                deeper += item
            else:
                _require_kept(item)
        if not deeper:
            return value
        level = deeper
    raise GraphQLError(f"JSON is nested at most {DEEPEST_JSON} levels deep")


def _require_kept(item: object) -> None:
    if isinstance(item, str) and not storable(item):
        raise GraphQLError(UNSTORABLE)
    if isinstance(item, float) and not math.isfinite(item):
        raise GraphQLError("a number in JSON is finite")
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        raise GraphQLError("a whole number in JSON has at most 64 bits")


def _nothing(value: object) -> dict[str, Any]:
    if value != {}:
        raise GraphQLError("there is nothing to give: write {}")
    return {}


ECMA_404: Final = "https://ecma-international.org/wp-content/uploads/ECMA-404_2nd_edition_december_2017.pdf"

SCALARS: dict[object, ScalarDefinition] = {
    JSON: strawberry.scalar(
        name="JSON",
        description=f"The `JSON` scalar type represents JSON values as specified by [ECMA-404]({ECMA_404}).",
        specified_by_url=ECMA_404,
        serialize=_as_is,
        parse_value=_storable,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number of at most 53 bits, written as a JSON number.",
        serialize=_whole,
        parse_value=_whole,
    ),
    Nothing: strawberry.scalar(
        name="Nothing", description="An empty object, where nothing can be given.", parse_value=_nothing
    ),
}


def key() -> Any:
    """The id of a row: a UUID in the house, an opaque ID outside."""
    return strawberry.field(graphql_type=strawberry.ID, description="Unique among everything there is; opaque.")


def uuid_of(key: str) -> UUID | None:
    """The UUID that an ID stands for; None when it is none, and so nobody's."""
    try:
        return UUID(key)
    except ValueError:
        return None


def named(field: str, key: str | None) -> UUID | None:
    """The UUID that an optional ID of an input stands for.

    Raises:
        BadInput: it is none.
    """
    found = None if key is None else uuid_of(key)
    if key is not None and found is None:
        raise BadInput(f"{field}: {key[:50]!r} is not an id")
    return found


def utc(field: str, moment: datetime | None) -> datetime | None:
    """A time of an input in UTC, which is also what one without an offset is taken for.

    Raises:
        BadInput: it is beyond what a calendar holds.
    """
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise BadInput(f"{field}: the time is too far away") from error
