"""The legacy WebSocket as its processes tell of it; where none is heard of, whether anything answers on its port."""

import msgspec

from dataloaders.snapshot.probes import Health, listening
from dataloaders.snapshot.sources import Sources
from db import sockets
from db.redis import REDIS_AWAY
from db.services import Service


class Standing(msgspec.Struct, frozen=True):
    """How it stands."""

    status: Health | None
    """None where none is meant to listen."""

    connections: int | None
    """Over all processes, the API's included; None when none is heard of."""


async def standing(sources: Sources) -> Standing:
    """How the legacy WebSocket stands, wherever its processes run."""
    try:
        heard = await sockets.heard(sources.redis)
    except REDIS_AWAY:
        heard = {}
    connections = sum(heard.values()) if heard else None
    if any(name.startswith(Service.WEBSOCKET) for name in heard):
        return Standing(Health.HEALTHY, connections)
    return Standing(await listening(sources.about.host, sources.about.ws_port), connections)
