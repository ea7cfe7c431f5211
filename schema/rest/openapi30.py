"""The description as OpenAPI 3.0.3, for tools that read no other: the same, said in older words."""

from collections.abc import Mapping
from typing import Any, Final

from schema.rest.openapi import Document

VERSION: Final = "3.0.3"
LICENSE: Final = "https://www.apache.org/licenses/LICENSE-2.0"
NULL: Final = {"type": "null"}
DATA: Final = frozenset({"default", "enum", "example", "examples"})
"""What is no schema, however much it may look like one."""


def lowered(document: Document) -> Document:
    """A description of 3.1 in the words of 3.0.3; the given one stays as it is."""
    found: Document = _lowered(document, document["components"]["schemas"])
    info = {key: value for key, value in found["info"].items() if key != "summary"}
    info["license"] = {"name": document["info"]["license"]["name"], "url": LICENSE}
    return {**found, "openapi": VERSION, "info": info}


def _lowered(part: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_lowered(each, known) for each in part]
    if not isinstance(part, dict):
        return part
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key == "properties":
            found[key] = {name: _lowered(shape, known) for name, shape in value.items()}
        else:
            found[key] = value if key in DATA else _lowered(value, known)
    return _schema(found, known) if _is_schema(part) else found


def _is_schema(part: dict[str, Any]) -> bool:
    """Whether it speaks of a value; nothing else in a description has one of these beside it."""
    return (
        any(key in part for key in ("anyOf", "allOf", "oneOf", "const", "contentMediaType"))
        or (isinstance(part.get("type"), str | list) and "scheme" not in part)
        or ("$ref" in part and len(part) > 1)
    )


def _schema(shape: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    lowered = dict(shape)
    if isinstance(kinds := lowered.get("type"), list):
        lowered["type"] = next(kind for kind in kinds if kind != "null")
        lowered["nullable"] = True
    if NULL in lowered.get("anyOf", ()):
        lowered |= _perhaps([each for each in lowered.pop("anyOf") if each != NULL], known)
    if "const" in lowered:
        lowered["enum"] = [lowered.pop("const")]
    if "prefixItems" in lowered:
        places = lowered.pop("prefixItems")
        lowered["items"] = places[0] if all(each == places[0] for each in places) else {"anyOf": places}
    if "contentMediaType" in lowered:
        del lowered["contentMediaType"]
        lowered["format"] = "binary"
    if "$ref" in lowered and len(lowered) > 1:
        # What stands beside a reference is passed over there.
        lowered["allOf"] = [{"$ref": lowered.pop("$ref")}]
    for word, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(bound := lowered.get(strict), int | float) and not isinstance(bound, bool):
            lowered |= {word: bound, strict: True}
    return lowered


def _perhaps(choices: list[dict[str, Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    """One of some shapes, or null; which is said beside a type, and nowhere else."""
    if len(choices) > 1:
        return {"anyOf": [{**each, "nullable": True} for each in choices]}
    [inner] = choices
    if len(inner.get("allOf", ())) == 1:
        # A described reference, which was said in these words a moment ago.
        inner = inner["allOf"][0]
    if "$ref" not in inner:
        return {"type": "object", **inner, "nullable": True}
    named = known[inner["$ref"].rpartition("/")[2]]
    if "enum" in named:
        return {"type": "string", "enum": [*named["enum"], None], "nullable": True}
    kind = named.get("type", "object")
    return {"type": kind, "anyOf": [inner, {"type": kind, "enum": [None], "nullable": True}], "nullable": True}
