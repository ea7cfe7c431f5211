"""Operations, as far as the caller may see them: all of the tenant's for those who look after it, else their own."""

from uuid import UUID

import msgspec

from db import operations
from db.operations import Filter, Operation
from db.pages import Order, Page, Window
from guards.permissions import Permission
from resolvers.context import Context


async def by_id(context: Context, operation_id: UUID) -> Operation | None:
    """One operation; None when there is none that the caller may see."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        found = await operations.by_id(tx, operation_id, owner=owner(context))
    return None if found is None else shown(context, found)


async def listed(context: Context, wanted: Filter, order: Order, window: Window) -> Page[Operation]:
    """One page of operations."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        page = await operations.listed(tx, wanted, order, window, owner=owner(context))
    return msgspec.structs.replace(page, items=[shown(context, each) for each in page.items])


async def how_many(context: Context, wanted: Filter) -> int:
    """How many operations a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await operations.how_many(tx, wanted, owner=owner(context))


def owner(context: Context) -> UUID | None:
    """Whose operations alone the caller may see, or None for all of the tenant's."""
    return None if context.may(Permission.OPERATION_READ) else context.caller.user_id


def shown(context: Context, operation: Operation) -> Operation:
    """An operation as the caller may see it: what it answers is for who asked, and for who might ask for the same."""
    if operation.actor_id == context.caller.user_id or context.may(Permission(operation.action)):
        return operation
    return msgspec.structs.replace(operation, result=None)
