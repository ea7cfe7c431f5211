"""The table of REST endpoints, and the routes that are made of it.

A row runs a stored GraphQL operation, so that the same guards stand around it as around the field; only what cannot go
through GraphQL, because it is bytes, has a native handler, and then names the permission it takes. Each row is served
below `/api` and `/api/v1`.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.schema.base import BaseSchema

from db.database import DatabaseUnavailable
from guards.allowances import Rate
from guards.errors import Refusal, Unavailable
from guards.permissions import Permission
from guards.replays import REPLAYED
from resolvers.context import Context
from schema.plan import admit_native
from schema.rest import bodies, envelope, uploads
from schema.rest.operations import Refused, Stored, Unfit

PREFIXES: Final[Mapping[str, bool]] = {"/api": True, "/api/v1": False}
"""Where the table is served, and whether the keys that older clients read stand at the top level there."""

Identify = Callable[[Request], Awaitable[Context]]
Native = Callable[[Request, Context], Awaitable[Mapping[str, Any]]]


class Place(StrEnum):
    """Where in a request a value comes from."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class From:
    """One value of a request."""

    place: Place
    name: str
    """What clients call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row: what is asked for, what answers, and how the answer looks."""

    method: str
    path: str
    """Below a prefix, with parameters in braces."""

    tag: str
    """The chapter of the documentation."""

    summary: str
    """What it answers, for the documentation."""

    status: int = 200
    operation: str | None = None
    """The stored operation that it runs; None for a native one."""

    variables: Mapping[str, From] = field(default_factory=dict)
    """Where each variable of the operation comes from; a value that is not there is left out."""

    shown: tuple[str, ...] = ()
    """The path to what becomes `data`, in the operation's answer."""

    native: Native | None = None
    """What answers instead of an operation."""

    form: tuple[str, ...] = ()
    """The fields of the form that a native one reads; `?` after those that may be left out."""

    permission: Permission | None = None
    """What a native handler takes; an operation's fields say so themselves."""

    rate: Rate | None = None
    """How often a native handler may be asked, where that is not what its class says."""

    legacy: Mapping[str, str] = field(default_factory=dict)
    """Keys at the top level below `/api`, each with the key of `data` it repeats; empty for all of `data`."""

    changes: bool = False
    """For a GET that runs a mutation because it always was so: that this is known."""


UPLOAD_ID: Final = From(Place.BODY, "upload_id")

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/admin/action",
        tag="admin",
        summary="Carry out an action of the catalogue, by its name.",
        operation="AdminAction",
        variables={"action": From(Place.BODY, "action"), "payload": From(Place.BODY, "payload")},
        shown=("actionByName",),
        legacy={"result": "result", "action": "action", "trace_id": "trace_id", "duration_ms": "duration_ms"},
    ),
    Endpoint(
        method="GET",
        path="/admin/action/status",
        tag="admin",
        summary="Every action with what the caller may do with it, and the newest of those that take long.",
        operation="AdminActionStatus",
        legacy={"actions": "actions"},
    ),
    Endpoint(
        method="POST",
        path="/upload/init",
        tag="upload",
        summary="Begin an upload.",
        status=201,
        operation="UploadInit",
        variables={
            "filename": From(Place.BODY, "filename"),
            "size": From(Place.BODY, "file_size"),
            "chunk": From(Place.BODY, "chunk_size"),
            "sha256": From(Place.BODY, "sha256"),
        },
        shown=("uploadInit", "upload"),
        legacy={"uploadId": "id", "upload_id": "id"},
    ),
    Endpoint(
        method="POST",
        path="/upload/chunk",
        tag="upload",
        summary="Send one chunk, as a form.",
        native=uploads.chunk,
        form=uploads.CHUNK_FORM,
        permission=Permission.UPLOAD_INIT,
        # A large file is a call with many parts; how much one may send is bounded by its bytes.
        rate=Rate(600),
        legacy={"chunk_index": "chunk_index", "received": "received"},
    ),
    Endpoint(
        method="POST",
        path="/upload/finalize",
        tag="upload",
        summary="Verify an upload; its id is the file path that a job takes.",
        status=201,
        operation="UploadFinalize",
        variables={
            "id": UPLOAD_ID,
            "chunks": From(Place.BODY, "total_chunks"),
            "sha256": From(Place.BODY, "sha256"),
        },
        shown=("uploadFinalize", "upload"),
        legacy={"file_path": "id", "filePath": "id", "metadata": ""},
    ),
    Endpoint(
        method="GET",
        path="/upload/status/{upload_id}",
        tag="upload",
        summary="Which bytes of an upload are there, and which are missing.",
        native=uploads.status,
        permission=Permission.UPLOAD_READ,
        legacy={"status": "status", "progress": "progress"},
    ),
)


def routes(schema: BaseSchema, identify: Identify) -> list[Route]:
    """The table as routes; fixed paths before those with parameters, so that none hides another.

    Args:
        identify: makes the context of a request, or refuses it.

    Raises:
        Unfit: a stored operation does not fit the schema or its row.
    """
    ordered = sorted(ENDPOINTS, key=lambda endpoint: [part.startswith("{") for part in endpoint.path.split("/")])
    answers = [(endpoint, _answering(endpoint, schema)) for endpoint in ordered]
    return [
        Route(
            f"{prefix}{endpoint.path}", _Served(endpoint, answer, identify, legacy).respond, methods=[endpoint.method]
        )
        for prefix, legacy in PREFIXES.items()
        for endpoint, answer in answers
    ]


class _Served:
    """One endpoint below one prefix."""

    def __init__(self, endpoint: Endpoint, answer: Native, identify: Identify, legacy: bool) -> None:
        self._endpoint = endpoint
        self._answer = answer
        self._identify = identify
        self._legacy = legacy

    async def respond(self, request: Request) -> Response:
        """The answer, or the refusal, in the envelope of the prefix, with what is left of the caller's limits."""
        began = time.perf_counter()
        try:
            context = await self._identify(request)
        except Refusal as refusal:
            return envelope.refused(refusal, legacy=self._legacy)
        answer = await self._told(request, context, began)
        if context.spent is not None:
            answer.headers.update(context.spent.headers())
        if context.told_again:
            answer.headers.update(REPLAYED)
        return answer

    async def _told(self, request: Request, context: Context, began: float) -> Response:
        try:
            data = await self._answer(request, context)
        except Refusal as refusal:
            return envelope.refused(refusal, legacy=self._legacy)
        except Refused as refused:
            return envelope.failed(refused.code, str(refused), retry_after=refused.retry_after, legacy=self._legacy)
        except DatabaseUnavailable:
            away = Unavailable("the database does not answer: try again", retry_after=1)
            return envelope.refused(away, legacy=self._legacy)
        except ClientDisconnect:
            # Nobody reads it; it only has to be no failure of ours.
            return Response(status_code=400)
        taken_ms = (time.perf_counter() - began) * 1000
        beside = _beside(self._endpoint.legacy, data) if self._legacy else None
        return envelope.told(data, self._endpoint.status, taken_ms=taken_ms, beside=beside)


def _beside(legacy: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[name] if name else data for key, name in legacy.items()}


def _answering(endpoint: Endpoint, schema: BaseSchema) -> Native:
    if endpoint.native is not None:
        return _guarded(endpoint.native, endpoint.permission, endpoint.rate)
    if endpoint.operation is None:
        raise Unfit(f"{endpoint.path}: it has neither an operation nor a handler")
    stored = Stored(endpoint.operation, schema)
    if stored.variables != set(endpoint.variables):
        raise Unfit(f"{endpoint.path}: the row and {stored.name} differ in their variables")
    if stored.changes and endpoint.method == "GET" and not endpoint.changes:
        raise Unfit(f"{endpoint.path}: a GET runs the mutation {stored.name}, and the row does not say so")

    async def answered(request: Request, context: Context) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await stored.run(context, await _values(request, endpoint), endpoint.shown)
        return found

    return answered


def _guarded(native: Native, permission: Permission | None, rate: Rate | None) -> Native:
    async def guarded(request: Request, context: Context) -> Mapping[str, Any]:
        if permission is not None:
            await admit_native(context, permission, rate=rate)
        return await native(request, context)

    return guarded


async def _values(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    wanted = {source.place for source in endpoint.variables.values()}
    places: dict[Place, Mapping[str, Any]] = {
        Place.PATH: request.path_params,
        Place.QUERY: request.query_params,
        Place.BODY: await bodies.json(request) if Place.BODY in wanted else {},
    }
    return {
        variable: places[source.place][source.name]
        for variable, source in endpoint.variables.items()
        if source.name in places[source.place]
    }
