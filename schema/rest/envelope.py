"""What every REST answer is wrapped in, for new clients and for old ones.

`/api/v1` answers the specification's envelope and nothing else. `/api` answers the same, and besides it the keys at the
top level that the clients from before read there; errors carry the message once more as `detail`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from guards.errors import RateLimited, Refusal
from schema.rest.statuses import status_of

RESERVED: Final = frozenset({"success", "data", "timestamp", "response_time_ms", "error", "error_code"})
"""Keys that belong to the envelope; no legacy key may be called so."""


class JSON(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def told(data: Any, status: int, *, taken_ms: float, beside: Mapping[str, Any] | None = None) -> Response:
    """An answer that went well.

    Args:
        taken_ms: how long it took, measured.
        beside: what else stands at the top level, for clients from before.
    """
    body = {
        **(beside or {}),
        "success": True,
        "data": data,
        "timestamp": datetime.now(UTC),
        "response_time_ms": round(taken_ms, 1),
    }
    return JSON(body, status_code=status)


def refused(refusal: Refusal, *, legacy: bool) -> Response:
    """A refusal as an answer."""
    answer = failed(refusal.code, str(refusal), retry_after=refusal.retry_after, legacy=legacy)
    if isinstance(refusal, RateLimited) and refusal.spent is not None:
        answer.headers.update(refusal.spent.headers())
    return answer


def failed(code: str, message: str, *, retry_after: int | None = None, legacy: bool) -> Response:
    """An answer that says no, with the status that its code stands for."""
    status = status_of(code)
    body: dict[str, Any] = {"success": False, "error": message, "error_code": code, "timestamp": datetime.now(UTC)}
    if legacy:
        body["detail"] = message
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="agentos"'
    return JSON(body, status_code=status, headers=headers)
