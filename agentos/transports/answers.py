"""Refusals and failures outside of GraphQL: a status, a code, a sentence, and nothing of the inside."""

import logging
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.database import DatabaseUnavailable
from guards import links
from guards.allowances import Spent
from guards.errors import BadInput, Refusal, unanswered
from schema.rest import envelope
from schema.rest.serving import PREFIXES

INTERNAL: Final = "INTERNAL_ERROR"

_CODES: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}

log = logging.getLogger(__name__)


def headers_of(status: int, retry_after: int | None, spent: Spent | None = None) -> dict[str, str]:
    """What an answer says beside its body, of limits and of what to do after a refusal."""
    headers = {} if spent is None else spent.headers()
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return headers | {"www-authenticate": 'Bearer realm="agentos"'} if status == HTTPStatus.UNAUTHORIZED else headers


async def on_refusal(request: Request, error: Exception) -> Response:
    """Starlette's handler for refusals that a route lets through."""
    assert isinstance(error, Refusal)
    return envelope.refused(error, legacy=False)


async def on_database_away(request: Request, error: Exception) -> Response:
    """Starlette's handler for a database that does not answer."""
    assert isinstance(error, DatabaseUnavailable)
    log.warning("refused for want of the database: %s", error)
    return envelope.refused(unanswered(error), legacy=False)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for what its routing says no to: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, BadInput.code)
    answer = envelope.failed(code, str(error.detail).lower(), legacy=_older(request.url.path))
    answer.status_code = error.status_code
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _methods(request: Request) -> set[str]:
    """All that may be asked of a path; a route knows of its own method alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in fitting if route.path == fitting[0].path for method in route.methods or ()}


def _older(path: str) -> bool:
    """Whether clients from before this API may ask there: the longest prefix counts."""
    below = [prefix for prefix in PREFIXES if f"{path}/".startswith(f"{prefix}/")]
    return bool(below) and PREFIXES[max(below, key=len)]


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
        except ClientDisconnect:
            log.debug("%s %s: the client went away while it was sending", scope["method"], links.hidden(scope["path"]))
        except Exception:
            log.exception("%s %s failed", scope["method"], links.hidden(scope["path"]))
            if begun:
                # Half of an answer is out already: only a broken connection tells the client that it is not whole.
                raise
            answer = envelope.failed(
                INTERNAL, "something went wrong here; it is on record", legacy=_older(scope["path"])
            )
            await answer(scope, receive, send)
