"""Which root fields an operation asks for, by the schema's names and never by the client's aliases."""

from collections import OrderedDict
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

from agentos.metrics import Metrics
from agentos.transports.bodies import Operation
from schema.counts import LONGEST_TEXT
from schema.limits import MOST_TOKENS

REMEMBERED: Final = 512
LONGEST_REMEMBERED: Final = 16_384

Named = tuple[str, tuple[str, ...]]


class Roots:
    """Knows the root fields of valid documents; remembers those of the last ones asked about."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str | None], Named] = OrderedDict()

    def of(self, query: str, operation_name: str | None) -> Named:
        """The kind of an operation that has been found valid, and its root fields without repetition."""
        key = query, operation_name
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = _named(query, operation_name)
        if len(query) <= LONGEST_REMEMBERED:
            self._known[key] = found
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def count(self, metrics: Metrics, operation: Operation, *, began: bool, ok: bool) -> None:
        """Count an operation that was answered under each of its root fields; one that did not begin under none."""
        if not began:
            metrics.operation("none", "none", ok=False)
            return
        kind, fields = self.of(operation.query, operation.operation_name)
        for field in fields:
            metrics.operation(kind, field, ok=ok)


def _named(query: str, operation_name: str | None) -> Named:
    if len(query) > LONGEST_TEXT:
        return "none", ()
    try:
        document = parse(query, no_location=True, max_tokens=MOST_TOKENS)
    except GraphQLError:
        return "none", ()
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode) and operation_name in (None, node.name and node.name.value):
            return node.operation.value, tuple(_fields(document, node.selection_set))
    return "none", ()


def _fields(document: DocumentNode, selections: SelectionSetNode) -> dict[str, None]:
    """The names in their order; each fragment is opened once, for they may double from one to the next."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    found: dict[str, None] = {}
    waiting = [*reversed(selections.selections)]
    while waiting:
        selection = waiting.pop()
        if isinstance(selection, FieldNode):
            found[selection.name.value] = None
        elif isinstance(selection, InlineFragmentNode):
            waiting += reversed(selection.selection_set.selections)
        elif isinstance(selection, FragmentSpreadNode):
            fragment = fragments.pop(selection.name.value, None)
            waiting += reversed(fragment.selection_set.selections) if fragment else ()
    return found
