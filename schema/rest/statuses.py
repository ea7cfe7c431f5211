"""The one table from a refusal's code to an HTTP status."""

from collections.abc import Mapping
from typing import Final

STATUSES: Final[Mapping[str, int]] = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "IDEMPOTENCY_IN_PROGRESS": 409,
    "QUOTA_EXCEEDED": 409,
    "NOT_CONTROLLABLE": 409,
    "OPERATION_FAILED": 409,
    "TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA": 415,
    "CHECKSUM_MISMATCH": 422,
    "IDEMPOTENCY_MISMATCH": 422,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "CIRCUIT_OPEN": 503,
    "MAINTENANCE": 503,
    "UNAVAILABLE": 503,
}


def status_of(code: str) -> int:
    """The HTTP status of a refusal; 400 for whatever the client can only put right in what it sends."""
    return STATUSES.get(code, 400)
