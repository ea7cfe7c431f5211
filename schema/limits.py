"""What a request may be at most, found out in one pass over its document however the fragments are nested.

Strawberry's own limiters walk a fragment again each time it is spread, so a document of 700 bytes keeps them busy for
seconds. Here each fragment is measured once, and what was found about a document is cached with its validation.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValidationRule,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_introspection_type,
    is_list_type,
)
from strawberry.extensions import SchemaExtension

from db.pages import MOST
from guards.errors import Unauthenticated
from schema import counts
from schema.errors import BAD_USER_INPUT, VALIDATION_FAILED

MOST_TOKENS: Final = 2_000
DEEPEST: Final = 12
DEEPEST_INTROSPECTION: Final = 20
"""What GraphiQL asks when it starts is some fifteen deep."""

MOST_FIELDS: Final = 50_000
"""Fields that an answer may have, as far as the document tells."""

USUAL_LIST: Final = 10
"""Entries that a list without a size of its own is taken to have."""

USUAL_PAGE: Final = 20

CHEAP: Final = 2
"""Fields of introspection that weigh as much as one other: no store is asked for them."""

Size = tuple[int, int]
"""Fields in the answer, and how deep the deepest lies."""


class Measure:
    """The size of what a document asks for."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[tuple[str, int], Size] = {}
        self._types = len(schema.type_map)
        fields = sum(len(kind.fields) for kind in schema.type_map.values() if isinstance(kind, GraphQLObjectType))
        self._members = math.ceil(fields / self._types)

    def of(self, operation: OperationDefinitionNode) -> Size:
        """The size of one operation."""
        root = self._schema.get_root_type(operation.operation)
        return (0, 0) if root is None else self._selected(operation.selection_set, root, USUAL_LIST)

    def _selected(self, chosen: SelectionSetNode, parent: GraphQLNamedType, page: int) -> Size:
        fields, deepest = 0, 0
        for node in chosen.selections:
            if isinstance(node, FieldNode):
                found = self._field(node, parent, page)
            elif isinstance(node, InlineFragmentNode):
                found = self._selected(node.selection_set, self._narrowed(node, parent), page)
            else:
                assert isinstance(node, FragmentSpreadNode)
                found = self._spread(node.name.value, page)
            fields, deepest = fields + found[0], max(deepest, found[1])
        return fields, deepest

    def _spread(self, name: str, page: int) -> Size:
        fragment = self._fragments.get(name)
        if fragment is None:
            return 0, 0
        if (name, page) not in self._known:
            # A fragment that spreads itself is refused by another rule; here it only must not be followed for ever.
            self._known[name, page] = 0, 0
            parent = self._schema.get_type(fragment.type_condition.name.value)
            if parent is not None:
                self._known[name, page] = self._selected(fragment.selection_set, parent, page)
        return self._known[name, page]

    def _field(self, node: FieldNode, parent: GraphQLNamedType, page: int) -> Size:
        name = node.name.value
        if node.selection_set is None:
            return 1, 1
        if name in ("__schema", "__type"):
            asked = self._schema.type_map["__Schema" if name == "__schema" else "__Type"]
            fields, depth = self._selected(node.selection_set, asked, USUAL_LIST)
            return 1 + fields // CHEAP, depth - (DEEPEST_INTROSPECTION - DEEPEST)
        if not isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) or name not in parent.fields:
            return 1, 1
        field = parent.fields[name]
        times = self._entries(parent, name, page) if is_list_type(get_nullable_type(field.type)) else 1
        inner = _asked_for(node) if "first" in field.args else USUAL_LIST
        fields, depth = self._selected(node.selection_set, get_named_type(field.type), inner)
        if name == "ofType" and is_introspection_type(parent):
            # Most types are inside of no other: each step inwards is there half as often.
            fields //= 2
        return 1 + times * fields, 1 + depth

    def _entries(self, parent: GraphQLNamedType, name: str, page: int) -> int:
        """Entries of a list: those of the schema itself are known, on the average."""
        if not is_introspection_type(parent):
            return page
        return self._types if name == "types" else self._members

    def _narrowed(self, node: InlineFragmentNode, parent: GraphQLNamedType) -> GraphQLNamedType:
        condition = node.type_condition
        return parent if condition is None else self._schema.get_type(condition.name.value) or parent


class Moderate(ValidationRule):
    """No operation asks for more, or deeper, than is answered."""

    def enter_document(self, document: DocumentNode, *_: Any) -> None:
        """Measure each operation."""
        measure = Measure(self.context.schema, document)
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                fields, depth = measure.of(node)
                if depth > DEEPEST:
                    self.report_error(GraphQLError(f"the operation is more than {DEEPEST} fields deep", node))
                if fields > MOST_FIELDS:
                    told = f"the operation may answer {fields:.3g} fields, more than {MOST_FIELDS}: ask for fewer rows"
                    self.report_error(GraphQLError(told, node))


class Storable(ASTValidationRule):
    """No text in the document has characters that cannot be stored."""

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        """Look at one text."""
        if not storable(node.value):
            self.report_error(GraphQLError(UNSTORABLE, node, extensions={"code": BAD_USER_INPUT}))


class Limits(SchemaExtension):
    """Refuses what is too large, unclear or unstorable, before anything of it is run."""

    def on_operation(self) -> Iterator[None]:
        """Add the rules about documents to GraphQL's own."""
        context = self.execution_context
        context.parse_options["max_tokens"] = MOST_TOKENS
        context.validation_rules = (*context.validation_rules, Moderate, Storable)
        yield

    def on_validate(self) -> Iterator[None]:
        """Look at what does not depend on the document alone, and give what was found its code."""
        context = self.execution_context
        if not context.pre_execution_errors and (error := self._unclear() or self._unstorable() or self._curious()):
            context.pre_execution_errors = [error]
        for error in context.pre_execution_errors or ():
            assert error.extensions is not None
            error.extensions.setdefault("code", VALIDATION_FAILED)
        yield

    def _unclear(self) -> GraphQLError | None:
        # Strawberry would run the first operation, whichever was meant.
        context = self.execution_context
        assert context.graphql_document is not None
        operations = [
            node for node in context.graphql_document.definitions if isinstance(node, OperationDefinitionNode)
        ]
        if len(operations) < 2 or context._provided_operation_name is not None:
            return None
        return GraphQLError(
            f"the document has {len(operations)} operations: say which one by operationName", operations
        )

    def _unstorable(self) -> GraphQLError | None:
        waiting: list[Any] = [self.execution_context.variables]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str) and not storable(value):
                return GraphQLError(UNSTORABLE, extensions={"code": BAD_USER_INPUT})
            if isinstance(value, Mapping):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                waiting += value
        return None

    def _curious(self) -> GraphQLError | None:
        # The whole schema is a hundred milliseconds of work: more than a stranger may ask for.
        context = self.execution_context
        if context.context.viewer is not None or not _SCHEMA.search(context.query or ""):
            return None
        assert context.graphql_document is not None
        if not counts.introspects(context.graphql_document):
            return None
        told = "sign in to ask for the schema; its text is at /graphql/schema.graphql"
        return GraphQLError(told, extensions={"code": Unauthenticated.code})


_SCHEMA: Final = re.compile(r"\b__(schema|type)\b")

UNSTORABLE: Final = "text may hold neither NUL nor half of a surrogate pair"


def storable(text: str) -> bool:
    """Whether PostgreSQL takes a text, and UTF-8 can write it."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _asked_for(node: FieldNode) -> int:
    """How many rows a list is asked for; the most it gives where only the variables tell."""
    sizes = [argument.value for argument in node.arguments or () if argument.name.value in ("first", "last")]
    if any(isinstance(size, VariableNode) for size in sizes):
        return MOST
    given = [size.value for size in sizes if isinstance(size, IntValueNode)]
    if not given:
        return USUAL_PAGE
    # A number of thousands of digits cannot even be read, and asks for no more than the most.
    return max(0, min(MOST, int(given[0]))) if len(given[0]) <= counts.LONGEST_NUMBER else MOST
