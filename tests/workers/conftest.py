"""Agents that do just what a test wants, so that the engine can be watched without any video."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from db import jobs, leases
from db.agents import Known
from db.database import Database
from db.files import Files
from db.jobs import Job, NewJob
from db.models.identity import DEFAULT_TENANT
from db.models.work import AgentCategory, ArtifactKind, JobStatus
from tests.waiting import eventually
from workers.agents.contract import Agent, MadeClip, MadeFile, Output, Reason, Step, Tools
from workers.engine import Engine
from workers.turn import Turns

CHAIN = ("video-downloader", "video-analyzer", "clipper")
Act = Callable[[Step, Tools], Awaitable[None]]


class Noted(Output, frozen=True):
    """That an agent was here."""

    note: str = ""


@dataclass
class Bench:
    """A worker whose agents the test plays itself."""

    database: Database
    files: Files
    acts: dict[str, Act] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    """Every agent that was begun, in order."""

    def turns(self) -> Turns:
        """A worker's turns with the test's agents."""
        return Turns(self.database, self.files, {agent_id: self._agent(agent_id) for agent_id in CHAIN})

    def engine(self, name: str = "w1", *, concurrency: int = 1, turns: Turns | None = None) -> Engine:
        """A worker that is not yet at work."""
        return Engine(
            self.database,
            (turns or self.turns()).take,
            worker_id=name,
            concurrency=concurrency,
            # No lease is renewed while a test lasts: what ends an agent is the look at what has become of its job.
            lease=timedelta(hours=1),
            heartbeat=timedelta(minutes=30),
        )

    @asynccontextmanager
    async def at_work(self, name: str = "w1", *, concurrency: int = 1) -> AsyncIterator[Engine]:
        """A worker at work until the block ends."""
        engine = self.engine(name, concurrency=concurrency)
        async with asyncio.TaskGroup() as group:
            group.create_task(engine.run())
            try:
                yield engine
            finally:
                engine.drain()

    async def submitted(
        self, *, chain: tuple[str, ...] = CHAIN, priority: int = 5, tenant: str = DEFAULT_TENANT
    ) -> Job:
        """A queued job."""
        async with self.database.transaction(tenant) as tx:
            return await jobs.add(
                tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=chain, priority=priority)
            )

    async def claimed(self, worker: str = "w1") -> leases.Claim:
        """The next job, in the hands of a worker of that name."""
        async with self.database.system() as tx:
            [claim] = await leases.claim(tx, worker, most=1)
        return claim

    async def found(self, job_id: UUID, tenant: str = DEFAULT_TENANT) -> Job:
        """A job as it stands."""
        async with self.database.transaction(tenant) as tx:
            job = await jobs.by_id(tx, job_id)
        assert job is not None
        return job

    async def until(self, job_id: UUID, *statuses: JobStatus) -> Job:
        """A job once it has one of the statuses."""
        return await eventually(lambda: self.found(job_id), lambda job: job.status in statuses)

    def _agent(self, agent_id: str) -> Agent:
        async def run(step: Step, tools: Tools) -> Output:
            self.ran.append(agent_id)
            if act := self.acts.get(agent_id):
                await act(step, tools)
            return _clips(tools.folder) if agent_id == "clipper" else Noted(note=f"{agent_id} was here")

        return Agent(
            known=Known(agent_id, agent_id.title(), AgentCategory.EDITING, "plays a part in a test", "1", 60),
            output=Noted,
            run=run,
        )


def _clips(folder: Path) -> Output:
    (folder / "one.mp4").write_bytes(b"not really a film")
    (folder / "one.jpg").write_bytes(b"not really a picture")
    (folder / "words.srt").write_bytes(b"1\n")
    clip = MadeClip(
        path="one.mp4",
        thumbnail="one.jpg",
        title="The best moment",
        start_s=1.0,
        end_s=4.0,
        duration_s=3.0,
        width=90,
        height=160,
        score=70.0,
        reasons=(Reason("it moves", 40.0), Reason("it is loud", 30.0)),
    )
    words = MadeFile(path="words.srt", kind=ArtifactKind.CAPTIONS, media_type="application/x-subrip")
    return Noted(clips=(clip,), files=(words,))


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    """A worker whose agents the test plays itself."""
    return Bench(database, Files(tmp_path / "files"))
