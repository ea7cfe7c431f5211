"""What can be watched of actions on their way."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from db.events import Kind
from db.operations import Operation as OperationRow
from guards.errors import NotFound
from guards.permissions import Permission
from resolvers.queries import operations
from schema.actions import found
from schema.fields import Info, described, nested, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.operations import Operation


@described
class OperationChange(Change):
    """An action on its way has come further, or ended."""

    @nested()
    def operation_id(self) -> strawberry.ID:
        """Which it is, also when it was removed."""
        return strawberry.ID(self.event.entity_id)

    @nested(gives=Operation | None)
    async def operation(self, info: Info) -> OperationRow | None:
        """As it is now; null when it was removed."""
        return await operations.by_id(info.context, found("operation", self.event.entity_id))


OperationUpdate = Annotated[
    OperationChange | Resync,
    strawberry.union("OperationUpdate", description="An action on its way has come further, or some have."),
]


@described
class Operations:
    """Actions that outlive their call, as they come further."""

    @watches(Permission.OPERATION_READ, Permission.ME_READ)
    async def operation_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[OperationUpdate]:
        """Changes of one action on its way, or of all that the caller may see; goes on when it has ended."""
        entity = None if id is None else found("operation", id)
        if entity is not None and await operations.by_id(info.context, entity) is None:
            raise NotFound(f"there is no operation {entity}")
        async for update in watched(
            info.context,
            Kind.OPERATION_CHANGED,
            after,
            lambda event: OperationChange(event=event),
            owner=operations.owner(info.context),
            entity=None if entity is None else str(entity),
        ):
            yield update
