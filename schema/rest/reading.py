"""What a request says, as the variables of a stored operation.

A path and a query string are text, so their values are read by the type of their variable: whole numbers, enums by the
value that REST shows, lists by their commas. What cannot be read is kept as a fault until the caller was let pass: whom
it does not concern is told nothing about the shape of a call.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    get_named_type,
)
from starlette.requests import Request

from db.pages import MOST, MOST_SKIPPED
from guards.errors import BadInput, Refusal
from resolvers.context import Context
from schema.rest import bodies
from schema.rest.operations import Stored
from schema.rest.rows import From, Place

UNREADABLE: Final = {"": "unreadable"}
"""Stands for a value that could not be read: an operation that gets as far as its variables ends there."""

USUAL: Final = 20
"""Rows of a page when nothing is said."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_AFTER_A_LINE: Final = re.compile("_([a-z])")
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(slots=True)
class Given:
    """The variables of one call."""

    values: dict[str, Any] = field(default_factory=dict)
    fault: Refusal | None = None
    """Why the first value that could not be read could not."""

    per_page: int = USUAL
    offset: int = 0
    """Which page was asked for, where pages are given."""

    def wrong(self, variable: str, fault: Refusal) -> None:
        """Have the operation end at this variable, unless it ends before."""
        self.values[variable] = UNREADABLE
        self.fault = self.fault or fault


async def given(
    request: Request,
    context: Context,
    sources: Mapping[str, From],
    stored: Stored,
    *,
    paged: bool,
    strict: bool = False,
) -> Given:
    """What a request gives to the variables of an operation; what it leaves out is left out.

    Args:
        stored: the operation.
        paged: whether the page is read as well.
        strict: whether a body with a key that nothing reads is refused.
    """
    found = Given()
    places: dict[Place, Any] = {Place.PATH: request.path_params, Place.QUERY: request.query_params}
    if any(source.place is Place.BODY for source in sources.values()):
        try:
            places[Place.BODY] = await bodies.json(request)
        except Refusal as refusal:
            for variable, source in sources.items():
                if source.place is Place.BODY:
                    found.wrong(variable, refusal)
    for variable, source in sources.items():
        if source.place in places:
            _read(found, variable, source, places[source.place], stored, context)
    if strict and Place.BODY in places:
        _require_known(found, sources, places[Place.BODY])
    if paged:
        try:
            found.per_page, found.offset = page_of(request.query_params)
            found.values |= {"first": found.per_page, "offset": found.offset}
        except BadInput as fault:
            found.wrong("first", fault)
    return found


def page_of(query: Mapping[str, str]) -> tuple[int, int]:
    """How many rows, and from which on: by `page` and `per_page`, or by `limit` and `offset`.

    Raises:
        BadInput: one is no such number, or both ways are used at once.
    """
    if "page" in query and "offset" in query:
        raise BadInput("page, offset: use one of them")
    if "per_page" in query and "limit" in query:
        raise BadInput("per_page, limit: use one of them")
    size_name = "limit" if "limit" in query else "per_page"
    size = _number(size_name, query.get(size_name, str(USUAL)), least=1, most=MOST)
    if "offset" in query:
        return size, _number("offset", query["offset"], least=0, most=MOST_SKIPPED)
    return size, (_number("page", query.get("page", "1"), least=1, most=MOST_SKIPPED // size + 1) - 1) * size


def _number(name: str, text: str, *, least: int, most: int) -> int:
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise BadInput(f"{name}: a whole number, {least} to {most}, is needed, not {text[:50]!r}")
    return int(text)


def _read(
    found: Given, variable: str, source: From, place: Mapping[str, Any], stored: Stored, context: Context
) -> None:
    kind = stored.types[variable]
    if source.names:
        name = next((each for each in source.names if _at(place, each) is not None), None)
        if name is None:
            if variable in stored.needed:
                found.fault = found.fault or BadInput(f"{' or '.join(source.names)}: it is missing")
            return
        value = _at(place, name)
    else:
        name, value = "the body", place
    try:
        if source.place is Place.QUERY:
            value = _only(name, place, kind)
        if source.read is not None:
            value = source.read(value, context)
        # What was read already, and what came as JSON, has its type; an enum of a body is a word all the same.
        if source.place is not Place.BODY or isinstance(get_named_type(kind), GraphQLEnumType):
            value = coerced(name, value, kind)
    except Refusal as fault:
        found.wrong(variable, fault)
    else:
        if value is not None:
            found.values[variable] = value


def _at(place: Mapping[str, Any], name: str) -> Any:
    """What stands in a place; a key of an object in it is named with a dot between them."""
    outer, _, inner = name.partition(".")
    found = _either(place, outer)
    if not inner:
        return found
    return _either(found, inner) if isinstance(found, dict) else None


def _either(place: Mapping[str, Any], name: str) -> Any:
    """What stands under a name, or under the same in camelCase, as those write who also speak GraphQL."""
    found = place.get(name)
    return place.get(camel(name)) if found is None else found


def camel(name: str) -> str:
    """A name of REST as GraphQL spells it."""
    return _AFTER_A_LINE.sub(lambda letter: letter[1].upper(), name)


def _only(name: str, query: Any, kind: GraphQLInputType) -> str:
    """The value of a parameter; of a list, all that were given.

    Raises:
        BadInput: it was given several times, and is no list.
    """
    values: list[str] = query.getlist(name) or query.getlist(camel(name))
    inner = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if len(values) > 1 and not isinstance(inner, GraphQLList):
        raise BadInput(f"{name}: it was given {len(values)} times")
    return ",".join(values)


def _require_known(found: Given, sources: Mapping[str, From], body: Mapping[str, Any]) -> None:
    """Have a body refused that says something which would be passed over."""
    read = {variable: source for variable, source in sources.items() if source.place is Place.BODY}
    known = {name.partition(".")[0] for source in read.values() for name in source.names}
    strange = sorted(key for key in body if key not in known | {camel(name) for name in known})
    if strange:
        told = f"{strange[0][:50]}: there is no such field; {', '.join(sorted(known))} are understood"
        found.wrong(next(iter(read)), BadInput(told))


def coerced(name: str, value: Any, kind: GraphQLInputType) -> Any:
    """A value from text, as the type of a variable has it; what is no text stays as it is.

    Raises:
        BadInput: it is none of that type.
    """
    if isinstance(kind, GraphQLNonNull):
        return coerced(name, value, kind.of_type)
    if isinstance(kind, GraphQLList):
        parts = value.split(",") if isinstance(value, str) else value
        return [coerced(name, part, kind.of_type) for part in parts] if isinstance(parts, list) else value
    return _coerced(name, value, kind) if isinstance(value, str) else value


def _coerced(name: str, text: str, kind: GraphQLNamedType) -> Any:
    if isinstance(kind, GraphQLEnumType):
        words = {spelling(member.value): known for known, member in kind.values.items()}
        if text.lower() not in words:
            raise BadInput(f"{name}: one of {', '.join(words)} is needed, not {text[:50]!r}")
        return words[text.lower()]
    if kind.name not in _READ:
        return text
    what, matches, read = _READ[kind.name]
    if not matches(text.lower()):
        raise BadInput(f"{name}: {what} is needed, not {text[:50]!r}")
    return read(text.lower())


def spelling(member: Any) -> str:
    """How REST spells a member of an enum."""
    return str(getattr(member, "value", member))


_READ: Final[Mapping[str, tuple[str, Callable[[str], object], Callable[[str], Any]]]] = {
    "Int": ("a whole number", _WHOLE.fullmatch, int),
    "BigInt": ("a whole number", _WHOLE.fullmatch, int),
    "Float": ("a number", _NUMBER.fullmatch, float),
    "Boolean": ("true or false", _TRUTHS.__contains__, _TRUTHS.__getitem__),
}
