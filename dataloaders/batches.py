"""Batch loaders: what the fields of one operation ask for one by one, read from PostgreSQL at once.

A set is made afresh for every operation and every event, so nothing stale outlives either. Each batch is one statement
in a transaction of its own that sees only what the caller may: their tenant, and their own rows where their role has
no more. What they may not see looks like what is not there. PostgreSQL away: `DatabaseUnavailable`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import UUID

from dataloaders.outlooks import Outlook, outlook
from dataloaders.snapshot import Snapshot, Snapshots, TimeRange
from dataloaders.snapshot.versions import Copy
from db import agents, artifacts, clips, jobs, steps, uploads, users, workers
from db.agents import Agent, Load, Record, Trouble
from db.artifacts import Artifact
from db.clips import Clip
from db.database import Database
from db.jobs import Job
from db.snapshots import Slot
from db.steps import Step
from db.uploads import Chunk, Upload
from db.users import User
from db.workers import Signs

if TYPE_CHECKING:
    from strawberry.dataloader import DataLoader

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Stretch(NamedTuple):
    """A part of what waits for an agent."""

    agent_id: str
    most: int
    skipped: int


def _loader(read: "Callable[[list[K]], Awaitable[list[V]]]") -> "DataLoader[K, V]":
    """A loader over a read of many."""
    # Here, and not above: every worker and every command has services that could make loaders, and none makes one.
    # GraphQL would be a fifth of what it takes to start them.
    from strawberry.dataloader import DataLoader

    return DataLoader(read)


class Loaders:
    """The loaders of one operation, each named for the map it is, and made when it is first asked for."""

    job: "cached_property[DataLoader[UUID, Job | None]]" = cached_property(lambda self: _loader(self._jobs))
    clips_by_job: "cached_property[DataLoader[UUID, list[Clip]]]" = cached_property(
        lambda self: _loader(self._clips_by_job)
    )
    steps_by_job: "cached_property[DataLoader[UUID, list[Step]]]" = cached_property(
        lambda self: _loader(self._steps_by_job)
    )
    artifacts_by_job: "cached_property[DataLoader[UUID, list[Artifact]]]" = cached_property(
        lambda self: _loader(self._artifacts_by_job)
    )
    upload: "cached_property[DataLoader[UUID, Upload | None]]" = cached_property(lambda self: _loader(self._uploads))
    chunks_by_upload: "cached_property[DataLoader[UUID, list[Chunk]]]" = cached_property(
        lambda self: _loader(self._chunks_by_upload)
    )
    user: "cached_property[DataLoader[UUID, User | None]]" = cached_property(lambda self: _loader(self._users))
    agent: "cached_property[DataLoader[str, Agent | None]]" = cached_property(lambda self: _loader(self._agents))
    load_by_agent: "cached_property[DataLoader[str, Load | None]]" = cached_property(lambda self: _loader(self._loads))
    record_by_agent: "cached_property[DataLoader[str, Record | None]]" = cached_property(
        lambda self: _loader(self._records)
    )
    trouble_by_agent: "cached_property[DataLoader[str, Trouble | None]]" = cached_property(
        lambda self: _loader(self._troubles)
    )
    last_activity_by_agent: "cached_property[DataLoader[str, datetime | None]]" = cached_property(
        lambda self: _loader(self._last_activities)
    )
    waiting_by_agent: "cached_property[DataLoader[str, int]]" = cached_property(lambda self: _loader(self._waiting))
    queue_by_agent: "cached_property[DataLoader[Stretch, list[Job]]]" = cached_property(
        lambda self: _loader(self._queues)
    )
    signs: "cached_property[DataLoader[str, Signs]]" = cached_property(lambda self: _loader(self._signs))
    """What is heard of the workers, whatever the key."""

    outlook: "cached_property[DataLoader[str, Outlook]]" = cached_property(lambda self: _loader(self._outlooks))
    snapshot: "cached_property[DataLoader[tuple[str, TimeRange], Snapshot]]" = cached_property(
        lambda self: _loader(self._whole_snapshots)
    )
    announced: "cached_property[DataLoader[tuple[Slot, str | None], Copy]]" = cached_property(
        lambda self: _loader(self._announced)
    )
    """Snapshots by the version that was announced."""

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

    async def _chunks_by_upload(self, ids: list[UUID]) -> list[list[Chunk]]:
        async with self._database.transaction(self._tenant) as tx:
            found = await uploads.chunks_of_many(tx, ids, owner=self._owner)
        return _many_each(ids, found, lambda chunk: chunk.upload_id)

    async def _users(self, ids: list[UUID]) -> list[User | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await users.by_ids(tx, [user_id for user_id in ids if self._owner in (None, user_id)])
        return _one_each(ids, found, lambda user: user.id)

    async def _agents(self, ids: list[str]) -> list[Agent | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.by_ids(tx, ids)
        return _one_each(ids, found, lambda agent: agent.id)

    async def _outlooks(self, tenants: list[str]) -> list[Outlook]:
        found = []
        for tenant in tenants:
            async with self._database.transaction(tenant) as tx:
                found.append(await outlook(tx))
        return found

    async def _loads(self, ids: list[str]) -> list[Load | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.loads(tx, ids)
        return _one_each(ids, found, lambda load: load.agent_id)

    async def _records(self, ids: list[str]) -> list[Record | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.records(tx, ids)
        return _one_each(ids, found, lambda record: record.agent_id)

    async def _troubles(self, ids: list[str]) -> list[Trouble | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.troubles(tx, ids, owner=self._owner)
        return _one_each(ids, found, lambda trouble: trouble.agent_id)

    async def _last_activities(self, ids: list[str]) -> list[datetime | None]:
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.last_active(tx)
        return [found.get(agent_id) for agent_id in ids]

    async def _waiting(self, ids: list[str]) -> list[int]:
        if self._owner is None:
            # The counters have the number for all of the tenant; only whose the jobs are, they do not know.
            return [0 if load is None else load.waiting for load in await self.load_by_agent.load_many(ids)]
        async with self._database.transaction(self._tenant) as tx:
            found = await agents.how_many_wait_for(tx, ids, owner=self._owner)
        return [found.get(agent_id, 0) for agent_id in ids]

    async def _queues(self, wanted: list[Stretch]) -> list[list[Job]]:
        found: dict[Stretch, list[Job]] = defaultdict(list)
        async with self._database.transaction(self._tenant) as tx:
            for most, skipped in dict.fromkeys((each.most, each.skipped) for each in wanted):
                ids = [each.agent_id for each in wanted if (each.most, each.skipped) == (most, skipped)]
                for job in await agents.waiting_for(tx, ids, most=most, skipped=skipped, owner=self._owner):
                    found[Stretch(str(job.current_step), most, skipped)].append(job)
        return [found[each] for each in wanted]

    async def _signs(self, keys: list[str]) -> list[Signs]:
        async with self._database.transaction(self._tenant) as tx:
            found = await workers.signs(tx)
        return [found for _ in keys]

    async def _whole_snapshots(self, wanted: list[tuple[str, TimeRange]]) -> list[Snapshot]:
        found = (self._snapshots.current(tenant, time_range) for tenant, time_range in wanted)
        return list(await asyncio.gather(*found))

    async def _announced(self, wanted: list[tuple[Slot, str | None]]) -> list[Copy]:
        return list(await asyncio.gather(*(self._snapshots.announcements.of(*each) for each in wanted)))


def _one_each(keys: list[K], found: Iterable[V], key: Callable[[V], K]) -> list[V | None]:
    by_key = {key(value): value for value in found}
    return [by_key.get(wanted) for wanted in keys]


def _many_each(keys: list[K], found: Iterable[V], key: Callable[[V], K]) -> list[list[V]]:
    by_key: dict[K, list[V]] = defaultdict(list)
    for value in found:
        by_key[key(value)].append(value)
    return [by_key[wanted] for wanted in keys]
