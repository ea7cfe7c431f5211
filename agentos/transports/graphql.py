"""GraphQL over HTTP: one operation a request, by POST as JSON or, for queries, by GET.

A client that accepts `application/graphql-response+json` gets it, with a 4xx for whatever did not run; others get
`application/json`, where an operation that is wrong in itself is answered with 200, as it always was. A refusal has its
own status for both: 401, 403, 429, 503. Reading the body never fails with a 500, whatever is in it. A subscription is
answered to who takes it in parts (`multipart`).
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from graphql import GraphQLError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from agentos.metrics import Metrics
from agentos.transports import bodies, graphiql, multipart
from agentos.transports.answers import headers_of
from agentos.transports.bodies import Operation
from agentos.transports.contexts import Contexts
from agentos.transports.flows import Flows
from agentos.transports.roots import Roots
from db.database import DatabaseUnavailable
from guards.allowances import Spent
from guards.errors import BadInput, InProgress, KeyReused, RateLimited, Refusal, Unauthenticated, unanswered
from guards.replays import REPLAYED
from resolvers.context import Context
from schema.access import public_names
from schema.build import Schema
from schema.errors import told_of
from schema.rest.envelope import JSON
from schema.rest.statuses import status_of

MODERN: Final = "application/graphql-response+json"
LEGACY: Final = "application/json"
GET_TYPES: Final = frozenset({OperationType.QUERY})
POST_TYPES: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})
SPOKEN: Final = frozenset({401, 403, 429, 503})
"""Statuses that a refusal before execution has even for clients of `application/json`."""

SPOKEN_CODES: Final = frozenset({InProgress.code, KeyReused.code})
"""Refusals of which the same holds, although others share their status."""

LONGEST_PUBLIC: Final = 4_096
"""Characters of a document that is looked into although it comes with a token that is not good."""


AnySchema = Schema
"""Whatever can be served: the one schema of the house, or a small one of a test."""


class GraphQLOverHTTP:
    """The route of the schema."""

    def __init__(
        self,
        schema: AnySchema,
        contexts: Contexts,
        metrics: Metrics,
        roots: Roots,
        flows: Flows,
        *,
        beat_s: float = multipart.BEAT_S,
    ) -> None:
        """
        Args:
            beat_s: after how many silent seconds a subscription is sent a heartbeat.
        """
        self.flows = flows
        self.beat_s = beat_s
        self._schema = schema
        self._contexts = contexts
        self._metrics = metrics
        self._roots = roots
        self._public = public_names(schema)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        if request.method not in ("GET", "POST"):
            return request_error(request, "use GET or POST", HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "GET, POST"})
        if _wants_page(request):
            return graphiql.page()
        if request.method == "POST" and content_type(request) != LEGACY:
            return request_error(request, f"send {LEGACY}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            operation = await read(request)
            context = await self._context(request, operation)
            if self._subscribes(request, operation):
                return self.flows.opened(operation, context, multipart.Parts(beat_s=self.beat_s))
        except Refusal as refusal:
            return refused(request, refusal)
        try:
            result = await self._schema.execute(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.operation_name,
                operation_extensions=operation.extensions,
                allowed_operation_types=GET_TYPES if request.method == "GET" else POST_TYPES,
            )
        except CannotGetOperationTypeError as error:
            return request_error(request, error.as_http_error_reason(), HTTPStatus.BAD_REQUEST)
        except InvalidOperationTypeError as error:
            return _wrong_type(request, error.operation_type)
        except DatabaseUnavailable as error:
            return refused(request, unanswered(error), context.spent)
        assert isinstance(result, ExecutionResult)
        self._roots.count(self._metrics, operation, began=_began(result), ok=not result.errors)
        return _answered(request, result, context)

    async def _context(self, request: Request, operation: Operation) -> Context:
        try:
            return await self._contexts.identify(request)
        except Unauthenticated:
            # Whoever signs in again, or asks what everybody may know, need not get rid of an old token first.
            if len(operation.query) > LONGEST_PUBLIC:
                raise
            _, fields = self._roots.of(operation.query, operation.operation_name)
            if not fields or not self._public.issuperset(fields):
                raise
            return self._contexts.of(request, None)

    def _subscribes(self, request: Request, operation: Operation) -> bool:
        """Whether this is a subscription of a client that takes it in parts."""
        if request.method != "POST" or not multipart.accepted(request.headers):
            return False
        kind, _ = self._roots.of(operation.query, operation.operation_name)
        return kind == OperationType.SUBSCRIPTION.value


async def read(request: Request) -> Operation:
    """The operation in a request's body, or in its address.

    Raises:
        BadInput: there is none, or one of its parts is of the wrong kind.
        TooLarge: the body is longer than an operation may be.
    """
    if request.method == "POST":
        return bodies.operation(bodies.parsed(await bodies.raw(request)))
    asked: dict[str, Any] = dict(request.query_params)
    for part in ("variables", "extensions"):
        if asked.get(part):
            asked[part] = bodies.parsed(asked[part], what=part)
        else:
            asked.pop(part, None)
    if any("\0" in value for value in asked.values() if isinstance(value, str)):
        raise BadInput("the query string contains a NUL character")
    return bodies.operation(asked)


def _answered(request: Request, result: ExecutionResult, context: Context) -> Response:
    errors = [error.formatted for error in result.errors or ()]
    body: dict[str, Any] = {}
    if errors:
        body["errors"] = errors
    began = _began(result)
    if began:
        body["data"] = result.data
    if result.extensions:
        body["extensions"] = result.extensions
    status, retry_after = HTTPStatus.OK.value, None
    if result.data is None and errors:
        status, retry_after = _status(result.errors or (), began=began, modern=_modern(request.headers))
    again = REPLAYED if context.told_again else {}
    return _json(request, body, status, {**headers_of(status, retry_after, context.spent), **again})


def _began(result: ExecutionResult) -> bool:
    """Whether any field was reached: an error that is before all of them has no path."""
    before = isinstance(result, PreExecutionError) or all(error.path is None for error in result.errors or ())
    return not (before and result.errors and result.data is None)


def _status(errors: Iterable[GraphQLError], *, began: bool, modern: bool) -> tuple[int, int | None]:
    """The status of an answer without data, and after how many seconds to try again."""
    for error in errors:
        extensions = error.extensions or {}
        code = str(extensions.get("code", ""))
        status = status_of(code)
        if status in SPOKEN or code in SPOKEN_CODES:
            return status, extensions.get("retryAfter")
        if modern and not began:
            return (status if status in (413, 500) else HTTPStatus.BAD_REQUEST), None
        break
    return HTTPStatus.OK, None


def refused(request: Request, refusal: Refusal, spent: Spent | None = None) -> Response:
    """The answer to what was refused before it was begun."""
    status = status_of(refusal.code)
    if isinstance(refusal, RateLimited):
        spent = refusal.spent
    body = {"errors": [told_of(refusal, request.state.trace_id)]}
    return _json(request, body, status, headers_of(status, refusal.retry_after, spent))


def _wrong_type(request: Request, kind: OperationType) -> Response:
    if kind is OperationType.SUBSCRIPTION:
        told = "subscriptions run over WebSocket, and as server-sent events at /graphql/stream"
        return request_error(request, told, HTTPStatus.BAD_REQUEST)
    return request_error(request, "mutations go by POST", HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "POST"})


def request_error(
    request: Request, message: str, status: HTTPStatus, headers: dict[str, str] | None = None
) -> Response:
    """The answer to what is no operation, or may not be asked for in this way."""
    body = {"errors": [told_of(BadInput(message), request.state.trace_id)]}
    return _json(request, body, status, headers or {})


def _json(request: Request, body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    media_type = MODERN if _modern(request.headers) else LEGACY
    headers = {**headers, "vary": "Accept, Authorization"}
    return JSON(body, status_code=status, headers=headers, media_type=f"{media_type}; charset=utf-8")


def _modern(headers: Headers) -> bool:
    weights = accepted(headers)
    return weights.get(MODERN, 0.0) > 0 and weights[MODERN] >= weights.get(LEGACY, 0.0)


def accepted(headers: Headers) -> dict[str, float]:
    """How much each media type is wanted."""
    found: dict[str, float] = {}
    for part in headers.get("accept", "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
    return found


def _wants_page(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and accepted(request.headers).get("text/html", 0.0) > 0
    )


def content_type(request: Request) -> str:
    """What a body is said to be, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
