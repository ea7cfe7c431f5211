"""What every REST answer is wrapped in, for new clients and for old ones.

`/api/v1` answers the specification's envelope and nothing else. `/api` answers the same, and besides it the keys at the
top level that the clients from before read there; errors carry the message once more as `detail`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, TypedDict

import msgspec
from starlette.responses import Response

from guards.errors import RateLimited, Refusal
from schema.rest.statuses import status_of

RESERVED: Final = frozenset({"success", "data", "pagination", "timestamp", "response_time_ms", "error", "error_code"})
"""Keys that belong to the envelope; no legacy key may be called so."""


class JSON(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


class Pagination(TypedDict):
    """Where a page lies within its list, counted in pages from 1."""

    page: int
    per_page: int
    total: int
    total_pages: int
    has_next: bool
    has_prev: bool


def pagination(total: int, *, per_page: int, offset: int) -> Pagination:
    """The page that begins after `offset` rows of `total`."""
    return {
        "page": offset // per_page + 1,
        "per_page": per_page,
        "total": total,
        "total_pages": ceil(total / per_page),
        "has_next": offset + per_page < total,
        "has_prev": offset > 0,
    }


def told(
    data: Any,
    status: int,
    *,
    taken_ms: float,
    pagination: Pagination | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Response:
    """An answer that went well.

    Args:
        taken_ms: how long it took, measured.
        beside: what else stands at the top level, for clients from before.
    """
    body = {
        **(beside or {}),
        "success": True,
        "data": data,
        **({} if pagination is None else {"pagination": pagination}),
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


def failed(
    code: str,
    message: str,
    *,
    retry_after: int | None = None,
    legacy: bool,
    beside: Mapping[str, Any] | None = None,
) -> Response:
    """An answer that says no, with the status that its code stands for.

    Args:
        beside: what else stands at the top level.
    """
    status = status_of(code)
    said = {"success": False, "error": message, "error_code": code, "timestamp": datetime.now(UTC)}
    body: dict[str, Any] = {**(beside or {}), **said}
    if legacy:
        body["detail"] = message
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="agentos"'
    return JSON(body, status_code=status, headers=headers)
