"""What a document may hold, counted in one pass before anything of it is validated.

GraphQL's own rules compare every two fields that answer under the same name, and every two fragments, so that a few
kilobytes keep them busy for seconds. What is counted here costs as much as the document is long, and what passes leaves
them little to do. Clients as they are (GraphiQL, Relay, Apollo) stay far below all of it.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
)
from graphql.language.ast import QUERY_DOCUMENT_KEYS
from strawberry.extensions import SchemaExtension

from schema.errors import BAD_USER_INPUT

LONGEST_TEXT: Final = 64 * 1024
"""Characters of a document; what is longer belongs into its variables."""

LONGEST_NUMBER: Final = 64

MOST: Final = {
    "operations": 20,
    "fragments": 40,
    "spreads of fragments": 100,
    "aliases": 30,
    "directives": 20,
    "__schema": 1,
    "__type": 1,
}
"""How many of a kind a document has at most."""

MOST_ROOTS: Final = 15
"""Root fields of one operation, under whatever names they answer and through whatever fragments."""

MOST_PAIRS: Final = 1_000
"""Pairs of fields that answer under one name, and so have to be compared: some 45 times the same field."""

MOST_UNFOLDED: Final = 8_000
"""Fields of a document once each of its fragments stands wherever it is spread."""

INTROSPECTION: Final = ("__schema", "__type")


class Short(SchemaExtension):
    """Refuses a text that is too long to be read at all; stands before whoever reads it."""

    def on_parse(self) -> Iterator[None]:
        """Look how long it is.

        Raises:
            GraphQLError: too long.
        """
        require_short(self.execution_context.query or "")
        yield


def require_short(text: str) -> None:
    """Make sure that a document is not too long to be read at all.

    Raises:
        GraphQLError: it is.
    """
    if len(text) > LONGEST_TEXT:
        told = f"the document is longer than {LONGEST_TEXT} characters: put what is long into variables"
        raise GraphQLError(told, extensions={"code": BAD_USER_INPUT})


def refusal(document: DocumentNode) -> GraphQLError | None:
    """Why a document is not even validated, if so."""
    try:
        _count(document)
        Unfolding(document).measure()
    except GraphQLError as error:
        return error
    return None


def introspects(document: DocumentNode) -> bool:
    """Whether a document asks for the schema itself."""
    return any(isinstance(node, FieldNode) and node.name.value in INTROSPECTION for node in _nodes(document))


def _nodes(document: DocumentNode) -> Iterator[Node]:
    """All nodes of a document, in no order."""
    waiting: list[Node] = [document]
    while waiting:
        node = waiting.pop()
        yield node
        for part in QUERY_DOCUMENT_KEYS.get(node.kind, ()):
            inner = getattr(node, part)
            if isinstance(inner, Node):
                waiting.append(inner)
            elif inner:
                waiting += inner


def _count(document: DocumentNode) -> None:
    counted: Counter[str] = Counter()
    for node in _nodes(document):
        if isinstance(node, FieldNode):
            counted["aliases"] += node.alias is not None
            if node.name.value in INTROSPECTION:
                counted[node.name.value] += 1
        elif isinstance(node, IntValueNode | FloatValueNode):
            _require_number(node)
        else:
            counted[node.kind] += 1
    counted["operations"] = counted["operation_definition"]
    counted["fragments"] = counted["fragment_definition"]
    counted["spreads of fragments"] = counted["fragment_spread"]
    counted["directives"] = counted["directive"]
    for kind, most in MOST.items():
        if counted[kind] > most:
            raise GraphQLError(f"the document has {counted[kind]} {kind}; at most {most} are taken")


def _require_number(node: IntValueNode | FloatValueNode) -> None:
    # Python refuses to read a number of more than 4,300 digits, and takes one that is too large for infinity.
    if len(node.value) > LONGEST_NUMBER or not math.isfinite(float(node.value)):
        told = f"a number has at most {LONGEST_NUMBER} digits and is finite"
        raise GraphQLError(told, node, extensions={"code": BAD_USER_INPUT})


class Unfolding:
    """A document as its fields are merged: those that answer under one name together, through all fragments."""

    def __init__(self, document: DocumentNode) -> None:
        self._document = document
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._opened: set[str] = set()
        self._unfolded = 0
        self._pairs = 0

    def measure(self) -> None:
        """Go through all operations, and through the fragments that none of them uses.

        Raises:
            GraphQLError: there is more to merge than is taken.
        """
        for node in self._document.definitions:
            if isinstance(node, OperationDefinitionNode):
                top = self._merged([node.selection_set])
                if len(top) > MOST_ROOTS:
                    told = f"the operation has {len(top)} root fields; at most {MOST_ROOTS} are taken"
                    raise GraphQLError(told, node)
                self._descend(top)
        for name, fragment in self._fragments.items():
            if name not in self._opened:
                self._descend(self._merged([fragment.selection_set]))

    def _descend(self, top: dict[str, list[FieldNode]]) -> None:
        waiting = [top]
        while waiting:
            for fields in waiting.pop().values():
                self._compare(fields)
                inner = [field.selection_set for field in fields if field.selection_set is not None]
                if inner:
                    waiting.append(self._merged(inner))

    def _compare(self, fields: list[FieldNode]) -> None:
        self._pairs += len(fields) * (len(fields) - 1) // 2
        if self._pairs > MOST_PAIRS:
            raise GraphQLError(
                "the document asks for the same fields too many times over, or a fragment spreads itself", fields[0]
            )

    def _merged(self, selected: list[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        found: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()
        waiting = list(selected)
        while waiting:
            for node in waiting.pop().selections:
                self._unfolded += 1
                if isinstance(node, FieldNode):
                    found.setdefault((node.alias or node.name).value, []).append(node)
                elif isinstance(node, InlineFragmentNode):
                    waiting.append(node.selection_set)
                elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                    spread.add(node.name.value)
                    self._opened.add(node.name.value)
                    if fragment := self._fragments.get(node.name.value):
                        waiting.append(fragment.selection_set)
            if self._unfolded > MOST_UNFOLDED:
                raise GraphQLError(f"the fragments unfold to more than {MOST_UNFOLDED} fields, or into themselves")
        return found
