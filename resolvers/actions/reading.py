"""Reading payloads: from plain data to a payload whose constraints hold, and from a payload to what may be kept."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Meta

from guards.errors import BadInput, NotFound
from resolvers.actions.contract import Action, Payload

P = TypeVar("P", bound=Payload)


def payload(action: Action[P, Any], given: Mapping[str, Any], *, older: bool) -> P:
    """The payload of an action.

    Args:
        older: other names of fields are understood, numbers may be written as text, unknown fields are passed over.

    Raises:
        BadInput: a field is missing, unknown, of the wrong kind or out of range; the message names it.
        NotFound: a field names something by what no id of ours looks like.
    """
    if not isinstance(given, Mapping):
        raise BadInput("payload: it must be an object")
    # What is null and need not be there is left out: a default, or an older name, then stands for it.
    values = {name: value for name, value in given.items() if value is not None}
    if older:
        for alias, name in {**_in_camel_case(action.payload), **action.aliases}.items():
            if alias in values:
                values.setdefault(name, values.pop(alias))
        for name, words in _worded(action.payload).items():
            if isinstance(said := values.get(name), str):
                values[name] = words.get(said, said)
    elif unknown := sorted(given.keys() - fields(action.payload).keys()):
        raise BadInput(f"{unknown[0]}: there is no such field")
    for name, meta in _naming(action.payload):
        _require_id(values.get(name), meta)
    try:
        asked = msgspec.convert(values, type=action.payload, strict=not older)
    except msgspec.ValidationError as error:
        raise BadInput(_told(str(error), older=older)) from error
    for name in asked.__struct_fields__:
        _require_exact(name if older else _camel(name), fields(action.payload)[name], getattr(asked, name))
    return asked


def fields(kind: type[Payload]) -> Mapping[str, Any]:
    """The fields of a payload with their annotations."""
    return _annotated(kind)


def metas(annotation: Any) -> list[Meta]:
    """What is said of a field beside its type, wherever in the annotation."""
    found = [each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Meta)]
    for inner in get_args(annotation):
        if get_origin(annotation) is not Annotated or inner is get_args(annotation)[0]:
            found += metas(inner)
    return found


def kept(asked: Payload) -> dict[str, Any]:
    """What of a payload may be put on record: numbers, flags, ids, times, words of an enum, and text marked as such.

    Of a list marked so, that of each of its parts.
    """
    hidden, parted = redacted(type(asked)), _parted(type(asked))
    return {
        name: [kept(part) for part in value] if name in parted else msgspec.to_builtins(value)
        for name in asked.__struct_fields__
        if name not in hidden and (value := getattr(asked, name)) is not None
    }


@cache
def redacted(kind: type[Payload]) -> tuple[str, ...]:
    """The fields of a payload that are left out on record, whatever is in them; `parts.field` for those of parts."""
    parted = _parted(kind)
    return tuple(
        place
        for name, annotation in fields(kind).items()
        for place in ([f"{name}.{inner}" for inner in redacted(parted[name])] if name in parted else [name])
        if name in parted
        or (not any((meta.extra or {}).get("kept") for meta in metas(annotation)) and not _harmless(annotation))
    )


@cache
def _parted(kind: type[Payload]) -> Mapping[str, type[Payload]]:
    """The lists of a payload whose parts are put on record each by itself, with what each part is."""
    return {
        name: get_args(get_args(annotation)[0])[0]
        for name, annotation in fields(kind).items()
        if any((meta.extra or {}).get("parts") for meta in metas(annotation))
    }


def _harmless(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _harmless(arguments[0])
    if origin in (Union, UnionType, list, tuple, frozenset):
        return all(_harmless(each) for each in arguments if each is not Ellipsis)
    return isinstance(annotation, type) and issubclass(
        annotation, bool | int | float | UUID | datetime | date | Enum | NoneType
    )


@cache
def _annotated(kind: type[Payload]) -> Mapping[str, Any]:
    # Annotations are evaluated anew each time they are asked for, which takes longer than all the rest of reading.
    hints = get_type_hints(kind, include_extras=True)
    return MappingProxyType({name: hints[name] for name in kind.__struct_fields__})


@cache
def _naming(kind: type[Payload]) -> tuple[tuple[str, str], ...]:
    """The fields that are ids, each with what it is an id of."""
    return tuple(
        (name, str(meta.extra["names"]))
        for name, annotation in fields(kind).items()
        for meta in metas(annotation)
        if meta.extra and "names" in meta.extra
    )


@cache
def _worded(kind: type[Payload]) -> dict[str, Mapping[str, Any]]:
    """The fields that older clients say in words of their own, each with what its words stand for."""
    return {
        name: meta.extra["words"]
        for name, annotation in fields(kind).items()
        for meta in metas(annotation)
        if meta.extra and "words" in meta.extra
    }


def _require_id(value: object, kind: str) -> None:
    if not isinstance(value, str):
        return
    try:
        UUID(value)
    except ValueError as error:
        raise NotFound(
            f"there is no {kind} {value[:50]}" if value.strip() else f"there is no {kind} without an id"
        ) from error


def _require_exact(name: str, annotation: Any, value: Any) -> None:
    # The end of a pattern matches before a last line break, too; and what is no time in UTC cannot be kept.
    if isinstance(value, str) and value.endswith("\n") and any(meta.pattern for meta in metas(annotation)):
        raise BadInput(f"{name}: no line break is taken at its end")
    if isinstance(value, datetime):
        try:
            value.astimezone(UTC)
        except OverflowError as error:
            raise BadInput(f"{name}: the time is too far away") from error


def _told(message: str, *, older: bool) -> str:
    """What msgspec says, in the words of the house: the field first, as this client calls it."""
    what, _, place = message.partition(" - at `$")
    for kind, word in _WORDS.items():
        what = what.replace(f"`{kind}`", word)
    what = _EXACTLY.sub(lambda found: f'exactly "{found[1]}"', what)
    name = place.strip("`").lstrip(".")
    if missing := _MISSING.fullmatch(what):
        name, what = f"{name}.{missing[1]}" if name else missing[1], "it is needed"
    told = f"{what[0].lower()}{what[1:]}"
    return f"{name if older else _camel(name)}: {told}" if name else told


_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
    "int | null": "a whole number",
    "float | null": "a number",
    "str | null": "text",
    "bool | null": "true or false",
    "object | null": "an object",
    "array | null": "a list",
}
"""What kinds of values are called by who does not program in Python."""

_EXACTLY: Final = re.compile(r"text matching regex '\^([A-Za-z ]+)\$'")


_MISSING: Final = re.compile("Object missing required field `([a-z0-9_]+)`")


def _camel(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)


@cache
def _in_camel_case(kind: type[Payload]) -> Mapping[str, str]:
    """Fields by the names that they have in GraphQL, for who writes one and thinks of the other."""
    return {_camel(name): name for name in kind.__struct_fields__ if _camel(name) != name}


def needless(kind: type[Payload]) -> bool:
    """Whether nothing at all need be said."""
    return not any(info.required for info in msgspec.structs.fields(kind))
