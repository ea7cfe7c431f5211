"""What processes that serve no port have in common: when they are to stop, and where their log goes."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentos import logs
from agentos.lifeline import parent_gone
from agentos.settings import Settings
from db.database import Database


@asynccontextmanager
async def stoppable(*, supervised: bool) -> AsyncIterator[asyncio.Event]:
    """An event that is set when this process is told to stop, by a signal or by the end of its supervisor."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    follow = asyncio.create_task(_follow(stop), name="lifeline") if supervised else None
    try:
        yield stop
    finally:
        if follow is not None:
            follow.cancel()


@asynccontextmanager
async def written_down(settings: Settings, database: Database, *, source: str) -> AsyncIterator[None]:
    """Have what this process logs also kept in the `logs` table, under its name."""
    logs.configure(settings.log_level, settings.log_format)
    journal = logs.Journal(source=source, least=logging.INFO)
    beside = [
        asyncio.create_task(journal.run(database), name="journal"),
        asyncio.create_task(logs.follow(database, settings.log_level, settings.log_format), name="log level"),
    ]
    # The journal hears nothing before it has begun, and the first words are those one looks for.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await journal.write(database)


async def _follow(stop: asyncio.Event) -> None:
    await parent_gone()
    stop.set()
