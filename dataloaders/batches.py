"""Batch loaders: what the fields of one operation ask for one by one, read from PostgreSQL at once.

A set is made afresh for every operation and every event, so nothing stale outlives either. Each batch is one statement
in a transaction of its own that sees only what the caller may: their tenant, and their own rows where their role has
no more. What they may not see looks like what is not there. PostgreSQL away: `DatabaseUnavailable`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader

from dataloaders.snapshot import Snapshot, Snapshots, TimeRange
from db import agents, artifacts, clips, jobs, steps, uploads, users
from db.agents import Agent
from db.artifacts import Artifact
from db.clips import Clip
from db.database import Database
from db.jobs import Job
from db.steps import Step
from db.uploads import Upload
from db.users import User

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Loaders:
    """The loaders of one operation, each named for the map it is."""

    def __init__(self, database: Database, snapshots: Snapshots, *, tenant: str, owner: UUID | None) -> None:
        """
        Args:
            tenant: whose rows are read; empty for nobody's.
            owner: the user whose own rows alone are read, or None for all of the tenant's.
        """
        self._database = database
        self._snapshots = snapshots
        self._tenant = tenant
        self._owner = owner
        self.job: DataLoader[UUID, Job | None] = DataLoader(self._jobs)
        self.clips_by_job: DataLoader[UUID, list[Clip]] = DataLoader(self._clips_by_job)
        self.steps_by_job: DataLoader[UUID, list[Step]] = DataLoader(self._steps_by_job)
        self.artifacts_by_job: DataLoader[UUID, list[Artifact]] = DataLoader(self._artifacts_by_job)
        self.upload: DataLoader[UUID, Upload | None] = DataLoader(self._uploads)
        self.user: DataLoader[UUID, User | None] = DataLoader(self._users)
        self.agent: DataLoader[str, Agent | None] = DataLoader(self._agents)
        self.snapshot: DataLoader[tuple[str, TimeRange], Snapshot] = DataLoader(self._whole_snapshots)

    def fresh(self) -> "Loaders":
        """A set for the same caller that has read nothing yet."""
        return Loaders(self._database, self._snapshots, tenant=self._tenant, owner=self._owner)

    async def _jobs(self, ids: list[UUID]) -> list[Job | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await jobs.by_ids(tx, ids, owner=self._owner)
        return _one_each(ids, found, lambda job: job.id)

    async def _clips_by_job(self, ids: list[UUID]) -> list[list[Clip]]:
        async with self._database.transaction(self._tenant) as tx:
            found = await clips.of_jobs(tx, ids, owner=self._owner)
        return _many_each(ids, found, lambda clip: clip.job_id)

    async def _steps_by_job(self, ids: list[UUID]) -> list[list[Step]]:
        async with self._database.transaction(self._tenant) as tx:
            found = await steps.of_jobs(tx, ids, owner=self._owner)
        return _many_each(ids, found, lambda step: step.job_id)

    async def _artifacts_by_job(self, ids: list[UUID]) -> list[list[Artifact]]:
        async with self._database.transaction(self._tenant) as tx:
            found = await artifacts.of_jobs(tx, ids, owner=self._owner)
        by_job: dict[UUID | None, list[Artifact]] = defaultdict(list)
        for artifact in found:
            by_job[artifact.job_id].append(artifact)
        return [by_job[job_id] for job_id in ids]

    async def _uploads(self, ids: list[UUID]) -> list[Upload | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await uploads.by_ids(tx, ids, owner=self._owner)
        return _one_each(ids, found, lambda upload: upload.id)

    async def _users(self, ids: list[UUID]) -> list[User | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await users.by_ids(tx, [user_id for user_id in ids if self._owner in (None, user_id)])
        return _one_each(ids, found, lambda user: user.id)

    async def _agents(self, ids: list[str]) -> list[Agent | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.by_ids(tx, ids)
        return _one_each(ids, found, lambda agent: agent.id)

    async def _whole_snapshots(self, wanted: list[tuple[str, TimeRange]]) -> list[Snapshot]:
        found = (self._snapshots.current(tenant, time_range) for tenant, time_range in wanted)
        return list(await asyncio.gather(*found))


def _one_each(keys: list[K], found: Iterable[V], key: Callable[[V], K]) -> list[V | None]:
    by_key = {key(value): value for value in found}
    return [by_key.get(wanted) for wanted in keys]


def _many_each(keys: list[K], found: Iterable[V], key: Callable[[V], K]) -> list[list[V]]:
    by_key: dict[K, list[V]] = defaultdict(list)
    for value in found:
        by_key[key(value)].append(value)
    return [by_key[wanted] for wanted in keys]
