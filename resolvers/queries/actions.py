"""What a caller may do, and how much of it is left to them just now."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from db.rows import Row
from guards.allowances import Class, Left, of_action, of_user
from guards.breakers import Dependency
from guards.permissions import ADMIN_READS, Permission, inside_only
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action, Idempotency, Payload, View
from resolvers.context import Context


class Allowance(Row, frozen=True):
    """One limit, and what is left of it to the caller."""

    name: str
    limit: int
    """Units in one window."""

    window_s: int
    remaining: int
    reset_at: datetime
    """When there is more than now; now, when nothing is used."""


class RateLimit(Row, frozen=True):
    """How often the caller may ask."""

    limit: int
    """Operations a minute."""

    cost: int
    """Fields that this operation may answer, as far as could be told before it ran."""

    remaining: int
    reset_at: datetime
    """When there is more than now; now, when nothing is used."""

    policies: list[Allowance]
    """Every limit that the caller's operations count against, beside those of single actions."""

    degraded: bool
    """Whether this process counts alone just now, for want of Redis."""


class Offer(Row, frozen=True):
    """An action, and whether the caller may use it."""

    name: str
    field: str
    """Its mutation."""

    view: View
    """Where in the console it is found."""

    description: str
    permission: Permission
    allowed: bool
    """Whether the caller holds the permission, and calls from where it may be used."""

    limit: int
    """How often one caller may, a minute."""

    remaining: int | None
    """How often this caller still may just now; null for one who may not."""

    idempotency: Idempotency
    destructive: bool
    """Whether what it takes away cannot be had back."""

    long: bool
    """Whether it outlives its call, as an operation that can be watched."""

    depends_on: Dependency | None
    target: str | None
    """The field of the payload that says what it is about."""

    payload: dict[str, Any]
    """What it is given, as JSON Schema."""


async def rate_limit(context: Context) -> RateLimit:
    """How often the caller may ask."""
    who = of_user(context.caller.user_id)
    classes = [Class.USER, Class.WATCH]
    if any(map(context.may, ADMIN_READS)):
        classes.append(Class.ADMIN_READ)
    if any(context.may(action.permission) and inside_only(action.permission) for action in CATALOGUE.values()):
        classes.append(Class.ADMIN_ACTION)
    buckets = [bucket for each in classes for bucket in each.buckets(who)]
    spent = await context.services.rates.left(context.caller.tenant, buckets)
    own, *others = [_allowance(left) for left in spent.left]
    return RateLimit(
        limit=own.limit,
        cost=context.cost or 0,
        remaining=own.remaining,
        reset_at=own.reset_at,
        policies=[own, *others],
        degraded=spent.degraded,
    )


async def offers(context: Context) -> list[Offer]:
    """Every action there is, with what the caller may do with it."""
    allowed = {name for name, action in CATALOGUE.items() if context.may(action.permission)}
    buckets = [
        of_action(context.caller.user_id, action.name, action.per_minute, destructive=action.destructive)
        for action in CATALOGUE.values()
        if action.name in allowed
    ]
    spent = await context.services.rates.left(context.caller.tenant, buckets)
    remaining = {left.name: left.remaining for left in spent.left}
    return [_offer(action, action.name in allowed, remaining) for action in CATALOGUE.values()]


@cache
def payload_schema(kind: type[Payload]) -> dict[str, Any]:
    """What a payload is like, as JSON Schema."""
    whole = msgspec.json.schema(kind)
    definitions = whole.get("$defs", {})
    found: dict[str, Any] = definitions.pop(whole.pop("$ref").rpartition("/")[2]) if "$ref" in whole else whole
    if kind.ONE_OF:
        found = {**found, "minProperties": 1, "maxProperties": 1}
    return {**found, "$defs": definitions} if definitions else found


def _offer(action: Action[Any, Any], allowed: bool, remaining: Mapping[str, int]) -> Offer:
    payload: type[Payload] = action.payload
    return Offer(
        name=action.name,
        field=action.field,
        view=action.view,
        description=action.doc.partition("\n\n")[0],
        permission=action.permission,
        allowed=allowed,
        limit=action.per_minute,
        remaining=remaining.get(action.name),
        idempotency=action.idempotency,
        destructive=action.destructive,
        long=action.long,
        depends_on=action.depends_on,
        target=action.target,
        payload=payload_schema(payload),
    )


def _allowance(left: Left) -> Allowance:
    reset_at = datetime.now(UTC) + timedelta(seconds=left.reset_s)
    return Allowance(left.name, left.limit, left.window_s, left.remaining, reset_at)
