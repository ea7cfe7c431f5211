"""A worker's process, from its settings to its last word.

It ends when it is told to by a signal, or when the supervisor that started it is gone.
"""

import asyncio
import signal

from agentos import VERSION, logs
from agentos.lifeline import parent_gone
from agentos.services import anchors_of, opened
from agentos.settings import Settings
from workers.running import Shift
from workers.running import work as take_jobs


async def work(settings: Settings, *, supervised: bool) -> None:
    """Work until told to stop, then put back what is held.

    Args:
        settings: with the addresses of both stores.
        supervised: the standard input is a lifeline to the supervisor.
    """
    logs.configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    follow = asyncio.create_task(_follow(stop), name="lifeline") if supervised else None
    async with opened(settings, application="agentos worker") as services:
        assert settings.redis_url is not None
        shift = Shift(
            database=services.database,
            redis_url=settings.redis_url,
            snapshots=services.snapshots,
            files=services.files,
            anchors=anchors_of(settings, services.database),
            version=VERSION,
            concurrency=settings.worker_concurrency,
            speech_model=settings.speech_model,
            media_root=settings.media_root,
            fetch_private=settings.fetch_private,
        )
        await take_jobs(shift, stop)
    if follow is not None:
        follow.cancel()


async def _follow(stop: asyncio.Event) -> None:
    await parent_gone()
    stop.set()
