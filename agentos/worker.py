"""A worker's process, from its settings to its last word.

It ends when it is told to by a signal, or when the supervisor that started it is gone.
"""

import os
import socket
from dataclasses import dataclass

from agentos import VERSION
from agentos.background import stoppable, written_down
from agentos.services import anchors_of, opened
from agentos.settings import Settings
from db.jobs import DEFAULT_QUEUE
from db.workers import source_of
from workers.agents import registry
from workers.running import Shift
from workers.running import work as take_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Which worker it is to be."""

    name: str | None = None
    """What its supervisor calls it."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    job_timeout_s: int | None = None


async def work(settings: Settings, kind: Kind, *, supervised: bool) -> None:
    """Work until told to stop, then put back what is held.

    Args:
        settings: with the addresses of both stores.
        supervised: the standard input is a lifeline to the supervisor.
    """
    async with (
        stoppable(supervised=supervised) as stop,
        opened(settings, application="agentos worker") as services,
        written_down(settings, services.database, source=source_of(kind.name, socket.gethostname(), os.getpid())),
    ):
        assert settings.redis_url is not None
        shift = Shift(
            database=services.database,
            redis_url=settings.redis_url,
            snapshots=services.snapshots,
            files=services.files,
            anchors=anchors_of(settings, services.database),
            version=VERSION,
            agents=registry.discovered(),
            concurrency=settings.worker_concurrency,
            name=kind.name,
            queues=kind.queues,
            job_timeout_s=kind.job_timeout_s,
            speech_model=settings.speech_model,
            media_root=settings.media_root,
            fetch_private=settings.fetch_private,
        )
        await take_jobs(shift, stop)
