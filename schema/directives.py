"""The words that the SDL says about a field beside its type: who may, how often, at what price, and what is kept of it.

A directive is written by the object that sees to what it says: `schema.access` for root fields, `schema.payloads` for
inputs, `schema.limits` for what an answer weighs. None is ever put beside a field by hand.
"""

from enum import Enum
from typing import Final

import strawberry
from graphql import GraphQLArgument, GraphQLDirective, GraphQLNonNull, GraphQLString
from graphql.language import DirectiveLocation
from strawberry.schema_directive import Location

from db.levels import Algorithm
from guards.allowances import BURST_WINDOW_S
from guards.breakers import Dependency
from guards.permissions import Permission
from resolvers.actions import contract

IDEMPOTENT: Final = GraphQLDirective(
    "idempotent",
    [DirectiveLocation.FIELD],
    {"key": GraphQLArgument(GraphQLNonNull(GraphQLString), description="16 to 128 letters, digits, `_` or `-`.")},
    description="Does the action once, however often it is sent with this key.",
)
"""The one that clients may put beside a field of theirs."""


class Policy(Enum):
    """What is asked of a caller beside a permission."""

    INSIDE = "inside"
    """They call from an allowed address."""

    HOUSE = "house"
    """They are of the tenant that runs the installation."""

    CHOSEN_ACTION = "chosen_action"
    """They may use the action that they choose, with all that it requires."""


class AuditLevel(Enum):
    """When a call is put on record."""

    ALWAYS = "always"
    """Whether it was done, refused or denied, and before the caller hears of it."""

    SESSION = "session"
    """Whether a session was begun, renewed or ended, and failures to, which count towards the lockout as well."""


class IdempotencyMode(Enum):
    """What an idempotency key does for a mutation."""

    SUPPORTED = contract.Idempotency.SUPPORTED
    """The answer of the first call under a key is the answer of every later one."""

    NATURAL = contract.Idempotency.NATURAL
    """It changes nothing, so that a key makes no difference."""

    NONE = "none"
    """A key makes no difference: every call counts."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION], name="public", description="Everybody may use it, signed in or not."
)
class Public:
    """`@public`"""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="requires",
    description="Only who holds all permissions of one of the lists, and keeps to each policy, may use it.",
)
class Requires:
    """`@requires(permissions: [[JOB_READ]])`"""

    permissions: list[list[Permission]]
    policy: list[Policy] | None = strawberry.UNSET


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="rateLimit",
    repeatable=True,
    description=f"How often: `limit` times in `window` seconds, and `burst` times in any {BURST_WINDOW_S}. "
    "An operation that may answer thousands of fields counts like several.",
)
class RateLimit:
    """`@rateLimit(limit: 50, window: 60, algorithm: SLIDING_WINDOW, bucket: "admin-action", burst: 17)`"""

    limit: int
    window: int
    algorithm: Algorithm
    bucket: str
    """What counts it; fields that name the same share it."""

    burst: int | None = strawberry.UNSET


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="cost",
    description="What it weighs in the size of an operation, beside what is asked for inside of it; 1 unless said.",
)
class Cost:
    """`@cost(weight: 10)`"""

    weight: int


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="listSize",
    description="How many entries it is taken to have: as many as one of the arguments says, or else as assumed.",
)
class ListSize:
    """`@listSize(assumedSize: 20, slicingArguments: ["first", "last"], sizedFields: ["edges", "nodes"])`"""

    assumed_size: int
    slicing_arguments: list[str] | None = strawberry.UNSET
    sized_fields: list[str] | None = strawberry.UNSET


PAGED: Final = ListSize(assumed_size=20, slicing_arguments=["first", "last"], sized_fields=["edges", "nodes"])
"""What is said of a list that is given in pages."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="idempotency",
    description="What an idempotency key does here, and for how many seconds the answer under it is kept.",
)
class Idempotent:
    """`@idempotency(mode: SUPPORTED, ttl: 86400)`"""

    mode: IdempotencyMode
    ttl: int | None = strawberry.UNSET


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="audited",
    description="When it is put on record, and which fields of its input are left out there.",
)
class Audited:
    """`@audited(level: ALWAYS, redact: ["reason"])`"""

    level: AuditLevel
    redact: list[str] | None = strawberry.UNSET


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="breaker",
    description="While the circuit breaker of this name is open it is refused at once.",
)
class Breaker:
    """`@breaker(name: WORKERS)`"""

    name: Dependency


@strawberry.schema_directive(
    locations=[Location.INPUT_FIELD_DEFINITION], name="constraint", description="What a value must be like."
)
class Constraint:
    """`@constraint(min: 0, max: 10)`"""

    min: float | None = strawberry.UNSET
    max: float | None = strawberry.UNSET
    min_length: int | None = strawberry.UNSET
    max_length: int | None = strawberry.UNSET
    pattern: str | None = strawberry.UNSET
