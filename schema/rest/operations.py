"""Stored operations: the GraphQL documents that REST endpoints run, checked against the schema at the start.

A document names its fields as REST clients know them, by aliases; nothing is renamed in Python. What several documents
select of the same thing is a fragment in a file of its own, and stands in its place in each of them once it is read.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    Visitor,
    parse,
    print_ast,
    specified_rules,
    type_from_ast,
    validate,
    visit,
)
from strawberry.schema.base import BaseSchema

from guards.errors import BadInput
from resolvers.context import Context
from schema.rest import looks
from schema.validations import informed

FOLDER: Final = Path(__file__).parent.parent / "operations"
FRAGMENTS: Final = FOLDER / "fragments"
REFUSED_INPUT: Final = frozenset({"BAD_USER_INPUT"})
"""What GraphQL calls it when variables do not fit; REST clients know it by the specification's word."""

_SPREAD: Final = re.compile(r"\.\.\.\s*(?!on\b)(\w+)")


class Unfit(ValueError):
    """A stored operation does not fit the schema, or its endpoint; the server does not start."""


class Refused(Exception):
    """An operation was refused, or failed; what a client may know of it is here."""

    def __init__(self, error: GraphQLError) -> None:
        super().__init__(error.message)
        extensions = error.extensions or {}
        code = str(extensions.get("code", "INTERNAL_ERROR"))
        self.unfitting = code in REFUSED_INPUT
        """Whether its variables did not fit."""

        self.code = BadInput.code if self.unfitting else code
        retry_after = extensions.get("retryAfter")
        self.retry_after = retry_after if isinstance(retry_after, int) else None


class Stored:
    """One document with one operation, ready to run."""

    def __init__(self, name: str, schema: BaseSchema) -> None:
        self.name = name
        self._schema = schema
        written = _written(name)
        # The GraphQL schema inside is what documents are validated with; Strawberry has no public name for it.
        inner: GraphQLSchema = schema._schema  # type: ignore[attr-defined]
        if faults := validate(inner, written, informed(specified_rules)):
            raise Unfit(f"{name}: {faults[0].message}")
        document = _whole(written)
        self._text = print_ast(document)
        operation = _only_operation(name, document)
        self.changes = operation.operation is OperationType.MUTATION
        """Whether it does something, instead of only looking."""

        self._look = looks.of(inner, document, operation)
        self._operation = operation
        self.document = document
        self.types = {
            each.variable.name.value: cast(GraphQLInputType, type_from_ast(inner, each.type))
            for each in operation.variable_definitions or ()
        }
        """The types of its variables."""

        self.needed = frozenset(
            each.variable.name.value
            for each in operation.variable_definitions or ()
            if isinstance(each.type, NonNullTypeNode) and each.default_value is None
        )
        """Those without which it cannot run."""

    def keys(self, shown: tuple[str, ...]) -> tuple[str, ...]:
        """The keys of what is found at the path `shown` of an answer, as far as the operation itself names them."""
        fields = _fields(self._operation)
        for step in shown:
            fields = _fields(fields[step])
        return tuple(fields)

    async def run(self, context: Context, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as REST clients see it, by root field.

        Raises:
            Refused: the operation has errors; the first of them.
        """
        assert variables.keys() <= self.types.keys(), (
            f"{self.name} has no variables {variables.keys() - self.types.keys()}"
        )
        answer = await self._schema.execute(
            self._text, variable_values=dict(variables), context_value=context, operation_name=self.name
        )
        if answer.errors:
            raise Refused(answer.errors[0])
        found: dict[str, Any] = looks.seen(answer.data, self._look)
        return found


def stored(name: str, schema: BaseSchema) -> Stored:
    """The operation of a document, which is checked once for a schema.

    Raises:
        Unfit: it does not fit.
    """
    known: Any = schema  # a protocol, which does not say that what fits it can be a key
    return _checked(name, known)


@cache
def _checked(name: str, schema: BaseSchema) -> Stored:
    return Stored(name, schema)


def _written(name: str) -> DocumentNode:
    """A document as it is written, with the fragments that it names."""
    text = (FOLDER / f"{name}.graphql").read_text()
    fragments = [(FRAGMENTS / f"{used}.graphql").read_text() for used in dict.fromkeys(_SPREAD.findall(text))]
    return parse("".join([text, *fragments]))


class _Whole(Visitor):
    """Puts what fragments select in the places where they are named."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        super().__init__()
        self._fragments = fragments

    def leave_selection_set(self, node: SelectionSetNode, *_: object) -> SelectionSetNode:
        """The same with fields alone."""
        return SelectionSetNode(selections=tuple(field for each in node.selections for field in self._fields(each)))

    def _fields(self, node: SelectionNode) -> tuple[SelectionNode, ...]:
        if not isinstance(node, FragmentSpreadNode):
            return (node,)
        assert not node.directives, f"{node.name.value}: a fragment stands for its fields, with nothing said of it"
        return tuple(self._fragments[node.name.value].selection_set.selections)


def _whole(written: DocumentNode) -> DocumentNode:
    """A valid document without fragments that have a name."""
    fragments = {node.name.value: node for node in written.definitions if isinstance(node, FragmentDefinitionNode)}
    others = tuple(node for node in written.definitions if not isinstance(node, FragmentDefinitionNode))
    whole: DocumentNode = visit(DocumentNode(definitions=others), _Whole(fragments))
    return whole


def _only_operation(name: str, document: DocumentNode) -> OperationDefinitionNode:
    found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if [name] != [node.name.value for node in found if node.name]:
        raise Unfit(f"{name}: the document must have one operation, of that name")
    return found[0]


def _fields(node: OperationDefinitionNode | FieldNode) -> dict[str, FieldNode]:
    selected = node.selection_set.selections if node.selection_set else ()
    return {(field.alias or field.name).value: field for field in selected if isinstance(field, FieldNode)}
