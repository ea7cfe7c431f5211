"""The warmer: a process that does nothing but keep the admin snapshot warm, by a cron of its own.

Workers do the same by a cron that one of them wins each time, but not while a supervisor looks after a warmer: then
who stops the warmer stops the warming, and readers build the snapshot themselves.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from db import keys
from db.database import Database
from db.models.managers import ManagerId
from workers.bell import listen
from workers.managers import Manager
from workers.rounds import Rounds

log = logging.getLogger(__name__)


async def warm(database: Database, redis_url: str, process: str, known: Iterable[Manager], stop: asyncio.Event) -> None:
    """Keep the snapshot warm until `stop` is set, as its manager is asked to."""
    rounds = Rounds(database, process, [manager for manager in known if manager.id is ManagerId.SNAPSHOT])
    once = partial(rounds.once, ManagerId.SNAPSHOT)
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(rounds.run(), name="rounds"),
            group.create_task(listen(redis_url, None, once, queue=keys.WARMING), name="cron"),
        ]
        log.info("the warmer %s keeps the snapshot warm", process)
        await stop.wait()
        for task in beside:
            task.cancel()
    await rounds.last()
