"""What belongs to no other chapter: figures of the whole, and new tokens."""

from typing import Final

from schema.rest.rows import Endpoint, Tag, body

ROWS: Final = (
    Endpoint(
        method="POST",
        path="/auth/refresh",
        tag=Tag.MISC,
        summary="A new pair of tokens for a refresh token, which is used up by it.",
        operation="AuthRefresh",
        variables={"token": body("refresh_token", "refreshToken")},
        shown=("refresh", "session"),
        beside={"*": "data"},
    ),
)
