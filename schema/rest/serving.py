"""The endpoint table as routes: each row below `/api` and `/api/v1`, with its guards, its envelope and its refusals.

What does not fit together stops the server at its start: a document that does not suit the schema, variables that
nothing fills, a GET that changes something without saying so, a row that another one hides.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, compile_path
from starlette.types import Scope
from strawberry.schema.base import BaseSchema

from db.database import DatabaseUnavailable
from guards.errors import BadInput, NotFound, Refusal, unanswered
from guards.permissions import Permission
from guards.replays import REPLAYED
from resolvers.context import Context
from schema.plan import admit_native, refused_native
from schema.rest import envelope, reading, sites
from schema.rest.endpoints import ENDPOINTS
from schema.rest.operations import Refused, Stored, Unfit, stored
from schema.rest.rows import Answer, Direct, Endpoint, Native, Own, Place, Shown

PREFIXES: Final[Mapping[str, bool]] = {"/api": True, "/api/v1": False}
"""Where the table is served, the newest last, and whether it is there for clients from before."""

NEWEST: Final = "/api/v1"

DEPRECATED_ON: Final = datetime(2026, 11, 23, tzinfo=UTC)
"""Since when everything below `/api` has its successor below `/api/v1`."""

PAGE: Final = frozenset({"first", "offset"})
"""Variables that a page is read into."""

Identify = Callable[[Request], Awaitable[Context]]
Answering = Callable[[Request, Context], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Address:
    """One of the paths at which a row is served."""

    path: str
    older: bool
    """Whether it is one of clients from before, and deprecated."""

    beside: bool
    """Whether the keys that such clients read stand at the top level of its answers."""


_NAMED: Final = re.compile(r"([a-z][\w.]*): (.*)", re.DOTALL)
_UPPER: Final = re.compile("([A-Z])")
_VARIABLE: Final = re.compile(r"Variable '\$(\w+)'(?:[^;]*?; ?| of required type .*| )(.*)", re.DOTALL)


def addresses(row: Endpoint) -> tuple[Address, ...]:
    """The paths at which a row is served, the newest last."""
    if row.own is not None:
        return (Address(row.path, older=False, beside=True),)
    return tuple(Address(f"{prefix}{row.path}", older=older, beside=older) for prefix, older in PREFIXES.items())


def newest(row: Endpoint) -> str:
    """The path at which a row is to be asked for."""
    return addresses(row)[-1].path


def routes(schema: BaseSchema, identify: Identify, own: Mapping[Own, Direct] | None = None) -> list[Route]:
    """The table as routes; fixed paths before those with parameters, so that none hides another.

    Args:
        identify: makes the context of a request, or refuses it.
        own: what the application answers itself; rows that it does not answer are not served.

    Raises:
        Unfit: a stored operation does not fit the schema or its row, or a row is hidden by another.
    """
    ordered = sorted(ENDPOINTS, key=lambda endpoint: [part.startswith("{") for part in endpoint.path.split("/")])
    _require_reachable(ordered)
    rows = [(endpoint, _answering(endpoint, schema)) for endpoint in ordered if endpoint.own is None]
    # The last row of a path without parameters knows that no other of its methods is served.
    last = {endpoint.path: endpoint for endpoint, _ in rows if "{" not in endpoint.path}
    below = [
        _Served(endpoint, address, identify, answering).route(whole=last.get(endpoint.path) is endpoint)
        for endpoint, answering in rows
        for address in addresses(endpoint)
    ]
    return [*own_routes(identify, own or {}), *below]


def own_routes(identify: Identify, own: Mapping[Own, Direct]) -> list[Route]:
    """The rows that the application answers, at the top of its paths."""
    return [
        _Served(endpoint, address, identify, partial(_sent, endpoint, own[endpoint.own])).route()
        for endpoint in ENDPOINTS
        if endpoint.own is not None and endpoint.own in own
        for address in addresses(endpoint)
    ]


class _Whole(Route):
    """A path that is no parameter of another one: what is not done here is not done there either."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Never in part, so that a wrong method is told here."""
        match, child = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child


class _Served:
    """One endpoint at one of its addresses."""

    def __init__(self, endpoint: Endpoint, address: Address, identify: Identify, answering: Answering | Direct) -> None:
        self._endpoint = endpoint
        self._path = address.path
        self._identify = identify
        self._legacy = address.beside
        self._answering = answering
        self._headers = _deprecation(endpoint) if address.older or endpoint.deprecated else {}
        self._templated = address.older and not endpoint.deprecated and "{" in endpoint.path
        if endpoint.changes:
            self._headers = {**self._headers, "cache-control": "no-store"}

    def route(self, *, whole: bool = False) -> Route:
        """The route that leads here.

        Args:
            whole: it answers for its path whatever the method.
        """
        kind = _Whole if whole else Route
        route = kind(self._path, self.respond, methods=[self._endpoint.method])
        if self._endpoint.changes and route.methods is not None:
            # Whoever asks only for the head of an answer does not expect to have changed anything.
            route.methods.discard("HEAD")
        return route

    async def respond(self, request: Request) -> Response:
        """The answer, or the refusal, in the envelope of the prefix, with what is left of the caller's limits."""
        began = time.perf_counter()
        try:
            context = await self._identify(request)
        except Refusal as refusal:
            return envelope.refused(refusal, legacy=self._legacy)
        context.whole = True
        request.state.legacy = self._legacy
        answer = await self._told(request, context, began)
        took_ms = (time.perf_counter() - began) * 1000
        said = {**self._headers, "server-timing": f"app;dur={took_ms:.2f}"}
        if self._templated:
            # As it was sent, still encoded, so that whatever a client writes there ends no header.
            sent = request.scope["raw_path"].decode("ascii", "ignore").removeprefix("/api")
            said["link"] = f'<{NEWEST}{quote(sent, safe="/%")}>; rel="successor-version"'
        if context.spent is not None:
            said |= context.spent.headers()
        if context.told_again:
            said |= REPLAYED
        return _saying(answer, said)

    async def _told(self, request: Request, context: Context, began: float) -> Response:
        try:
            answer = await self._answering(request, context)
        except Refusal as refusal:
            return envelope.refused(refusal, legacy=self._legacy)
        except Refused as refused:
            told = _renamed(str(refused), self._endpoint)
            return envelope.failed(refused.code, told, retry_after=refused.retry_after, legacy=self._legacy)
        except DatabaseUnavailable as error:
            return envelope.refused(unanswered(error), legacy=self._legacy)
        except ClientDisconnect:
            # Nobody reads it; it only has to be no failure of ours.
            return Response(status_code=400)
        if isinstance(answer, Response):
            return answer
        return envelope.told(
            answer["data"],
            self._endpoint.status,
            taken_ms=(time.perf_counter() - began) * 1000,
            pagination=answer.get("pagination"),
            beside=beside(self._endpoint.beside, answer) if self._legacy else None,
        )


def _saying(answer: Response, headers: Mapping[str, str]) -> Response:
    """An answer with headers that stand in the place of what it says under the same names."""
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    answer.raw_headers[:] = [*(field for field in answer.raw_headers if field[0] not in raw), *raw.items()]
    return answer


def beside(keys: Mapping[str, Shown], answer: Answer) -> dict[str, Any]:
    """What stands at the top level for clients from before; what the envelope has is never hidden by it."""
    found: dict[str, Any] = {}
    for key, shown in keys.items():
        value = _at(answer, shown.split(".")) if isinstance(shown, str) else shown(answer)
        if key == "*":
            found |= {name: each for name, each in value.items() if name not in envelope.RESERVED}
        else:
            found[key] = value
    return found


def _at(answer: Answer, steps: Iterable[str]) -> Any:
    found: Any = answer
    for step in steps:
        found = None if found is None else found[step]
    return found


def _answering(endpoint: Endpoint, schema: BaseSchema) -> Answering | Direct:
    if endpoint.native is not None:
        return partial(_handled, endpoint, endpoint.native)
    if endpoint.direct is not None:
        return partial(_sent, endpoint, endpoint.direct)
    return partial(_answered, endpoint, fitting(endpoint, schema))


async def _handled(endpoint: Endpoint, native: Native, request: Request, context: Context) -> Answer:
    try:
        await admit_native(context, endpoint.permission, rate=endpoint.rate)
        return {"data": await native(request, context)}
    except Refusal as refusal:
        if endpoint.audited is not None:
            await refused_native(context, endpoint.audited, refusal)
        raise


async def _sent(endpoint: Endpoint, direct: Direct, request: Request, context: Context) -> Response:
    await admit_native(context, endpoint.permission, rate=endpoint.rate)
    return await direct(request, context)


async def _answered(endpoint: Endpoint, operation: Stored, request: Request, context: Context) -> Answer:
    if endpoint.changes:
        await _require_own_site(request, context, endpoint)
    given = await reading.given(
        request, context, endpoint.variables, operation, paged=endpoint.paged, strict=endpoint.strict
    )
    try:
        answer = await operation.run(context, given.values)
    except Refused as refused:
        if refused.code == BadInput.code and given.fault is not None:
            raise given.fault from refused
        raise
    shown = _at(answer, endpoint.shown)
    if shown is None:
        raise NotFound(_missing(request, endpoint))
    return {**answer, **(_page(shown, given) if endpoint.paged else {"data": shown})}


async def _require_own_site(request: Request, context: Context, endpoint: Endpoint) -> None:
    """Make sure that no page of another site makes a call; whose token it brings is counted, and it is on record.

    Raises:
        Refusal: one does, or nobody is signed in, or all too often.
    """
    try:
        sites.require_own(request)
    except Refusal as refusal:
        await admit_native(context, Permission.ME_READ)
        assert endpoint.audited is not None
        await refused_native(context, endpoint.audited, refusal)
        raise


def fitting(endpoint: Endpoint, schema: BaseSchema) -> Stored:
    """The operation of a row.

    Raises:
        Unfit: it does not fit the schema, or the row.
    """
    if endpoint.operation is None:
        raise Unfit(f"{endpoint.path}: it has neither an operation nor a handler")
    found = stored(endpoint.operation, schema)
    filled = set(endpoint.variables) | (PAGE if endpoint.paged else set())
    if filled != set(found.types):
        raise Unfit(f"{endpoint.path}: the row and {found.name} differ in {', '.join(filled ^ set(found.types))}")
    if endpoint.changes and endpoint.audited is None:
        raise Unfit(f"{endpoint.path}: it does not say under what it is on record when it is refused to a site")
    if found.changes and endpoint.method == "GET" and not endpoint.changes:
        raise Unfit(f"{endpoint.path}: a GET runs the mutation {found.name}, and the row does not say so")
    parameters = set(re.findall(r"{(\w+)}", endpoint.path))
    read = {name for source in endpoint.variables.values() if source.place is Place.PATH for name in source.names}
    if parameters != read:
        raise Unfit(f"{endpoint.path}: its parameters and what is read of them differ")
    return found


def _require_reachable(ordered: Sequence[Endpoint]) -> None:
    """Make sure that no row is hidden by an earlier one.

    Raises:
        Unfit: one is.
    """
    for number, endpoint in enumerate(ordered):
        sample = re.sub(r"{\w+}", "0", endpoint.path)
        for earlier in ordered[:number]:
            if earlier.method == endpoint.method and compile_path(earlier.path)[0].match(sample):
                raise Unfit(f"{endpoint.method} {endpoint.path}: it is hidden by {earlier.path}")


def _page(connection: Mapping[str, Any], given: reading.Given) -> dict[str, Any]:
    nodes = [edge["node"] for edge in connection["edges"]]
    where = envelope.pagination(connection["totalCount"], per_page=given.per_page, offset=given.offset)
    return {"data": nodes, "pagination": where}


def _missing(request: Request, endpoint: Endpoint) -> str:
    """What is not there, by the parameter of the path that names it."""
    named: Iterable[tuple[str, str]] = request.path_params.items()
    said = [f"{name.removesuffix('_id')} {str(value)[:50]}" for name, value in named]
    return f"there is no {' of '.join(reversed(said))}" if said else "there is nothing to show yet"


def _renamed(message: str, endpoint: Endpoint) -> str:
    """What is wrong with a variable, by the name that the client knows."""
    found = _VARIABLE.match(message) or _NAMED.match(message)
    if found is None:
        return message
    source = endpoint.variables.get(found[1])
    name = source.names[0] if source is not None and source.names else _UPPER.sub(r"_\1", found[1]).lower()
    return f"{name}: {found[2].rstrip('.') or 'it is missing'}"


def _deprecation(endpoint: Endpoint) -> dict[str, str]:
    """That something better has taken its place: the same path of the newest version, or what its summary says."""
    link = '</docs>; rel="deprecation"' if endpoint.deprecated else f'<{newest(endpoint)}>; rel="successor-version"'
    return {"deprecation": f"@{int(DEPRECATED_ON.timestamp())}", "link": link}
