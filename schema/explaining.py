"""Explaining an operation instead of running it: by the same plan, the same access and the same limits."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphql import GraphQLError

from guards.allowances import merged
from guards.errors import Refusal
from guards.permissions import Permission
from resolvers.context import Context
from schema.access import Guarded, Seen
from schema.costs import MOST_FIELDS
from schema.plan import Plan, Root, buckets, decided
from schema.types.actions import FieldExplanation, LimitExplanation, OperationExplanation

LARGEST_INT: Final = 2**31 - 1


def faulty(*errors: str) -> OperationExplanation:
    """What is said of an operation that would not be run at all."""
    return OperationExplanation(
        errors=list(errors),
        kind=None,
        depth=None,
        cost=None,
        most_cost=MOST_FIELDS,
        allowed=False,
        missing=[],
        fields=[],
        limits=[],
        cacheable=False,
        shareable=False,
    )


async def explained(plan: Plan, context: Context, variables: Mapping[str, Any]) -> OperationExplanation:
    """What would come of an operation that is found valid."""
    try:
        roots = list(decided(plan, context, variables))
        fields = [_field(root, context) for root in roots]
        cost = plan.cost(variables)
    except (Refusal, GraphQLError) as error:
        return faulty(str(error))
    allowed = [root for root, field in zip(roots, fields, strict=True) if field.allowed]
    seen = {root.access.seen for root in roots if root.access is not None}
    return OperationExplanation(
        errors=[],
        kind=plan.kind.value,
        depth=plan.size.depth,
        cost=min(cost, LARGEST_INT),
        most_cost=MOST_FIELDS,
        allowed=len(allowed) == len(roots),
        missing=list(dict.fromkeys(each for field in fields for each in field.missing)),
        fields=fields,
        limits=await _limits(allowed, context, cost),
        cacheable=seen == {Seen.CACHED} and not plan.as_a_whole,
        shareable=bool(seen) and Seen.BY_ONE not in seen,
    )


def _field(root: Root, context: Context) -> FieldExplanation:
    access = root.access
    refusal = None
    try:
        if access is not None:
            access.admit(context)
    except Refusal as refused:
        refusal = str(refused)
    ways = access.ways if isinstance(access, Guarded) else ()
    return FieldExplanation(
        place=root.place,
        field=root.node.name.value,
        action=access.action.name if access is not None and access.action is not None else None,
        permissions=[list(way) for way in ways],
        allowed=refusal is None,
        missing=_missing(ways[0], context) if refusal is not None and ways else [],
        refusal=refusal,
    )


def _missing(way: Sequence[Permission], context: Context) -> list[Permission]:
    return [permission for permission in way if not context.may(permission)]


async def _limits(roots: Sequence[Root], context: Context, cost: int) -> list[LimitExplanation]:
    wanted = merged(buckets(roots, context, cost))
    spent = await context.services.rates.left(context.viewer.tenant if context.viewer else "", wanted)
    return [
        LimitExplanation(
            name=left.name,
            limit=left.limit,
            window_s=left.window_s,
            units=bucket.units,
            remaining=left.remaining,
            enough=bucket.units <= left.remaining,
        )
        for bucket, left in zip(wanted, spent.left, strict=True)
    ]
