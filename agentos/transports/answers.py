"""Refusals and failures as answers: a status, a code, a sentence, a trace id, and nothing of the inside."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guards.errors import Refusal, Unavailable

INTERNAL: Final = "INTERNAL_ERROR"

STATUSES: Final[Mapping[str, int]] = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "QUOTA_EXCEEDED": 409,
    "TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA": 415,
    "CHECKSUM_MISMATCH": 422,
    "RATE_LIMITED": 429,
    INTERNAL: 500,
    "UNAVAILABLE": 503,
}
"""The status of a code; any other is a 400."""

_CODES: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}

log = logging.getLogger(__name__)


class JSON(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def status_of(code: str) -> int:
    """The HTTP status that a refusal's code stands for."""
    return STATUSES.get(code, HTTPStatus.BAD_REQUEST)


def headers_of(status: int, retry_after: int | None) -> dict[str, str]:
    """What a refusal's answer says beside its body."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return headers | {"www-authenticate": 'Bearer realm="agentos"'} if status == HTTPStatus.UNAUTHORIZED else headers


def refused(refusal: Refusal, trace: str, *, status: int | None = None) -> Response:
    """A refusal as an answer outside of GraphQL."""
    status = status_of(refusal.code) if status is None else status
    return _envelope(refusal.code, str(refusal), trace, status, headers_of(status, refusal.retry_after))


async def on_refusal(request: Request, error: Exception) -> Response:
    """Starlette's handler for refusals that a route lets through."""
    assert isinstance(error, Refusal)
    return refused(error, request.state.trace_id)


async def on_database_away(request: Request, error: Exception) -> Response:
    """Starlette's handler for a database that does not answer."""
    log.warning("refused for want of the database: %s", error)
    return refused(Unavailable("the database does not answer: try again", retry_after=1), request.state.trace_id)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for what its routing says no to: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "REQUEST_ERROR")
    headers = dict(error.headers or {})
    return _envelope(code, str(error.detail).lower(), request.state.trace_id, error.status_code, headers)


class Failures:
    """The last edge: what nobody foresaw is logged once, and answered without a word about it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                # Half of an answer is out already: only a broken connection tells the client that it is not whole.
                raise
            answer = _envelope(INTERNAL, "something went wrong here; it is on record", scope["state"]["trace_id"], 500)
            await answer(scope, receive, send)


def _envelope(code: str, message: str, trace: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    body = {
        "success": False,
        "error": message,
        "error_code": code,
        "trace_id": trace,
        "timestamp": datetime.now(UTC),
    }
    return JSON(body, status_code=status, headers=headers)
