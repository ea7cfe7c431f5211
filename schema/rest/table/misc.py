"""What belongs to no other chapter: figures of the whole, and new tokens."""

from typing import Final

from schema.rest.rows import Endpoint, Tag, body, query

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/analytics/metrics",
        tag=Tag.MISC,
        summary="How endpoints, jobs and agents did over `time_range` 1h, 24h, 7d or 30d.",
        operation="Metrics",
        variables={"timeRange": query("time_range", "timeRange")},
        shown=("analytics",),
        beside={"metrics": "data"},
    ),
    Endpoint(
        method="POST",
        path="/auth/refresh",
        tag=Tag.MISC,
        summary="A new pair of tokens for a refresh token, which is used up by it.",
        operation="AuthRefresh",
        variables={"token": body("refresh_token")},
        shown=("refresh", "session"),
        beside={"*": "data"},
    ),
)
