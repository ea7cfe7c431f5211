"""Actions and limits, as a caller may use them; and what would come of an operation, were it run."""

from datetime import datetime

from strawberry.scalars import JSON

from guards.breakers import Dependency
from guards.permissions import Permission
from resolvers.actions.contract import Idempotency, View
from resolvers.queries import actions
from schema.fields import described, shows


@shows(actions.Allowance)
class Allowance:
    """One limit, and what is left of it to the caller."""

    name: str
    limit: int
    window_s: int
    remaining: int
    reset_at: datetime


@shows(actions.RateLimit)
class RateLimit:
    """How often the caller may ask."""

    limit: int
    cost: int
    remaining: int
    reset_at: datetime
    policies: list[Allowance]
    degraded: bool


@shows(actions.Offer)
class Action:
    """An action, and whether the caller may use it."""

    name: str
    field: str
    view: View
    description: str
    permission: Permission
    allowed: bool
    limit: int
    remaining: int | None
    idempotency: Idempotency
    destructive: bool
    long: bool
    depends_on: Dependency | None
    target: str | None
    payload: JSON


@described
class FieldExplanation:
    """A root field of an operation."""

    place: str
    """The key it answers under."""

    field: str
    action: str | None
    """The action that it carries out."""

    permissions: list[list[Permission]]
    """All of one of these lists are needed; empty for what everybody may."""

    allowed: bool
    missing: list[Permission]
    """What the caller lacks, or holds but may not use from here."""

    refusal: str | None
    """What the caller would be told; null when they may."""


@described
class LimitExplanation:
    """A limit that an operation counts against."""

    name: str
    limit: int
    window_s: int
    units: int
    """How much of it the operation takes."""

    remaining: int
    enough: bool


@described
class OperationExplanation:
    """What would come of an operation, were it run by this caller now."""

    errors: list[str]
    """What is wrong with the document, or with what it is given; then nothing else is known."""

    kind: str | None
    """Whether it is a query, a mutation or a subscription."""

    depth: int | None
    cost: int | None
    """Fields that it may answer with these variables."""

    most_cost: int
    """How many are answered at most."""

    allowed: bool
    """Whether all of its fields may be used; a query is run for those that may."""

    missing: list[Permission]
    fields: list[FieldExplanation]
    limits: list[LimitExplanation]
    """What it counts against, for the fields that may be used."""

    cacheable: bool
    """Whether it reads nothing but the snapshot, so that its answer is the same until the next one."""

    shareable: bool
    """Whether its answer is the same for everybody of the tenant who may ask."""
