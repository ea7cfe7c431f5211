"""What can be read of actions: which there are, how often they may be used, and how those at work come along."""

from functools import partial
from typing import Any, Protocol, cast

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON

from db import operations as operation_rows
from guards.errors import BadInput
from guards.permissions import Permission
from resolvers.queries import actions, operations
from schema.connections import Connection, connection, window
from schema.explaining import explained, faulty
from schema.fields import Info, described, requires
from schema.inputs import OperationFilter, OperationOrder
from schema.plan import Plan
from schema.scalars import uuid_of
from schema.types.actions import Action, OperationExplanation, RateLimit
from schema.types.operations import Operation

EXPLAINING: int = 10_000
"""A document is validated for it that no cache knows: a few of those are a whole operation's work."""


class Planning(Protocol):
    """A schema that can say what it would do."""

    def plan(self, text: str, name: str | None = None) -> Plan:
        """The plan of an operation, without running it."""


@described
class Actions:
    """Actions, their limits and their operations."""

    @requires(Permission.ME_READ, gives=list[Action] | None, weight=100)
    async def action_catalogue(self, info: Info) -> list[actions.Offer]:
        """Every action there is, with what the caller may do with it just now."""
        return await actions.offers(info.context)

    @requires(Permission.ME_READ, gives=RateLimit | None)
    async def rate_limit(self, info: Info) -> actions.RateLimit:
        """How often the caller may ask, and how much of it is left; asking counts as well."""
        return await actions.rate_limit(info.context)

    @requires(Permission.ME_READ, gives=OperationExplanation | None, weight=EXPLAINING)
    async def explain_operation(
        self, info: Info, document: str, operation_name: str | None = None, variables: JSON | None = None
    ) -> OperationExplanation:
        """What would come of an operation, were it run by the caller now; it is not."""
        given: Any = {} if variables is None else variables
        if not isinstance(given, dict):
            raise BadInput("variables: they must be an object")
        try:
            plan = cast(Planning, info.schema).plan(document, operation_name)
        except GraphQLError as error:
            return faulty(error.message)
        return await explained(plan, info.context, given)

    @requires(Permission.OPERATION_READ, Permission.ME_READ, gives=Operation | None)
    async def operation(self, info: Info, id: strawberry.ID) -> operation_rows.Operation | None:
        """An action on its way; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await operations.by_id(info.context, key)

    @requires(Permission.OPERATION_READ, Permission.ME_READ, gives=Connection[Operation] | None)
    async def operations(
        self,
        info: Info,
        filter: OperationFilter | None = None,
        order_by: OperationOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """Actions that outlive their call, the newest first; the caller's own, or all for those who look after them."""
        wanted = (filter or OperationFilter()).wanted()
        page = await operations.listed(
            info.context, wanted, (order_by or OperationOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(operations.how_many, info.context, wanted))
