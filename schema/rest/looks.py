"""How values look to REST clients where GraphQL writes them differently.

Wherever they stand in an answer, an enum is its value (`queued`, not `QUEUED`), and UTC is written `Z`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
)

Look = dict[str, Any]
"""For each key of an answer that may not stay as it is: how a value is shown, or the same for what is below it."""


def of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Look:
    """How the answers of a valid operation are shown."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return _look(schema, schema.get_root_type(operation.operation), operation.selection_set, fragments)


def seen(value: Any, look: Look | Callable[[Any], Any]) -> Any:
    """An answer, or a part of it, as REST clients are to see it."""
    if value is None:
        return None
    if isinstance(value, list):
        return [seen(item, look) for item in value]
    if not isinstance(look, dict):
        return look(value)
    return {key: seen(item, look[key]) if key in look else item for key, item in value.items()}


def _look(
    schema: GraphQLSchema,
    parent: GraphQLNamedType | None,
    selections: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Look:
    look: Look = {}
    for node in selections.selections:
        if isinstance(node, FieldNode):
            key = (node.alias or node.name).value
            kind = get_named_type(_field_type(parent, node.name.value))
            shown = _look(schema, kind, node.selection_set, fragments) if node.selection_set else _shown(kind)
            if shown:
                _add(look, {key: shown})
            continue
        inner = fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
        assert isinstance(inner, InlineFragmentNode | FragmentDefinitionNode)
        condition = schema.type_map[inner.type_condition.name.value] if inner.type_condition else parent
        _add(look, _look(schema, condition, inner.selection_set, fragments))
    return look


def _add(look: Look, more: Look) -> None:
    """The same field may be asked for in several places, each time for other parts of it."""
    for key, shown in more.items():
        if isinstance(shown, dict):
            _add(look.setdefault(key, {}), shown)
        else:
            look[key] = shown


def _field_type(parent: GraphQLNamedType | None, name: str) -> GraphQLOutputType | None:
    # `__typename` belongs to every type and is written into none.
    known = parent.fields if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else {}
    return known[name].type if name in known else None


def _shown(kind: GraphQLNamedType | None) -> Callable[[Any], Any] | None:
    if isinstance(kind, GraphQLEnumType):
        values = {name: value.value for name, value in kind.values.items()}
        return {name: getattr(value, "value", value) for name, value in values.items()}.__getitem__
    if kind is not None and kind.name == "DateTime":
        return lambda text: text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    return None
