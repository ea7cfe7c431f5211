"""Managers: the small loops that keep the house in order while jobs are done.

Each has a name and an interval and does one thing that several workers may do at once without harm. A tick that fails
is logged and the next one comes; PostgreSQL away or too slow, or a disk in trouble, costs ticks, nothing else. Redis
plays no part in any of them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from db import leases, retention, sweeps, tallies, workers
from db.database import Database
from db.files import Files
from db.health import DATABASE_FAILED

log = logging.getLogger(__name__)

WORKERS_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One loop."""

    name: str
    every: timedelta
    tick: Callable[[], Awaitable[object]]

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await self.tick()
            except DATABASE_FAILED as error:
                log.warning("the %s manager skips a round: %s", self.name, error)
            await asyncio.sleep(self.every.total_seconds())


def managers(database: Database, files: Files) -> list[Manager]:
    """Every manager that runs beside the jobs."""

    async def reap() -> None:
        async with database.system() as tx:
            for job in await leases.reap(tx):
                log.warning("job %s was left by its worker and is %s", job.id, job.status)

    async def fold() -> None:
        async with database.system() as tx:
            await tallies.fold(tx)

    async def forget() -> None:
        async with database.system() as tx:
            await workers.forget(tx, silent_for=WORKERS_KEPT)

    async def clean() -> None:
        await sweeps.reconcile(database, files, now=time.time())
        await retention.drop_old_rows(database)
        await retention.drop_old_work(database, files)

    return [
        Manager(name="queue", every=timedelta(seconds=5), tick=reap),
        Manager(name="analytics", every=timedelta(seconds=10), tick=fold),
        Manager(name="agents", every=timedelta(minutes=10), tick=forget),
        Manager(name="cleanup", every=timedelta(minutes=5), tick=clean),
    ]
