"""Whether the servers of this AgentOS answer: asked, never assumed."""

import asyncio
from enum import StrEnum
from typing import Final

_PATIENCE_S: Final = 0.5
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Health(StrEnum):
    """What a probe found."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @classmethod
    def of(cls, healthy: bool) -> "Health":
        """The word for an answer or its absence."""
        return cls.HEALTHY if healthy else cls.UNHEALTHY


async def listening(host: str, port: int) -> Health | None:
    """Whether something accepts connections there; None for port 0, where nothing is meant to."""
    if not port:
        return None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(_ANYWHERE.get(host, host), port)
    except OSError:
        return Health.UNHEALTHY
    writer.close()
    return Health.HEALTHY
