"""What a place where a variable stands asks of its value, as `@constraint` and the pages of lists have it."""

from collections.abc import Iterable
from typing import Any, Final

from graphql import (
    FieldNode,
    GraphQLNonNull,
    GraphQLSchema,
    ObjectValueNode,
    OperationDefinitionNode,
    VariableNode,
)
from graphql.language import ValueNode
from strawberry.schema.schema_converter import GraphQLCoreConverter

from db.pages import MOST
from schema.directives import Constraint
from schema.rest.json_schema import Shape

SIZES: Final = frozenset({"first", "last"})
PAGE: Final = {"minimum": 1, "maximum": MOST}
"""How many entries of a list may be asked for."""

_WORDS: Final = {
    "min": "minimum",
    "max": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


def said(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Iterable[tuple[str, tuple[Shape, str | None]]]:
    """What the arguments and input fields of root fields say of the variables that stand for them."""
    root = schema.get_root_type(operation.operation)
    assert root is not None
    for node in operation.selection_set.selections:
        if isinstance(node, FieldNode) and node.name.value in root.fields:
            arguments = root.fields[node.name.value].args
            for argument in node.arguments or ():
                bounds = PAGE if argument.name.value in SIZES else {}
                for name, (constraints, told) in _told(argument.value, arguments[argument.name.value]):
                    yield name, (constraints | bounds, told)


def _told(value: ValueNode, place: Any) -> Iterable[tuple[str, tuple[Shape, str | None]]]:
    if isinstance(value, VariableNode):
        yield value.name.value, (of(place), place.description)
    elif isinstance(value, ObjectValueNode):
        kind = place.type.of_type if isinstance(place.type, GraphQLNonNull) else place.type
        for field in value.fields:
            yield from _told(field.value, kind.fields[field.name.value])


def of(field: Any) -> Shape:
    """What `@constraint` says of an input field."""
    declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    found: Shape = {}
    for said in getattr(declared, "directives", ()):
        if isinstance(said, Constraint):
            values = {word: getattr(said, name) for name, word in _WORDS.items()}
            found |= {word: _exact(value) for word, value in values.items() if isinstance(value, int | float | str)}
    return found


def _exact(value: float | str) -> float | str:
    return int(value) if isinstance(value, float) and value.is_integer() else value
