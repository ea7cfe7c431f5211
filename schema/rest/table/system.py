"""What a server says about itself, at the top of its paths."""

from typing import Final

from schema.rest.rows import Endpoint, Own, Tag

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/",
        tag=Tag.SYSTEM,
        summary="What this is, in which version, and where to go on.",
        own=Own.ROOT,
    ),
    Endpoint(
        method="GET",
        path="/health",
        tag=Tag.SYSTEM,
        summary="How everything stood a moment ago, for anybody.",
        own=Own.HEALTH,
    ),
)
