"""The plan of an operation: what must be settled about all of it before any of it is run.

Compiled once for each document and operation. The same for HTTP, WebSocket and REST, because it stands inside the
schema: authorization first, of the operation as a whole, before anything a client sent is even coerced; then the
limits, all in one go. What writes or watches is refused as a whole; of a read only the fields that may not be seen.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLDirective,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    value_from_ast_untyped,
)
from graphql.language import DirectiveLocation
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from guards.errors import BadInput, Refusal
from guards.replays import require_key
from resolvers.actions.contract import Action
from resolvers.actions.performing import entry_of
from resolvers.context import Context
from schema.access import Access

KEPT: Final = 256
ACTION: Final = "action"
"""Where a mutation's field keeps the row of the catalogue that it is made from."""

IDEMPOTENT: Final = GraphQLDirective(
    "idempotent",
    [DirectiveLocation.FIELD],
    {"key": GraphQLArgument(GraphQLNonNull(GraphQLString), description="16 to 128 letters, digits, `_` or `-`.")},
    description="Does the action once, however often it is sent with this key.",
)


@dataclass(frozen=True, slots=True)
class Root:
    """One root field of an operation."""

    place: str
    """Its response key."""

    node: FieldNode
    access: Access | None
    """Who may use it; None for introspection, which says so itself."""

    action: Action[Any, Any] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of an operation without its variables."""

    kind: OperationType
    roots: tuple[Root, ...]

    @property
    def as_a_whole(self) -> bool:
        """Whether one refused field refuses the operation."""
        return self.kind is not OperationType.QUERY


class Plans:
    """The plans of one schema; the least recently used are forgotten."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: OrderedDict[tuple[str, str | None], Plan] = OrderedDict()

    def of(self, text: str, document: DocumentNode, name: str | None) -> Plan:
        """The plan of an operation that was found valid."""
        key = text, name
        plan = self._known.get(key)
        if plan is None:
            plan = self._known[key] = self._compiled(document, name)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return plan

    def _compiled(self, document: DocumentNode, name: str | None) -> Plan:
        operation = next(
            node
            for node in document.definitions
            if isinstance(node, OperationDefinitionNode) and name in (None, node.name and node.name.value)
        )
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        roots = tuple(_root(root, node) for node in _fields(document, operation.selection_set))
        return Plan(operation.operation, roots)


async def admit(plan: Plan, context: Context, variables: Mapping[str, Any]) -> None:
    """Let an operation pass, or say why not; a refused action is on record.

    Raises:
        Refusal: the caller may not, or not so often, or the idempotency key does not do.
    """
    try:
        if plan.as_a_whole:
            for root in plan.roots:
                if root.access is not None:
                    root.access.admit(context)
        keys = _keys(plan, context, variables)
    except Refusal as refusal:
        await _on_record(plan, context, refusal)
        raise
    context.admitted = keys


async def _on_record(plan: Plan, context: Context, refusal: Refusal) -> None:
    if context.viewer is None:
        return
    for root in plan.roots:
        if root.action is not None:
            await context.services.chain.refuse(entry_of(context, root.action, None), refusal)


def _keys(plan: Plan, context: Context, variables: Mapping[str, Any]) -> dict[str, str | None]:
    """The idempotency key of each action, by its place."""
    acting = [root for root in plan.roots if root.action is not None]
    if context.idempotency_key is not None and len(acting) > 1:
        raise BadInput("the idempotency key of a request stands for one action: give each its own by @idempotent(key:)")
    found: dict[str, str | None] = {}
    for root in acting:
        key = context.idempotency_key
        for directive in root.node.directives or ():
            if directive.name.value == IDEMPOTENT.name:
                [argument] = directive.arguments or ()
                key = value_from_ast_untyped(argument.value, dict(variables))
        found[root.place] = None if key is None else require_key(str(key))
    given = [key for key in found.values() if key is not None]
    if len(set(given)) < len(given):
        raise BadInput("@idempotent: two actions of one operation may not have the same key")
    return found


def _root(parent: GraphQLObjectType, node: FieldNode) -> Root:
    place = (node.alias or node.name).value
    field = parent.fields.get(node.name.value)
    if field is None:
        return Root(place, node, None, None)
    declared = _declared(field)
    access = next((each for each in declared.extensions if isinstance(each, Access)), None)
    return Root(place, node, access, declared.metadata.get(ACTION))


def _declared(field: GraphQLField) -> StrawberryField:
    declared: StrawberryField = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    return declared


def _fields(document: DocumentNode, selections: SelectionSetNode) -> list[FieldNode]:
    """The root fields in their order, one for each response key; each fragment is opened once."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    found: dict[str, FieldNode] = {}
    waiting = [*reversed(selections.selections)]
    while waiting:
        selection = waiting.pop()
        if isinstance(selection, FieldNode):
            found.setdefault((selection.alias or selection.name).value, selection)
        elif isinstance(selection, InlineFragmentNode):
            waiting += reversed(selection.selection_set.selections)
        elif isinstance(selection, FragmentSpreadNode):
            fragment = fragments.pop(selection.name.value, None)
            waiting += reversed(fragment.selection_set.selections) if fragment else ()
    return list(found.values())
