"""The warmer's process, from its settings to its last word; it loads no codec."""

import os
import socket

from agentos.background import stoppable, written_down
from agentos.services import anchors_of, opened
from agentos.settings import Settings
from workers import warmer
from workers.managers import known


async def warm(settings: Settings, *, supervised: bool) -> None:
    """Keep the admin snapshot warm until told to stop.

    Args:
        settings: with the addresses of both stores.
        supervised: the standard input is a lifeline to the supervisor.
    """
    async with (
        stoppable(supervised=supervised) as stop,
        opened(settings, pool_size=6, application="agentos warmer") as services,
        written_down(settings, services.database, source="warmer"),
    ):
        assert settings.redis_url is not None
        process = f"warmer-{socket.gethostname()}-{os.getpid()}"
        anchors = anchors_of(settings, services.database)
        managers = known(services.database, services.files, services.snapshots, anchors)
        await warmer.warm(services.database, settings.redis_url, process, managers, stop)
