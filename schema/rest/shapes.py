"""What requests and answers look like, as JSON Schema 2020-12: read off the types that GraphQL checks them with.

An answer's shape is walked from a type and what a stored operation selects of it, with its aliases, and as REST shows
values: enums by their values, times as text. What has a name of its own becomes a component, each of them once.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    ListTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    is_abstract_type,
)

from schema.rest import constraints, structs
from schema.rest.json_schema import REF, Shape, nullable, without_null
from schema.rest.reading import spelling

SCALARS: Final[Mapping[str, Shape]] = {
    "ID": {"type": "string"},
    "String": {"type": "string"},
    "Int": {"type": "integer", "format": "int32"},
    "BigInt": {"type": "integer", "format": "int64"},
    "Float": {"type": "number"},
    "Boolean": {"type": "boolean"},
    "DateTime": {"type": "string", "format": "date-time"},
    "Date": {"type": "string", "format": "date"},
    "JSON": {},
    "Nothing": {"type": "object", "maxProperties": 0},
}


class Shapes:
    """Makes the shapes of one description, and keeps what they refer to."""

    def __init__(self, schema: GraphQLSchema, kinds: Iterable[Any] = ()) -> None:
        """
        Args:
            kinds: the Python types that will be asked about; named together, those of one name are told apart.
        """
        self._schema = schema
        self.components: dict[str, Shape] = {}
        self._known: dict[Any, Shape] = {}
        asked = list(kinds)
        self._known = dict(zip(asked, self._made(asked), strict=True))

    def answer(self, document: DocumentNode) -> Shape:
        """What the one operation of a valid document answers, by root field."""
        operation, fragments = _parts(document)
        root = self._schema.get_root_type(operation.operation)
        assert isinstance(root, GraphQLObjectType)
        return self._object(root, [operation.selection_set], fragments)

    def variables(self, document: DocumentNode, wanted: Collection[str] | None = None) -> dict[str, Shape]:
        """What each variable of a document may be, with what the input says for which it stands.

        Args:
            wanted: which ones; all of them unless said.
        """
        operation, _ = _parts(document)
        said = dict(constraints.said(self._schema, operation))
        found = {}
        for each in operation.variable_definitions or ():
            name = each.variable.name.value
            if wanted is not None and name not in wanted:
                continue
            inner = each.type.type if isinstance(each.type, NonNullTypeNode) else each.type
            shape = self._written(inner)
            asked, description = said.get(name, ({}, None))
            target = shape
            while target.get("type") == "array" and "pattern" in asked:
                target = target["items"]
            target |= asked
            found[name] = shape | ({"description": description} if description else {})
        return found

    def of(self, kind: Any) -> Shape:
        """What a Python type looks like in JSON, with the sentences under its fields."""
        [shape] = [self._known[kind]] if kind in self._known else self._made([kind])
        return shape

    def _made(self, kinds: list[Any]) -> list[Shape]:
        shapes, components = structs.written(kinds)
        for name, component in components:
            known = self._schema.type_map.get(name)
            if isinstance(known, GraphQLEnumType) and "enum" in component:
                self._leaf(known)
            else:
                self.named(name, component)
        return shapes

    def taken(self, kind: Any) -> Shape:
        """The same in place, where it needs no name."""
        return self.resolved(self.of(kind))

    def named(self, name: str, shape: Shape) -> Shape:
        """A shape kept as a component, and the reference to it."""
        assert self.components.setdefault(name, shape) == shape, name
        return {"$ref": f"{REF}{name}"}

    def used(self, part: Any) -> dict[str, Shape]:
        """The components that a part of a description leads to, by name."""
        found: dict[str, Shape] = {}
        waiting = [part]
        while waiting:
            each = waiting.pop()
            waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            name = each.get("$ref", "").removeprefix(REF) if isinstance(each, dict) else ""
            if name in self.components and name not in found:
                found[name] = self.components[name]
                waiting.append(found[name])
        return dict(sorted(found.items()))

    def resolved(self, shape: Shape) -> Shape:
        """What a reference leads to; anything else as it is."""
        while "$ref" in shape:
            shape = self.components[shape["$ref"].removeprefix(REF)]
        return shape

    def at(self, shape: Shape, steps: Iterable[str]) -> Shape:
        """What is found along a path of keys; null where something on the way may be."""
        perhaps = False
        for step in steps:
            shape, absent = without_null(self.resolved(shape))
            perhaps |= absent
            shape = self.resolved(shape)["properties"][step]
        return nullable(shape) if perhaps else shape

    def _written(self, node: Any) -> Shape:
        """A type as a document writes it, of a variable that is there."""
        if isinstance(node, NonNullTypeNode):
            return self._written(node.type)
        if isinstance(node, ListTypeNode):
            return {"type": "array", "items": self._written(node.type)}
        return self._input(self._schema.type_map[node.name.value])

    def _input(self, kind: GraphQLInputType | GraphQLNamedType) -> Shape:
        if isinstance(kind, GraphQLNonNull):
            return self._input(kind.of_type)
        if isinstance(kind, GraphQLList):
            return {"type": "array", "items": self._input(kind.of_type)}
        if isinstance(kind, GraphQLInputObjectType):
            return self._input_object(kind)
        return self._leaf(get_named_type(kind))

    def _input_object(self, kind: GraphQLInputObjectType) -> Shape:
        properties = {}
        for name, field in kind.fields.items():
            shape = self._input(field.type)
            if not isinstance(field.type, GraphQLNonNull):
                shape = nullable(shape)
            properties[name] = shape | constraints.of(field) | _described(field.description)
        required = [name for name, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)]
        # A payload of the same name is written with underscores.
        return self.named(f"{kind.name}OfGraphQL", {"type": "object", "properties": properties} | _required(required))

    def _output(
        self, kind: GraphQLOutputType, selected: list[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
    ) -> Shape:
        match kind:
            case GraphQLNonNull():
                return self._there(kind.of_type, selected, fragments)
        return nullable(self._there(kind, selected, fragments))

    def _there(
        self, kind: GraphQLOutputType, selected: list[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
    ) -> Shape:
        match kind:
            case GraphQLList():
                return {"type": "array", "items": self._output(kind.of_type, selected, fragments)}
            case GraphQLObjectType():
                return self._object(kind, selected, fragments)
            case GraphQLInterfaceType() | GraphQLUnionType():
                return self._one_of(kind, selected, fragments)
        return self._leaf(get_named_type(kind))

    def _one_of(
        self,
        kind: GraphQLInterfaceType | GraphQLUnionType,
        selected: list[SelectionSetNode],
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> Shape:
        shapes: list[Shape] = []
        for each in self._schema.get_possible_types(kind):
            shape = self._object(each, selected, fragments)
            if shape not in shapes:
                shapes.append(shape)
        return shapes[0] if len(shapes) == 1 else {"oneOf": shapes}

    def _object(
        self, kind: GraphQLObjectType, selected: list[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
    ) -> Shape:
        nodes: dict[str, list[FieldNode]] = {}
        for selections in selected:
            for node in self._fields(kind, selections.selections, fragments):
                nodes.setdefault((node.alias or node.name).value, []).append(node)
        properties = {key: self._field(kind, found, fragments) for key, found in nodes.items()}
        always = [key for key, found in nodes.items() if any(not node.directives for node in found)]
        return {"type": "object", "properties": properties} | _required(always)

    def _fields(
        self,
        kind: GraphQLObjectType,
        selections: Iterable[SelectionNode],
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> Iterable[FieldNode]:
        for node in selections:
            if isinstance(node, FieldNode):
                yield node
                continue
            inner = fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
            assert isinstance(inner, InlineFragmentNode | FragmentDefinitionNode)
            if inner.type_condition is None or self._is(kind, inner.type_condition.name.value):
                yield from self._fields(kind, inner.selection_set.selections, fragments)

    def _is(self, kind: GraphQLObjectType, name: str) -> bool:
        condition = self._schema.type_map[name]
        return kind is condition or (is_abstract_type(condition) and self._schema.is_sub_type(condition, kind))

    def _field(
        self, kind: GraphQLObjectType, nodes: list[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]
    ) -> Shape:
        name = nodes[0].name.value
        if name == "__typename":
            return {"type": "string", "const": kind.name}
        field = kind.fields[name]
        selected = [node.selection_set for node in nodes if node.selection_set]
        shape = self._output(field.type, selected, fragments)
        return shape | _described(field.description) | ({"deprecated": True} if field.deprecation_reason else {})

    def _leaf(self, kind: GraphQLNamedType) -> Shape:
        if isinstance(kind, GraphQLEnumType):
            values = [spelling(member.value) for member in kind.values.values()]
            return self.named(kind.name, {"type": "string", "enum": values} | _described(kind.description))
        assert isinstance(kind, GraphQLScalarType)
        return dict(SCALARS[kind.name])


def _parts(document: DocumentNode) -> tuple[OperationDefinitionNode, Mapping[str, FragmentDefinitionNode]]:
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return operation, fragments


def _described(text: str | None) -> Shape:
    return {"description": text} if text else {}


def _required(names: list[str]) -> Shape:
    return {"required": names} if names else {}
