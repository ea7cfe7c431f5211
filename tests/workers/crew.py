"""One worker of a house in a test: `python -m tests.workers.crew DATABASE REDIS FOLDER NAME SETTINGS`.

It is the real one but for its agent, which waits until a file says go, so that a test decides how long a job takes.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from agentos.background import stoppable, written_down
from agentos.settings import Settings
from dataloaders.snapshot import About, Snapshots
from db import jobs
from db.agents import Known
from db.database import Database
from db.files import Files
from db.models.work import AgentCategory
from db.redis import connect
from tests.trails import anchors_in
from workers.agents.contract import Agent, Output, Step, Tools
from workers.running import Shift, work

AGENT = "video-downloader"


class Waited(Output, frozen=True):
    """What the agent leaves."""


async def main(database_url: str, redis_url: str, folder: str, name: str, given: str) -> None:
    """Be a worker until told to stop."""
    settings = Settings.model_validate({"log_level": "info", "log_format": "json"})
    asked = json.loads(given)
    database, redis = Database.connect(database_url, size=6), connect(redis_url)
    about = About(version="0", started_at=datetime.now(UTC), data_dir=Path(folder), host="", port=0, ws_port=0)

    async def wait(step: Step, tools: Tools) -> Output:
        while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - said from another process
            await asyncio.sleep(0.02)
        return Waited()

    known = Known(AGENT, AGENT, AgentCategory.INPUT, "", "1", 60)
    async with stoppable(supervised=True) as stop, written_down(settings, database, source=name):
        shift = Shift(
            database=database,
            redis_url=redis_url,
            snapshots=Snapshots(database, redis, about),
            files=Files(Path(folder)),
            anchors=anchors_in(database, Path(folder) / "audit"),
            version="0",
            name=name,
            concurrency=asked.get("max_jobs", 1),
            queues=asked.get("queues", [jobs.DEFAULT_QUEUE]),
            job_timeout_s=asked.get("job_timeout"),
            agents={AGENT: Agent(known=known, output=Waited, run=wait)},
        )
        await work(shift, stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
