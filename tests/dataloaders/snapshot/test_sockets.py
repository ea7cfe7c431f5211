"""The legacy WebSocket in the snapshot: as its processes tell of it, else as it is found."""

import socket

from msgspec.structs import replace

from dataloaders.snapshot.probes import Health
from dataloaders.snapshot.sockets import Standing, standing
from dataloaders.snapshot.sources import Sources
from db import sockets


def at(sources: Sources, port: int) -> Sources:
    about = replace(sources.about, ws_port=port)
    return Sources(database=sources.database, redis=sources.redis, pool=sources.pool, host=sources.host, about=about)


async def test_where_nobody_tells_it_is_looked_for_and_not_counted(sources: Sources) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        there = await standing(at(sources, other.getsockname()[1]))

    assert Standing(Health.HEALTHY, None) == there
    assert Standing(Health.UNHEALTHY, None) == await standing(at(sources, 1))
    assert Standing(None, None) == await standing(at(sources, 0))


async def test_a_process_elsewhere_is_believed_and_all_connections_are_counted(sources: Sources) -> None:
    """Here nothing listens on its port: in a cluster it is another machine's."""
    await sockets.say(sources.redis, "api-studio-7", 2)
    alone = await standing(at(sources, 1))
    await sockets.say(sources.redis, "websocket-studio-8", 3)

    assert Standing(Health.UNHEALTHY, 2) == alone
    assert Standing(Health.HEALTHY, 5) == await standing(at(sources, 1))
