"""JSON Schema 2020-12, as far as it is spoken here: where components stand, and what may be null."""

from typing import Any, Final

Shape = dict[str, Any]
"""A JSON Schema."""

NULL: Final[Shape] = {"type": "null"}
REF: Final = "#/components/schemas/"


def nullable(shape: Shape) -> Shape:
    """The same, or null."""
    if not shape or without_null(shape)[1]:
        return shape
    if isinstance(shape.get("type"), str) and "enum" not in shape and "const" not in shape:
        return shape | {"type": [shape["type"], "null"]}
    return {"anyOf": [shape, NULL]}


def without_null(shape: Shape) -> tuple[Shape, bool]:
    """What it is when it is not null, and whether it may be."""
    kinds = shape.get("type")
    if isinstance(kinds, list) and "null" in kinds:
        [rest] = [kind for kind in kinds if kind != "null"]
        return shape | {"type": rest}, True
    if NULL in shape.get("anyOf", ()):
        [rest] = [each for each in shape["anyOf"] if each != NULL]
        return rest, True
    return shape, False
