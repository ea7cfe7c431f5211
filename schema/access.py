"""Who may use a root field, and how often: the directives that say so in the SDL, and the extension that sees to it.

Both come from the same object, so what a reader of the SDL is told is what happens. A root field that says nothing does
not get into a schema. The plan of an operation (`schema.plan`) asks these objects before anything is run, and charges
what they count; beside the field they stand once more, so that nobody who gets there otherwise is let through. A caller
without a verified token has no permission at all.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final
from uuid import UUID

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from guards import replays
from guards.allowances import Bucket, Class, Rate, of_action, of_address, of_user
from guards.errors import BadInput, UnknownAction
from guards.permissions import ADMIN_READS, Permission, inside_only, of_the_house
from resolvers.actions import contract, reading
from resolvers.actions.contract import Action, Payload
from resolvers.context import Context
from schema.directives import (
    Audited,
    AuditLevel,
    Breaker,
    IdempotencyMode,
    Idempotent,
    Policy,
    Public,
    RateLimit,
    Requires,
)

Ways = tuple[tuple[Permission, ...], ...]
"""One of the outer, all of the inner."""

NOBODY: Final = UUID(int=0)
"""Stands for a caller where only the limit itself is asked for."""


class UnguardedField(TypeError):
    """A root field does not say all that it has to; the schema is not built."""


class Seen(Enum):
    """For whom a field has the same answer."""

    BY_ONE = "one"
    """For its caller."""

    BY_SCOPE = "scope"
    """For all who may see the same: everything of a tenant, or what is one owner's."""

    BY_TENANT = "tenant"
    """For all of a tenant who may use it."""

    CACHED = "cached"
    """The same, and it is read from the snapshot, whatever else goes on."""


@dataclass(frozen=True, slots=True)
class Charges:
    """What using a field counts against."""

    each: tuple[Bucket, ...] = ()
    """As often as the field is used."""

    once: tuple[Bucket, ...] = ()
    """Once for an operation, however many of its fields say so."""


class Access(FieldExtension, ABC):
    """What a root field says of who may use it."""

    seen: Seen = Seen.BY_ONE
    action: Action[Any, Any] | None = None
    """The row of the catalogue that it carries out, if it does."""

    def apply(self, field: StrawberryField) -> None:
        """Write the directives into the SDL."""
        field.directives.extend(said for said in self.directives() if said not in field.directives)

    @abstractmethod
    def directives(self) -> tuple[object, ...]:
        """What the SDL says of it."""

    @abstractmethod
    def admit(self, context: Context) -> None:
        """Let the caller pass, or say why not.

        Raises:
            Unauthenticated: nobody is signed in.
            Forbidden: the role does not grant what is needed, or not to this address.
        """

    @abstractmethod
    def charges(self, context: Context) -> Charges:
        """What a caller who was let pass counts against."""

    def resolve(
        self, next_: Callable[..., Any], source: Any, info: strawberry.Info[Context, None], **arguments: Any
    ) -> Any:
        """Admit, then resolve."""
        self.admit(info.context)
        return next_(source, info, **arguments)

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info[Context, None], **arguments: Any
    ) -> Any:
        """Admit, then resolve; a subscription hands on its stream."""
        self.admit(info.context)
        answer = next_(source, info, **arguments)
        return await answer if inspect.isawaitable(answer) else answer


class Open(Access):
    """Everybody."""

    def __init__(self, name: str | None = None, per_minute: int = Class.PUBLIC.per_minute) -> None:
        """
        Args:
            name: of a limit for each address that stands in the place of the one of everything public.
            per_minute: how often.
        """
        self._name = name
        self._rate = Rate(per_minute)

    def directives(self) -> tuple[object, ...]:
        """`@public` and its limit."""
        return Public(), limits(self._buckets("")), *(() if self._name is None else SESSION)

    def admit(self, context: Context) -> None:
        """Let everybody pass."""

    def charges(self, context: Context) -> Charges:
        """The caller's address each time; who is signed in has the limit of a user, except for a limit of its own."""
        if context.viewer is not None and self._name is None:
            return Charges(once=Class.USER.buckets(of_user(context.viewer.user_id)))
        return Charges(each=self._buckets(of_address(context.address)))

    def _buckets(self, who: str) -> tuple[Bucket, ...]:
        if self._name is None:
            return Class.PUBLIC.buckets(who)
        return (Bucket(f"{self._name}:{who}", self._name, self._rate, everywhere=True),)


class Guarded(Access):
    """Callers with certain permissions."""

    def __init__(self, ways: Ways, *, seen: Seen = Seen.BY_ONE) -> None:
        if not ways or not all(ways):
            raise ValueError("name at least one permission, or say `public`")
        self.ways = ways
        self.seen = seen
        self._class = Class.ADMIN_READ if all(ADMIN_READS.intersection(way) for way in ways) else Class.USER

    def directives(self) -> tuple[object, ...]:
        """`@requires` and the limit of its class."""
        return requirement(self.ways), limits(self._class.buckets(""))

    def admit(self, context: Context) -> None:
        """Let pass who holds all permissions of one way, and calls from where they may be used."""
        if any(all(map(context.may, way)) for way in self.ways):
            return
        for permission in self.ways[0]:
            context.require(permission)

    def charges(self, context: Context) -> Charges:
        """The limit of its class, once."""
        return Charges(once=self._class.buckets(of_user(context.caller.user_id)))


class Watched(Guarded):
    """Callers who may be told of changes."""

    def __init__(self, ways: Ways, *, seen: Seen = Seen.BY_ONE) -> None:
        super().__init__(ways, seen=seen)
        self._class = Class.WATCH


class SigningOut(Guarded):
    """Callers who end what they began."""

    def __init__(self) -> None:
        super().__init__(((Permission.ME_READ,),))

    def directives(self) -> tuple[object, ...]:
        """What it requires, and that its session shows it."""
        return *super().directives(), *SESSION


class Acting(Guarded):
    """Callers who may carry out one action of the catalogue, as often as its row says."""

    def __init__(self, action: Action[Any, Any], counted_as: Class | None = None) -> None:
        """
        Args:
            counted_as: the class whose limit it counts against beside its own; that of who may use it unless said.
        """
        super().__init__(((action.permission,),))
        self.action = action
        self._class = counted_as or (Class.ADMIN_ACTION if inside_only(action.permission) else Class.USER)

    def directives(self) -> tuple[object, ...]:
        """All that the row says."""
        assert self.action is not None
        own, *shared = self._buckets(NOBODY)
        watched = () if self.action.depends_on is None else (Breaker(name=self.action.depends_on),)
        payload: type[Payload] = self.action.payload
        return (
            requirement(self.ways),
            limits([own]),
            limits(shared),
            idempotency(self.action.idempotency),
            *watched,
            Audited(
                level=AuditLevel.ALWAYS,
                redact=[to_camel_case(name) for name in reading.redacted(payload)] or strawberry.UNSET,
            ),
        )

    def charges(self, context: Context) -> Charges:
        """The action's own limit and the one of its class, each time."""
        return Charges(each=self._buckets(context.caller.user_id))

    def _buckets(self, user_id: UUID) -> tuple[Bucket, ...]:
        assert self.action is not None
        own = of_action(user_id, self.action.name, self.action.per_minute, destructive=self.action.destructive)
        return own, *self._class.buckets(of_user(user_id))


class Choosing(Access):
    """Callers who may carry out the action that they choose in an argument."""

    def __init__(self, choices: Mapping[str, Action[Any, Any]], argument: str, *, named: bool) -> None:
        """
        Args:
            choices: by what a client calls each.
            argument: what tells which one.
            named: whether the argument is the name of one, or has the one as its only key.
        """
        self._choices = {name: Acting(action, Class.ADMIN_ACTION) for name, action in choices.items()}
        self._argument = argument
        self._named = named

    def directives(self) -> tuple[object, ...]:
        """That it requires what the chosen action does."""
        return (
            Requires(permissions=[], policy=[Policy.CHOSEN_ACTION]),
            limits(Class.ADMIN_ACTION.buckets("")),
            idempotency(contract.Idempotency.SUPPORTED),
            Audited(level=AuditLevel.ALWAYS),
        )

    def chosen(self, arguments: Mapping[str, Any]) -> Acting:
        """What is chosen, by what was sent and not yet looked at otherwise.

        Raises:
            BadInput: nothing, or more than one thing.
            UnknownAction: something that there is not.
        """
        given = arguments.get(self._argument)
        if self._named:
            name = given if isinstance(given, str) else None
        else:
            name = next(iter(given)) if isinstance(given, Mapping) and len(given) == 1 else None
        if name is None:
            raise BadInput("action: choose exactly one")
        found = self._choices.get(name)
        if found is None:
            raise UnknownAction(f"action: {unknown(name, self._choices)}")
        return found

    def admit(self, context: Context) -> None:
        """Let pass whom the plan let pass; what was chosen is looked at once more when it is run."""
        if not context.admitted:
            raise BadInput("action: nothing was chosen")

    def charges(self, context: Context) -> Charges:
        """Nothing; what is chosen does."""
        return Charges()


def requirement(ways: Ways) -> Requires:
    """What the SDL says of permissions, with what the house asks beside those that need it."""
    policies = [
        policy
        for policy, asked in ((Policy.INSIDE, inside_only), (Policy.HOUSE, of_the_house))
        if all(any(map(asked, way)) for way in ways)
    ]
    return Requires(permissions=[list(way) for way in ways], policy=policies or strawberry.UNSET)


def limits(buckets: Iterable[Bucket]) -> RateLimit:
    """What the SDL says of a limit, and of how much of it may be used within a few seconds."""
    limit, *rest = buckets
    return RateLimit(
        limit=limit.rate.limit,
        window=limit.rate.window_s,
        algorithm=limit.rate.algorithm,
        bucket=limit.name,
        burst=rest[0].rate.limit if rest else strawberry.UNSET,
    )


def idempotency(mode: contract.Idempotency) -> Idempotent:
    """What the SDL says of idempotency keys."""
    if mode is contract.Idempotency.NATURAL:
        return Idempotent(mode=IdempotencyMode.NATURAL)
    return Idempotent(mode=IdempotencyMode.SUPPORTED, ttl=int(replays.KEPT_FOR.total_seconds()))


SESSION: Final = (Idempotent(mode=IdempotencyMode.NONE), Audited(level=AuditLevel.SESSION))
"""What the SDL says of what begins, renews or ends a session."""


def place_of(key: str, action: Action[Any, Any]) -> str:
    """Under what the plan lets a chosen action pass; no response key looks like that.

    The action is part of it, so that nothing but what was let pass can be carried out there, should what was sent ever
    be read in two ways.
    """
    return f"{key}/{action.name}"


def unknown(name: str, known: Iterable[str]) -> str:
    """That there is no action of a name, and which may have been meant."""
    near = get_close_matches(name[:100], known, n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else "; ask for actionCatalogue"
    return f"there is no action {name[:50]}{meant}"


def check(roots: Iterable[type]) -> None:
    """Make sure that every root field says who may use it, how often, and what is kept of it, and that this is so.

    Raises:
        UnguardedField: one does not, or says it twice.
    """
    for root in roots:
        definition: Any = root.__strawberry_definition__  # type: ignore[attr-defined]
        for field in definition.fields:
            _check(f"{definition.name}.{field.python_name}", field, changes=definition.name == "Mutation")


def _check(name: str, field: StrawberryField, *, changes: bool) -> None:
    said = [extension for extension in field.extensions if isinstance(extension, Access)]
    if len(said) != 1:
        raise UnguardedField(
            f"{name} must say who may use it: declare it with @requires(Permission.…) or @public(), once"
        )
    [access] = said
    directives = access.directives()
    needed = (RateLimit, *((Idempotent, Audited) if changes else ()))
    wanting = [kind.__name__ for kind in needed if not any(isinstance(each, kind) for each in directives)]
    if wanting:
        raise UnguardedField(f"{name} must also say: {', '.join(wanting)}; make it a row of the catalogue")


def public_names(schema: BaseSchema) -> frozenset[str]:
    """The root fields of queries and mutations that everybody may use, by their names in the SDL."""
    core: Any = schema._schema  # type: ignore[attr-defined]
    roots = (root for root in (core.query_type, core.mutation_type) if root is not None)
    return frozenset(
        name
        for root in roots
        for name, field in root.fields.items()
        if Public() in field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].directives
    )
