"""What a row of the endpoint table says: what is asked for, what answers, and how the answer looks.

A row runs a stored GraphQL operation, so that the same guards stand around it as around the field. Only what cannot go
through GraphQL, because it is bytes or because nobody is known yet, is answered by a handler, and then names what it
takes.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from guards.allowances import Rate
from guards.permissions import Permission
from resolvers.context import Context

Answer = Mapping[str, Any]
"""What an endpoint has to show: `data`, `pagination` if it is paged, and every root field of its operation."""

Shown = str | Callable[[Answer], Any] | type
"""A dotted path into an answer, or what is made of it; a function's annotation says what its result looks like."""

Native = Callable[[Request, Context], Awaitable[Mapping[str, Any]]]
Direct = Callable[[Request, Context], Awaitable[Response]]


class Tag(StrEnum):
    """The chapters of the documentation."""

    ADMIN = "admin"
    JOBS = "jobs"
    AGENTS = "agents"
    UPLOAD = "upload"
    QUEUE = "queue"
    CLIPS = "clips"
    SYSTEM = "system"
    MISC = "misc"


class Own(StrEnum):
    """What the application itself answers, because only it knows."""

    ROOT = "root"
    HEALTH = "health"


class Place(StrEnum):
    """Where in a request a value comes from."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class From:
    """One value of a request."""

    place: Place
    names: tuple[str, ...]
    """What clients call it; the first that is there counts."""

    read: Callable[[Any, Context], Any] | None = None
    """How it is understood where older clients spell it differently; refuses what it does not understand."""


def path(name: str, *, read: Callable[[Any, Context], Any] | None = None) -> From:
    """A parameter of the path."""
    return From(Place.PATH, (name,), read)


def query(*names: str, read: Callable[[Any, Context], Any] | None = None) -> From:
    """A parameter of the query string."""
    return From(Place.QUERY, names, read)


def body(*names: str, read: Callable[[Any, Context], Any] | None = None) -> From:
    """A key of the JSON body, or of an object in it as `outer.inner`; without a name, the body as a whole."""
    return From(Place.BODY, names, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row."""

    method: str
    path: str
    """Below a prefix, with parameters in braces."""

    tag: Tag
    summary: str
    """What it answers, for the documentation."""

    status: int = 200
    operation: str | None = None
    """The stored operation that it runs."""

    variables: Mapping[str, From] = field(default_factory=dict)
    """Where each variable of the operation comes from; a value that is not there is left out."""

    shown: tuple[str, ...] = ()
    """The path to what becomes `data`, in the operation's answer."""

    paged: bool = False
    """Whether `shown` leads to a connection, whose nodes are given page by page.

    The page is read into the variables `first` and `offset` of the operation, which selects `totalCount`.
    """

    native: Native | None = None
    """What answers instead of an operation."""

    direct: Direct | None = None
    """What answers with bytes, without an envelope made for it."""

    own: Own | None = None
    """What the application answers; served at the top, not below the prefixes."""

    asks: type | None = None
    """What is read besides the variables, for the description: a TypedDict of the body, or else of the query string."""

    answers: type | None = None
    """What `data` is like where no operation and no annotation tells."""

    form: type | None = None
    """The form that a native one reads, as a TypedDict of its fields."""

    permission: Permission | None = None
    """What a native or direct one takes; an operation's fields say so themselves."""

    rate: Rate | None = None
    """How often such a one may be asked, where that is not what its class says."""

    audited: str | None = None
    """Under what a native one that changes something is on record, and a GET that does when it is refused to a site."""

    beside: Mapping[str, Shown] = field(default_factory=dict)
    """Keys at the top level below `/api`, for clients from before; `*` spreads what it leads to.

    A direct one writes them itself: there a type may say what they are like.
    """

    changes: bool = False
    """For a GET that runs a mutation because it always was so: that this is known."""

    strict: bool = False
    """Whether a body with a key that nothing reads is refused: where what is left out means everything."""

    deprecated: bool = False
    """Whether it is kept only for those who use it."""
