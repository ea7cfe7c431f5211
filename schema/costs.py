"""What an operation asks for, in fields of its answer: a formula of its variables, made once for each document.

Each fragment is measured once however often and however deep it is spread, so the work is that of reading the document
once. What a field weighs and how many entries a list is taken to have is what its directives say in the SDL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_introspection_type,
    is_list_type,
    parse,
    value_from_ast_untyped,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from db.pages import MOST
from schema import counts
from schema.directives import Cost, ListSize

MOST_FIELDS: Final = 50_000
"""Fields that an answer may have, as far as can be told beforehand."""

DEEPEST: Final = 12
DEEPEST_INTROSPECTION: Final = 20
"""What GraphiQL asks when it starts is some fifteen deep."""

TOO_DEEP: Final = 60
"""Selections inside of each other, with fields or without, of which the inner ones are not even looked at."""

USUAL_LIST: Final = 10
"""Entries that a list is taken to have of which nothing is said."""

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Given:
    """A number that only the variables tell."""

    variable: str
    usual: int
    """What stands for it where it is null or not there."""

    def of(self, variables: Mapping[str, Any]) -> int:
        """The number; what is none, or too large, is taken for the most that is given."""
        value = variables.get(self.variable)
        if value is None:
            return self.usual
        return max(0, min(MOST, value)) if isinstance(value, int) else MOST


Times = int | Given


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A number of fields: so many in any case, and some others so many times."""

    base: int = 0
    parts: tuple[tuple[Times, "Formula"], ...] = ()

    def of(self, variables: Mapping[str, Any]) -> int:
        """How many fields that are with these variables."""
        return self._of(variables, {})

    def _of(self, variables: Mapping[str, Any], known: dict["Formula", int]) -> int:
        # A fragment's formula is part of many others: without remembering, those that double would take for ever.
        if self not in known:
            known[self] = self.base + sum(
                (times if isinstance(times, int) else times.of(variables)) * inner._of(variables, known)
                for times, inner in self.parts
            )
        return known[self]


@dataclass(frozen=True, slots=True)
class Size:
    """What is asked for somewhere in a document."""

    fields: Formula
    depth: int
    """How deep the deepest field lies."""


def summed(base: int, *parts: tuple[Times, Formula]) -> Formula:
    """The formula of a sum; what is known already is added up."""
    left: list[tuple[Times, Formula]] = []
    for times, inner in parts:
        if isinstance(times, int) and not inner.parts:
            base += times * inner.base
        else:
            left.append((times, inner))
    return Formula(base, tuple(left))


class Measure:
    """Measures the operations of one document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._level = 0
        self._known: dict[tuple[str, Times], Size] = {}
        self._defaults: dict[str, Any] = {}

    def of(self, operation: OperationDefinitionNode) -> Size:
        """The size of one operation."""
        # The same fragment means another size in another operation, whose variables have other defaults.
        self._known.clear()
        self._defaults = {
            each.variable.name.value: value_from_ast_untyped(each.default_value)
            for each in operation.variable_definitions or ()
            if each.default_value is not None
        }
        root = self._schema.get_root_type(operation.operation)
        if root is None:
            return Size(Formula(), 0)
        return self._selected(operation.selection_set, root, USUAL_LIST)

    def _selected(self, chosen: SelectionSetNode, parent: GraphQLNamedType, page: Times) -> Size:
        if self._level == TOO_DEEP:
            # Whatever lies below, the operation is refused; and fragments within fragments could exhaust the stack.
            return Size(Formula(), TOO_DEEP)
        self._level += 1
        found = [self._one(node, parent, page) for node in chosen.selections]
        self._level -= 1
        fields = summed(0, *((1, each.fields) for each in found))
        return Size(fields, max((each.depth for each in found), default=0))

    def _one(self, node: object, parent: GraphQLNamedType, page: Times) -> Size:
        if isinstance(node, FieldNode):
            return self._field(node, parent, page)
        if isinstance(node, InlineFragmentNode):
            return self._selected(node.selection_set, self._narrowed(node, parent), page)
        assert isinstance(node, FragmentSpreadNode)
        return self._spread(node.name.value, page)

    def _spread(self, name: str, page: Times) -> Size:
        fragment = self._fragments.get(name)
        if fragment is None:
            return Size(Formula(), 0)
        if (name, page) not in self._known:
            # A fragment that spreads itself is refused by another rule; here it only must not be followed for ever.
            self._known[name, page] = Size(Formula(), 0)
            parent = self._schema.get_type(fragment.type_condition.name.value)
            if parent is not None:
                self._known[name, page] = self._selected(fragment.selection_set, parent, page)
        return self._known[name, page]

    def _field(self, node: FieldNode, parent: GraphQLNamedType, page: Times) -> Size:
        name = node.name.value
        if name in counts.INTROSPECTION and node.selection_set is not None:
            return self._introspection(node, node.selection_set)
        field = parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None
        weight = 1 if field is None else _weight(field)
        if field is None or node.selection_set is None:
            return Size(Formula(weight), 1)
        sliced = said(field, ListSize)
        inner = self._selected(
            node.selection_set,
            get_named_type(field.type),
            USUAL_LIST if sliced is None else self._asked(node, sliced),
        )
        fields = inner.fields
        if name == "ofType" and is_introspection_type(parent):
            # Most types are inside of no other: each step inwards is there half as often.
            fields = Formula(fields.base // 2)
        times = self._entries(parent, name, page) if is_list_type(get_nullable_type(field.type)) else 1
        return Size(summed(weight, (times, fields)), 1 + inner.depth)

    def _introspection(self, node: FieldNode, chosen: SelectionSetNode) -> Size:
        """What is asked of the schema itself: all that GraphiQL asks is five sixths of what an answer may have."""
        asked = self._schema.type_map["__Schema" if node.name.value == "__schema" else "__Type"]
        size = self._selected(chosen, asked, USUAL_LIST)
        weighed = size.fields.base * MOST_FIELDS * 5 // (6 * _whole(self._schema))
        return Size(Formula(1 + weighed), max(1, size.depth - (DEEPEST_INTROSPECTION - DEEPEST)))

    def _entries(self, parent: GraphQLNamedType, name: str, page: Times) -> Times:
        """Entries of a list: those of the schema itself are known, on the average."""
        if not is_introspection_type(parent):
            return page
        return len(self._schema.type_map) if name == "types" else _members(self._schema)

    def _narrowed(self, node: InlineFragmentNode, parent: GraphQLNamedType) -> GraphQLNamedType:
        condition = node.type_condition
        return parent if condition is None else self._schema.get_type(condition.name.value) or parent

    def _asked(self, node: FieldNode, size: ListSize) -> Times:
        """How many rows a list is asked for."""
        names = size.slicing_arguments or ()
        given = [argument.value for argument in node.arguments or () if argument.name.value in names]
        for value in given:
            if isinstance(value, VariableNode):
                name = value.name.value
                usual = Given("", size.assumed_size).of({"": self._defaults.get(name)})
                return Given(name, usual)
            if isinstance(value, IntValueNode):
                # A number of thousands of digits cannot even be read, and asks for no more than the most.
                return max(0, min(MOST, int(value.value))) if len(value.value) <= counts.LONGEST_NUMBER else MOST
        return size.assumed_size


def said(field: GraphQLField, kind: type[D]) -> D | None:
    """What one directive says of a field, if it is there."""
    declared: StrawberryField | None = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    found = () if declared is None else declared.directives
    return next((each for each in found if isinstance(each, kind)), None)


def _weight(field: GraphQLField) -> int:
    cost = said(field, Cost)
    return 1 if cost is None else cost.weight


@cache
def _members(schema: GraphQLSchema) -> int:
    """Fields that a type of the schema has, on the average, rounded up."""
    fields = sum(len(kind.fields) for kind in schema.type_map.values() if isinstance(kind, GraphQLObjectType))
    return -(-fields // len(schema.type_map))


@cache
def _whole(schema: GraphQLSchema) -> int:
    """What the query weighs by which GraphiQL learns of the whole schema."""
    document = parse(get_introspection_query(specified_by_url=True, input_value_deprecation=True))
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    [asked] = operation.selection_set.selections
    assert isinstance(asked, FieldNode)
    assert asked.selection_set is not None
    measure = Measure(schema, document)
    return measure._selected(asked.selection_set, schema.type_map["__Schema"], USUAL_LIST).fields.base
