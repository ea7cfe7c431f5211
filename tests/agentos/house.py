"""A house that can be steered: a supervisor over a database of its own, with real worker processes."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from agentos.desires import Desires
from agentos.supervisor import Program, Supervisor
from db import jobs, services, users, workers
from db.database import Database, Transaction
from db.jobs import Filter, Job, NewJob
from db.models.control import Wish
from db.models.identity import DEFAULT_TENANT, Role
from db.models.work import JobStatus, WorkerState
from db.redis import connect
from db.services import NewProcess, Process, Service
from db.users import User
from db.workers import OnDuty
from guards.errors import Refusal
from resolvers.context import Context, Services
from tests.acting import performed
from tests.rooms import administer
from tests.uploading import context_of, services_over
from tests.urls import with_database
from tests.waiting import eventually
from tests.workers.crew import AGENT

ROOT = Path(__file__).parents[2]
LOOK_EVERY_S = 0.1
"""Each look is two questions to the database, which has better things to do."""

STARTED_S = 40.0
"""How long processes may take here to be heard of: the machine that tests may be busy with others."""

OPERATION_S = 2 * STARTED_S + 10
"""How long an operation may take here: at most two processes start one after the other, and each waits for a job."""

WARMER = "warmer"


def worker(number: int) -> str:
    """What a worker is called; the first is number 0."""
    return f"worker-{number + 1}"


@dataclass
class House:
    """What is supervised, and the way to it."""

    services: Services
    folder: Path
    supervisor: Supervisor
    people: dict[Role, User]

    @property
    def database(self) -> Database:
        """The house's own."""
        return self.services.database

    @property
    def admin(self) -> Context:
        """A fresh operation of an administrator."""
        return context_of(self.services, self.people[Role.ADMIN])

    async def act(self, name: str, /, **given: Any) -> Any:
        """What an action answers, once its operation has ended if it is one."""
        answered = await performed(self.admin, name, **given)
        if answered.operation is None or answered.result is not None:
            return answered.result
        ended = await self.services.operations.ended(answered.operation, within_s=OPERATION_S)
        assert ended.result is not None, ended
        return ended.result

    async def refused(self, name: str, /, **given: Any) -> str:
        """With which code an action is refused."""
        try:
            answered = await performed(self.admin, name, **given)
        except Refusal as refusal:
            return refusal.code
        raise AssertionError(f"{name} was not refused: {answered}")

    async def processes(self) -> dict[str, Process]:
        """Every process that is desired or there, by name."""
        async with self.database.system() as tx:
            return {one.name: one for one in await services.everything(tx)}

    async def workers(self) -> dict[str, OnDuty]:
        """The workers that are heard of, by name."""
        async with self.database.system() as tx:
            return {one.name or one.id: one for one in await workers.on_duty(tx)}

    async def quiet(self, *names: str) -> dict[str, Process]:
        """The processes, once there are just these workers, all settled and heard of."""

        async def seen() -> tuple[dict[str, Process], set[int]]:
            return await self.processes(), {one.pid for one in (await self.workers()).values()}

        def settled(found: tuple[dict[str, Process], set[int]]) -> bool:
            there, heard = found
            crew = [one for one in there.values() if one.service == Service.WORKERS]
            return sorted(names) == sorted(one.name for one in crew) and all(
                one.settled and one.pid in heard for one in crew
            )

        there, _ = await eventually(seen, settled, within_s=STARTED_S, every_s=LOOK_EVERY_S)
        return there

    async def submitted(self, *, queue: str = jobs.DEFAULT_QUEUE) -> Job:
        """A queued job that is at work until `go`."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            return await jobs.add(
                tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=(AGENT,), queue=queue)
            )

    async def job(self, job_id: UUID) -> Job:
        """A job as it stands."""
        async with self.database.transaction(DEFAULT_TENANT) as tx:
            found = await jobs.by_id(tx, job_id)
        assert found is not None
        return found

    async def until(self, job_id: UUID, status: JobStatus) -> Job:
        """A job once it has a status."""
        return await eventually(
            lambda: self.job(job_id), lambda job: job.status is status, within_s=STARTED_S, every_s=LOOK_EVERY_S
        )

    async def heard(self, holds: Callable[[dict[str, OnDuty]], bool]) -> dict[str, OnDuty]:
        """The workers, once what is heard of them is as wanted."""
        return await eventually(self.workers, holds, within_s=STARTED_S, every_s=LOOK_EVERY_S)

    async def tidied(self, *, crew: int) -> None:
        """Have the warmer and so many workers run and nothing left to do, and jobs from now on stay at work."""
        self.go()
        names = [worker(number) for number in range(crew)]
        there = await self.processes()
        async with self.database.system() as tx:
            await services.hold(tx)
            for service in (Service.WORKERS, Service.WARMER):
                await services.switch(tx, service, Wish.RUNNING)
            await services.drop(tx, there.keys() - {*names, WARMER})
            missing = [name for name in names if name not in there]
            await services.add(tx, [NewProcess(name=name, service=Service.WORKERS) for name in missing])
        await self.quiet(*names)
        async with self.database.system() as tx:
            await workers.desire(tx, [one.id for one in await workers.on_duty(tx)], WorkerState.ACTIVE)
        # One that a test has left queued would be at work in the next.
        await self.done()
        self.halt()

    async def done(self) -> None:
        """Wait until no job is left to do."""

        async def left() -> int:
            async with self.database.transaction(DEFAULT_TENANT) as tx:
                return await jobs.how_many(tx, Filter(statuses=jobs.OPEN), owner=None)

        await eventually(left, lambda found: not found, within_s=STARTED_S, every_s=LOOK_EVERY_S)

    def go(self) -> None:
        """Let every job that is at work, and will be, come to its end."""
        (self.folder / "go").touch()

    def halt(self) -> None:
        """Have jobs that are begun from now on stay at work."""
        (self.folder / "go").unlink(missing_ok=True)


@asynccontextmanager
async def housed(server_url: str, template: str, redis_url: str) -> AsyncIterator[House]:
    """A house at work, with a warmer and a worker that is heard of."""
    name = f"h_{uuid4().hex}"
    await administer(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = with_database(server_url, name)
    database, redis = Database.connect(url), connect(redis_url, answer_timeout_s=STARTED_S)
    with tempfile.TemporaryDirectory(prefix="aos-house-") as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "AGENTOS_DATABASE_URL": url}
        environment |= {"AGENTOS_REDIS_URL": redis_url, "AGENTOS_DATA_DIR": folder, "AGENTOS_LOG_LEVEL": "info"}
        supervisor = Supervisor((), environment=environment, grace_s=2.0)
        made = services_over(database, redis, Path(folder))
        house = House(made, Path(folder), supervisor, await _people(database))

        async def first(tx: Transaction) -> list[NewProcess]:
            return [
                NewProcess(name=WARMER, service=Service.WARMER),
                NewProcess(name=worker(0), service=Service.WORKERS),
            ]

        def program(process: Process) -> Program:
            return _program(process, url, redis_url, folder)

        desires = Desires(database, supervisor, first=first, program=program)
        async with asyncio.TaskGroup() as group:
            supervising = group.create_task(supervisor.run(signals=()))
            obeying = group.create_task(desires.run())
            try:
                await house.quiet(worker(0))
                yield house
            finally:
                obeying.cancel()
                supervisor.kill()
                await supervising
        await made.snapshots.close()
    await redis.aclose()
    await database.close()
    await administer(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _program(process: Process, url: str, redis_url: str, folder: str) -> Program:
    argv: tuple[str, ...] = (sys.executable, "-m", "agentos", "worker", "--supervised", "--only", "warmer")
    if process.service == Service.WORKERS:
        own = (url, redis_url, folder, process.name, json.dumps(process.settings))
        argv = (sys.executable, "-m", "tests.workers.crew", *own)
    return Program(name=process.name, service=process.service, argv=argv, renewal=process.renewals)


async def _people(database: Database) -> dict[Role, User]:
    async with database.transaction(DEFAULT_TENANT) as tx:
        made = [
            await users.add(
                tx, tenant=DEFAULT_TENANT, email=f"{role}@house.test", name=role, role=role, password_hash=None
            )
            for role in Role
        ]
    return {user.role: user for user in made if user is not None}
