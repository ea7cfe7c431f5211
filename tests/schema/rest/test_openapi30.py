"""The older description: the same, said in the words of 3.0.3."""

from typing import Any

import pytest

from schema.rest import openapi, openapi30
from schema.root import schema

PLAIN: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "summary": "s", "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
    "components": {"schemas": {"Word": {"type": "string", "enum": ["a"]}}},
}
WORDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "perhaps null": ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
    "a reference, perhaps null": (
        {"anyOf": [{"$ref": "#/components/schemas/Word"}, {"type": "null"}]},
        {"type": "string", "enum": ["a", None], "nullable": True},
    ),
    "a constant": ({"type": "boolean", "const": True}, {"type": "boolean", "enum": [True]}),
    "bytes": (
        {"type": "string", "contentMediaType": "application/octet-stream"},
        {"type": "string", "format": "binary"},
    ),
    "a described reference": (
        {"$ref": "#/components/schemas/Word", "description": "d"},
        {"allOf": [{"$ref": "#/components/schemas/Word"}], "description": "d"},
    ),
    "an open bound": (
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    ),
    "a list of places": (
        {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "items": False, "maxItems": 2},
        {"type": "array", "items": {"type": "number"}, "maxItems": 2},
    ),
    "a property called as a word": (
        {"type": "object", "properties": {"enum": {"const": 1}, "type": {"type": ["string", "null"]}}},
        {"type": "object", "properties": {"enum": {"enum": [1]}, "type": {"type": "string", "nullable": True}}},
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_newer_words_say_is_said_in_older_ones(name: str) -> None:
    newer, older = WORDS[name]

    lowered = openapi30.lowered({**PLAIN, "paths": {"/a": {"schema": newer}}})

    assert older == lowered["paths"]["/a"]["schema"]


def test_what_was_recorded_stays_as_it_was() -> None:
    recorded = {"examples": {"recorded": {"value": {"type": ["string", "null"], "const": 1}}}}

    assert recorded == openapi30.lowered({**PLAIN, "paths": recorded})["paths"]


def test_the_head_says_its_version_and_where_the_licence_is() -> None:
    lowered = openapi30.lowered(PLAIN)

    assert "3.0.3" == lowered["openapi"]
    assert {"title": "t", "license": {"name": "Apache-2.0", "url": openapi30.LICENSE}} == lowered["info"]
    assert "3.1.0" == PLAIN["openapi"]


def unexampled(part: Any) -> Any:
    """The same without what was recorded, which is data."""
    if isinstance(part, list):
        return [unexampled(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: unexampled(value) for key, value in part.items() if key != "examples"}


def test_nothing_of_the_newer_words_is_left() -> None:
    text = str(unexampled(openapi30.lowered(openapi.described(schema, "0"))))

    assert [] == [word for word in ("'const':", "'type': 'null'", "contentMediaType", "'null']") if word in text]
