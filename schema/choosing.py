"""Carrying out whichever action is named: for consoles that have one button for all of them, and for older clients.

Both fields pass through the same plan and the same chain as the mutation of the action itself; the plan looks into
their arguments to know what that is.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import strawberry
from strawberry.scalars import JSON
from strawberry.types.field import StrawberryField

from db.models.guards import OperationState
from guards.errors import OperationFailed
from resolvers.actions.contract import Action
from resolvers.actions.performing import perform
from schema.access import Choosing, place_of
from schema.fields import Info, described, fields_of, guarded, shown
from schema.payloads import Types, plain
from schema.scalars import Nothing
from schema.types.operations import Operation

Catalogue = Mapping[str, Action[Any, Any]]


@described
class AdminActionPayload:
    """What the chosen action answers."""

    action: str
    result: JSON | None
    """As its own mutation would show it, with underscores; null while its operation has not ended."""

    operation: Operation | None
    """How far it is, for an action that outlives its call."""

    replayed: bool
    """Whether it was carried out before, under the same idempotency key."""

    trace_id: str
    """Under which it is on record."""

    duration_ms: float
    """How long it took, measured."""


def fields(catalogue: Catalogue, types: Types) -> list[StrawberryField]:
    """The two fields."""
    members = {name.replace(".", "_"): action for name, action in catalogue.items()}
    chosen = _input(members, types)
    by_field = Choosing({action.field: action for action in catalogue.values()}, "input", named=False)
    by_name = Choosing(catalogue, "name", named=True)

    class Chosen:
        """Whichever action."""

        @guarded(by_field)
        async def admin_action(self, info: Info, input: chosen) -> AdminActionPayload:  # type: ignore[valid-type]  # made at run time
            """Carry out the one action that is given."""
            [(name, given)] = plain(input).items()
            return await _performed(info, members[name], given, older=False)

        @guarded(by_name)
        async def action_by_name(self, info: Info, name: str, payload: JSON | None = None) -> AdminActionPayload:
            """Carry out an action as older clients ask for it.

            Other names of fields are understood, numbers may be written as text, and unknown fields are passed over.
            """
            return await _performed(info, catalogue[name], payload, older=True)

    return fields_of(described(Chosen))


async def _performed(info: Info, action: Action[Any, Any], given: Any, *, older: bool) -> AdminActionPayload:
    assert info.path.prev is None
    place, began = place_of(str(info.path.key), action), time.perf_counter()
    performed = await perform(info.context, action, {} if given is None else given, place=place, older=older)
    operation = performed.operation
    if older and operation is not None and operation.state is OperationState.FAILED:
        # Older clients look no further than whether the call went well.
        raise OperationFailed(operation.error_message or "it could not be carried out")
    return AdminActionPayload(
        action=action.name,
        result=None if performed.result is None else msgspec.to_builtins(performed.result),
        operation=shown(operation),
        replayed=performed.replayed,
        trace_id=info.context.trace_id,
        duration_ms=round((time.perf_counter() - began) * 1000, 1),
    )


def _input(members: Mapping[str, Action[Any, Any]], types: Types) -> Any:
    namespace: dict[str, Any] = {"__annotations__": {}}
    for name, action in members.items():
        given = types.input(action) if msgspec.structs.fields(action.payload) else Nothing
        namespace["__annotations__"][name] = strawberry.Maybe[given]  # type: ignore[misc, valid-type]  # made at run time
        namespace[name] = strawberry.field(description=f"Carries out `{action.name}`.")
    return strawberry.input(
        type("AdminActionInput", (), namespace),
        name="AdminActionInput",
        description="One action with what it is given.",
        one_of=True,
    )
