"""Probes: asked, never assumed."""

import asyncio

from dataloaders.snapshot.probes import Health, listening


async def test_what_accepts_is_healthy_until_it_stops() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    during = await listening("0.0.0.0", port)
    server.close()
    await server.wait_closed()
    after = await listening("0.0.0.0", port)

    assert (Health.HEALTHY, Health.UNHEALTHY) == (during, after)


async def test_nothing_is_known_of_what_is_not_meant_to_run() -> None:
    assert await listening("127.0.0.1", 0) is None
