"""Workers as tests of actions need them: one that is heard of, and an agent that is at it until it is let go."""

import asyncio

from db import workers
from db.database import Database
from db.models.work import WorkerState
from db.workers import Beat
from workers.agents.contract import Step, Tools


class Busy:
    """An agent that is at work until it is ended, and says when."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self, step: Step, tools: Tools) -> None:
        self.begun.set()
        try:
            await self.done.wait()
        finally:
            self.ended.set()


async def soon(event: asyncio.Event, within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        await event.wait()


async def heartbeat(database: Database, worker_id: str) -> None:
    """Have a worker be heard of."""
    said = Beat(
        id=worker_id,
        hostname="here",
        pid=1,
        version="0",
        state=WorkerState.IDLE,
        concurrency=1,
        current_jobs=[],
        jobs_completed=0,
        jobs_failed=0,
        cpu_percent=None,
        memory_mb=None,
    )
    async with database.system() as tx:
        await workers.beat(tx, said)
