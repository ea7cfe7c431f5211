"""What an action is: a payload, a function, and the rules that stand around it.

A row of the catalogue is one decorated function with its payload class right above it. Everything that is known of an
action elsewhere (its mutation, its directives, the audit entry, the documentation) is read off the row; its permission
is its name. Who may is said in `guards.permissions` and nowhere else.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Generic, TypedDict, TypeVar, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Meta
from typing_extensions import Unpack

from db.database import Transaction
from db.operations import Operation
from db.rows import Row
from guards.breakers import Dependency
from guards.callers import Caller
from guards.permissions import Permission
from resolvers.context import Context, Services

KEPT: Final = {"kept": True}
"""In the `extra` of a text's `Meta`: it may be put on record. Numbers, flags, ids and words of an enum always may."""

JobId = Annotated[UUID, Meta(extra={"names": "job"})]
UploadId = Annotated[UUID, Meta(extra={"names": "upload"})]
AgentId = Annotated[str, Meta(max_length=50, extra={**KEPT, "id": True})]
WorkerId = Annotated[str, Meta(max_length=200, extra={**KEPT, "id": True})]
Priority = Annotated[int, Meta(ge=0, le=10)]
"""0 (can wait) to 10 (first)."""

Big = Annotated[int, Meta(extra={"big": True})]
"""A whole number that may be more than 32 bits, in a result."""


class View(StrEnum):
    """Where in the console an action is found."""

    JOBS_QUEUE = "Jobs & Queue"
    DASHBOARD = "Dashboard"
    SYSTEM_CONTROLS = "SystemControls"
    AGENTS_WORKERS = "AgentsWorkers"
    MANAGERS = "Managers"
    SYSTEM_LOGS = "SystemLogs"
    CONFIGURATION = "Configuration"
    ANALYTICS = "Analytics"
    EXTRA = "Extra"
    EVERYDAY = "Everyday"
    """What the people do whose jobs these are."""

    GUARDS = "Guards"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What an action is given; its constraints are checked after the caller was let pass, and before it runs."""

    ONE_OF: ClassVar[bool] = False
    """Whether exactly one of its fields is given."""


class Empty(Payload, frozen=True):
    """Nothing."""


class Idempotency(StrEnum):
    """What an idempotency key does for an action."""

    SUPPORTED = "supported"
    """The answer of the first call under a key is the answer of every later one."""

    NATURAL = "natural"
    """It changes nothing, so a key makes no difference."""


P = TypeVar("P", bound=Payload)
R = TypeVar("R", bound=Row)


@dataclass(slots=True)
class Call(Generic[R]):
    """One action being carried out, inside its transaction."""

    context: Context
    tx: Transaction
    """Everything the action changes, it changes here: it is committed with the audit entry, or not at all."""

    prepared: Any = None
    """What the action's `prepare` has found, before there was a transaction."""

    finishing: Callable[[R], Awaitable[R]] | None = None

    @property
    def caller(self) -> Caller:
        """Who asks; already let pass."""
        return self.context.caller

    @property
    def services(self) -> Services:
        """What this process has."""
        return self.context.services

    def afterwards(self, finish: Callable[[R], Awaitable[R]]) -> None:
        """Have the result completed once the transaction is committed, such as by waiting for workers to obey.

        What it waits for needs a bound of a few seconds. Should it fail, the action is done all the same.
        """
        self.finishing = finish


@dataclass(frozen=True, slots=True)
class Work:
    """One long action being carried out after its call was answered, without a transaction of its own."""

    context: Context
    operation: Operation

    @property
    def caller(self) -> Caller:
        """Who asked; let pass when they did."""
        return self.context.caller

    @property
    def services(self) -> Services:
        """What this process has."""
        return self.context.services

    async def report(self, progress: float, message: str | None = None) -> None:
        """Say how far it is, in 0.0..1.0, and where."""
        await self.services.operations.report(self.operation, progress, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Generic[P, R]):
    """A row of the catalogue."""

    name: str
    """`job.cancel`; the permission, the audit entry and, in camel case, the mutation are called the same."""

    view: View
    payload: type[P]
    result: type[R]
    doc: str
    """What it does, for a person."""

    per_minute: int = 50
    """How often one caller may."""

    idempotency: Idempotency = Idempotency.SUPPORTED
    destructive: bool = False
    """Whether what it takes away cannot be had back."""

    depends_on: Dependency | None = None
    """What its circuit breaker watches, beside the database."""

    target: str | None = None
    """The field of the payload that says what it is about."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    """Fields of the payload by the other names that older clients know them under."""

    prepare: Callable[[Context, P], Awaitable[Any]] | None = None
    """What must be done before there is a transaction, such as reading or writing files; changes no row."""

    carried: Callable[[Call[R], P], Awaitable[R]] | None = None
    """What it does within the call, or None for one that outlives it."""

    carried_later: Callable[[Work, P], Awaitable[R]] | None = None
    """What it does after the call was answered, or None for one that needs no longer."""

    @property
    def permission(self) -> Permission:
        """What is needed to use it."""
        return Permission(self.name)

    @property
    def field(self) -> str:
        """What its mutation is called."""
        first, *rest = self.name.replace(".", "_").split("_")
        return first + "".join(word.capitalize() for word in rest)

    @property
    def long(self) -> bool:
        """Whether it outlives its call, as an operation."""
        return self.carried_later is not None


class Rules(TypedDict, total=False):
    """What may be said of an action beside its function."""

    per_minute: int
    """How often one caller may; 50 unless said otherwise."""

    destructive: bool
    """What it takes away cannot be had back."""

    depends_on: Dependency
    """What its circuit breaker watches."""

    target: str
    """The field of the payload that says what it is about."""

    aliases: Mapping[str, str]
    """Other names of payload fields, as older clients send them."""

    prepare: Callable[[Context, Any], Awaitable[Any]]
    """What must be done before there is a transaction, such as reading or writing files; becomes `Call.prepared`."""


def action(
    name: str, view: View, *, natural: bool = False, **rules: Unpack[Rules]
) -> Callable[[Callable[[Call[R], P], Awaitable[R]]], Action[P, R]]:
    """A row whose function does its work within the call, in one transaction.

    Args:
        natural: it changes nothing, so that it may run any number of times.
    """
    idempotency = Idempotency.NATURAL if natural else Idempotency.SUPPORTED

    def decorated(function: Callable[[Call[R], P], Awaitable[R]]) -> Action[P, R]:
        payload, result = _signature(function)
        return Action(
            name=name,
            view=view,
            payload=payload,
            result=result,
            doc=inspect.getdoc(function) or "",
            idempotency=idempotency,
            carried=function,
            **rules,
        )

    return decorated


def operation(
    name: str, view: View, **rules: Unpack[Rules]
) -> Callable[[Callable[[Work, P], Awaitable[R]]], Action[P, R]]:
    """A row whose function may take minutes: the call answers with an operation that can be watched."""

    def decorated(function: Callable[[Work, P], Awaitable[R]]) -> Action[P, R]:
        payload, result = _signature(function)
        return Action(
            name=name,
            view=view,
            payload=payload,
            result=result,
            doc=inspect.getdoc(function) or "",
            carried_later=function,
            **rules,
        )

    return decorated


def _signature(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The payload and the result of an action's function."""
    _, payload, result = get_type_hints(function).values()
    return payload, result
