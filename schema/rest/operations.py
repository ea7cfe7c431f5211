"""Stored operations: the GraphQL documents that REST endpoints run, checked against the schema at the start.

A document names its fields as REST clients know them, by aliases; nothing is renamed in Python.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    parse,
    validate,
)
from strawberry.schema.base import BaseSchema

from guards.errors import NotFound
from resolvers.context import Context
from schema.rest import looks

FOLDER: Final = Path(__file__).parent.parent / "operations"
REFUSED_INPUT: Final = frozenset({"BAD_USER_INPUT"})
"""What GraphQL calls it when variables do not fit; REST clients know it by the specification's word."""


class Unfit(ValueError):
    """A stored operation does not fit the schema, or its endpoint; the server does not start."""


class Refused(Exception):
    """An operation was refused, or failed; what a client may know of it is here."""

    def __init__(self, error: GraphQLError) -> None:
        super().__init__(error.message)
        extensions = error.extensions or {}
        code = str(extensions.get("code", "INTERNAL_ERROR"))
        self.code = "VALIDATION_ERROR" if code in REFUSED_INPUT else code
        retry_after = extensions.get("retryAfter")
        self.retry_after = retry_after if isinstance(retry_after, int) else None


class Stored:
    """One document with one operation, ready to run."""

    def __init__(self, name: str, schema: BaseSchema) -> None:
        self.name = name
        self._schema = schema
        self._text = (FOLDER / f"{name}.graphql").read_text()
        document = parse(self._text)
        # The GraphQL schema inside is what documents are validated with; Strawberry has no public name for it.
        inner: GraphQLSchema = schema._schema  # type: ignore[attr-defined]
        if faults := validate(inner, document):
            raise Unfit(f"{name}: {faults[0].message}")
        operation = _only_operation(name, document)
        self.changes = operation.operation is OperationType.MUTATION
        """Whether it does something, instead of only looking."""

        self._look = looks.of(inner, document, operation)
        self._operation = operation
        given = operation.variable_definitions or ()
        self.variables = frozenset(variable.variable.name.value for variable in given)
        self.needed = frozenset(
            variable.variable.name.value for variable in given if isinstance(variable.type, NonNullTypeNode)
        )
        """Those without which it cannot run."""

    def keys(self, shown: tuple[str, ...]) -> tuple[str, ...]:
        """The keys of what is found at the path `shown` of an answer, as far as the operation itself names them."""
        fields = _fields(self._operation)
        for step in shown:
            fields = _fields(fields[step])
        return tuple(fields)

    async def run(self, context: Context, variables: Mapping[str, Any], shown: tuple[str, ...]) -> Any:
        """What is found at the path `shown` of the answer.

        Raises:
            Refused: the operation has errors; the first of them.
            NotFound: there is nothing.
        """
        answer = await self._schema.execute(
            self._text, variable_values=dict(variables), context_value=context, operation_name=self.name
        )
        errors = answer.errors
        if errors:
            raise Refused(errors[0])
        found: Any = looks.seen(answer.data, self._look)
        for step in shown:
            found = None if found is None else found[step]
        if found is None:
            raise NotFound("there is no such thing")
        return found


def _only_operation(name: str, document: DocumentNode) -> OperationDefinitionNode:
    found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if [name] != [node.name.value for node in found if node.name]:
        raise Unfit(f"{name}: the document must have one operation, of that name")
    return found[0]


def _fields(node: OperationDefinitionNode | FieldNode) -> dict[str, FieldNode]:
    selected = node.selection_set.selections if node.selection_set else ()
    return {(field.alias or field.name).value: field for field in selected if isinstance(field, FieldNode)}
