"""The plan of an operation: what must be settled about all of it before any of it is run.

Compiled once for each document and operation. The same for HTTP, WebSocket and REST, because it stands inside the
schema: what it may answer first; then authorization, of the operation as a whole, before anything a client sent is
even coerced; then the limits, all in one go. What writes or watches is refused as a whole; of a read only the fields
that may not be seen. Counting that cannot be done is for `guards.rates` to judge; authorization asks no store.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any, Final

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    VariableNode,
    Visitor,
    value_from_ast_untyped,
    visit,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from guards.allowances import Bucket, Rate, of_denials, of_user
from guards.errors import BadInput, Forbidden, RateLimited, Refusal
from guards.permissions import Permission
from guards.replays import require_key
from resolvers.actions.performing import entry_of
from resolvers.context import Context
from schema.access import Access, Acting, Choosing, Guarded, Open, place_of
from schema.costs import MOST_FIELDS, Measure, Size
from schema.directives import IDEMPOTENT
from schema.errors import VALIDATION_FAILED

KEPT: Final = 256

ONE_UNIT: Final = 5_000
"""Fields that may be asked for as one operation; ten times as many count like ten."""

RESUMING: Final = frozenset({"after", "from"})
"""The arguments by which a stream is taken up again."""

ANYBODYS: Final = Open()
"""What counts introspection; who may ask for the schema is for `schema.limits` to say."""


@dataclass(frozen=True, slots=True)
class Root:
    """One root field of an operation."""

    place: str
    """Its response key, under which it is let pass."""

    node: FieldNode
    access: Access | None
    """Who may use it; None for introspection."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of an operation without its variables."""

    operation: OperationDefinitionNode
    roots: tuple[Root, ...]
    size: Size
    defaults: Mapping[str, Any]
    """What variables are that are not given."""

    resuming: frozenset[str]
    """The variables that say after what to begin, and nothing else."""

    @property
    def kind(self) -> OperationType:
        """Whether it reads, writes or watches."""
        return self.operation.operation

    @property
    def as_a_whole(self) -> bool:
        """Whether one refused field refuses the operation."""
        return self.kind is not OperationType.QUERY

    def cost(self, variables: Mapping[str, Any]) -> int:
        """Fields that it may answer with these variables."""
        return self.size.fields.of({**self.defaults, **variables})


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
        defaults = {
            each.variable.name.value: value_from_ast_untyped(each.default_value)
            for each in operation.variable_definitions or ()
            if each.default_value is not None
        }
        resuming = frozenset(_resuming(document, roots))
        return Plan(operation, roots, Measure(self._schema, document).of(operation), defaults, resuming)


async def admit(plan: Plan, context: Context, variables: Mapping[str, Any]) -> None:
    """Let an operation pass, or say why not; a refused action is on record.

    Raises:
        GraphQLError: it asks for more than is answered.
        Refusal: the caller may not, or not so often, or the idempotency key does not do.
    """
    context.cost = require_moderate(plan, variables)
    roots: Sequence[Root] = plan.roots
    try:
        roots = list(decided(plan, context, variables))
        admitted = list(_let_pass(plan, roots, context))
        keys = _keys(roots, context, variables)
        await _charge(context, buckets(admitted, context, context.cost))
    except Refusal as refusal:
        await _on_record(roots, context, refusal)
        raise
    context.admitted = keys


async def admit_native(context: Context, permission: Permission | None, *, rate: Rate | None = None) -> None:
    """Let a request pass that does not go through the schema, by the same rules.

    Args:
        permission: None where anybody may.
        rate: a limit that stands in the place of the one of its class.

    Raises:
        Refusal: the caller may not, or not so often.
    """
    access = ANYBODYS if permission is None else _guarded(permission)
    access.admit(context)
    charges = access.charges(context)
    charged = (*charges.once, *charges.each)
    if permission is not None and rate is not None:
        charged = (Bucket(f"{permission}:{of_user(context.caller.user_id)}", permission, rate),)
    await _charge(context, charged)


@cache
def _guarded(permission: Permission) -> Guarded:
    return Guarded(((permission,),))


async def refused_native(context: Context, action: str, refusal: Refusal) -> None:
    """Put on record that something was refused that does not go through the schema, unless all too often already."""
    if context.viewer is None:
        return
    spent = context.spent
    try:
        await _charge(context, (of_denials(context.viewer.user_id),))
    except RateLimited:
        return
    finally:
        context.spent = spent
    await context.services.chain.refuse(context.entry(action), refusal)


def require_moderate(plan: Plan, variables: Mapping[str, Any]) -> int:
    """How many fields an operation may answer, once it is sure that those are no more than are answered.

    Raises:
        GraphQLError: it does.
    """
    cost = plan.cost(variables)
    if cost > MOST_FIELDS:
        told = f"the operation may answer {min(cost, 10**18):.3g} fields, more than {MOST_FIELDS}: ask for fewer rows"
        raise GraphQLError(told, plan.operation, extensions={"code": VALIDATION_FAILED})
    return cost


def decided(plan: Plan, context: Context, variables: Mapping[str, Any]) -> Iterator[Root]:
    """The root fields with what was chosen in their arguments; nobody is told anything of it before they sign in.

    Raises:
        Unauthenticated: nobody is signed in.
        BadInput: it cannot be told what was chosen.
    """
    for root in plan.roots:
        if isinstance(root.access, Choosing):
            assert context.caller
            chosen = root.access.chosen(_arguments(root.node, {**plan.defaults, **variables}))
            assert chosen.action is not None
            yield Root(place_of(root.place, chosen.action), root.node, chosen)
        else:
            yield root


def buckets(roots: Sequence[Root], context: Context, cost: int) -> tuple[Bucket, ...]:
    """What these fields count against, one alias like the other.

    Args:
        cost: fields that the operation may answer; a large one counts like several.
    """
    charges = [(root.access or ANYBODYS).charges(context) for root in roots]
    once = dict.fromkeys(bucket for charge in charges for bucket in charge.once)
    units = max(1, ceil(cost / ONE_UNIT))
    return (
        *(bucket for charge in charges for bucket in charge.each),
        *(msgspec.structs.replace(bucket, units=units) for bucket in once),
    )


def _let_pass(plan: Plan, roots: Sequence[Root], context: Context) -> Iterator[Root]:
    for root in roots:
        try:
            (root.access or ANYBODYS).admit(context)
        except Refusal:
            # A read is told beside the field, by the same object, and still gets what it may see.
            if plan.as_a_whole or context.whole:
                raise
        else:
            yield root


async def _charge(context: Context, charged: tuple[Bucket, ...]) -> None:
    tenant = context.viewer.tenant if context.viewer else ""
    try:
        context.spent = await context.services.rates.charge(tenant, charged)
    except RateLimited as limited:
        context.spent = limited.spent
        raise


async def _on_record(roots: Sequence[Root], context: Context, refusal: Refusal) -> None:
    """Put on record what was refused, unless that was refused all too often already.

    Raises:
        RateLimited: it was; nothing is put on record any more.
    """
    refused = [root.access.action for root in roots if root.access is not None and root.access.action is not None]
    if context.viewer is None:
        return
    spent = context.spent
    if refused or spent is None:
        # What names no action at all is on no record, and counted all the same.
        await _charge(context, (of_denials(context.viewer.user_id),))
    if not refused:
        return
    context.spent = spent
    if isinstance(refusal, RateLimited):
        # A flood is one entry: that of the action whose limit it was, or else of the first.
        refused = [next((action for action in refused if action.name == refusal.policy), refused[0])]
    for action in refused:
        await context.services.chain.refuse(entry_of(context, action, None), refusal)
    if isinstance(refusal, Forbidden):
        caller = context.viewer
        await context.services.lockouts.denied(caller.tenant, caller.user_id, context.trace_id)


def _keys(roots: Sequence[Root], context: Context, variables: Mapping[str, Any]) -> dict[str, str | None]:
    """The idempotency key of each action, by its place."""
    acting = [root for root in roots if isinstance(root.access, Acting)]
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


def _resuming(document: DocumentNode, roots: Sequence[Root]) -> Iterator[str]:
    """The variables by which a root field is taken up again, and that stand nowhere else in the document."""
    uses = Counter[str]()

    class Uses(Visitor):
        def enter_variable(self, node: VariableNode, *_: Any) -> None:
            uses[node.name.value] += 1

    visit(document, Uses())
    for root in roots:
        for argument in root.node.arguments or ():
            value = argument.value
            # Once where it is declared, once here.
            if argument.name.value in RESUMING and isinstance(value, VariableNode) and uses[value.name.value] == 2:
                yield value.name.value


def _arguments(node: FieldNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent to a field, as it was sent."""
    found = {each.name.value: value_from_ast_untyped(each.value, dict(variables)) for each in node.arguments or ()}
    return {name: value for name, value in found.items() if value is not Undefined}


def _root(parent: GraphQLObjectType, node: FieldNode) -> Root:
    place = (node.alias or node.name).value
    field = parent.fields.get(node.name.value)
    if field is None:
        return Root(place, node, None)
    access = next((each for each in _declared(field).extensions if isinstance(each, Access)), None)
    return Root(place, node, access)


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
