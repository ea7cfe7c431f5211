"""Worker profiles: kinds of workers that serve a queue of their own, whose jobs go through one chain of agents."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.control import worker_profiles
from db.rows import Row, Shape


class Profile(Row, frozen=True):
    """One kind of workers."""

    id: UUID
    name: str
    """Also the name of its queue."""

    chain: list[str]
    """What its jobs go through, unless one asks for another."""

    concurrency: int
    """Jobs that each of its workers does at once."""

    timeout_s: int
    """How long one of its jobs may be at work."""

    created_at: datetime

    @property
    def settings(self) -> dict[str, Any]:
        """What its workers are started with."""
        return {"max_jobs": self.concurrency, "job_timeout": self.timeout_s, "queues": [self.name]}


PROFILE = Shape(Profile, worker_profiles)


async def add(tx: Transaction, name: str, *, chain: Sequence[str], concurrency: int, timeout_s: int) -> Profile | None:
    """A new profile; None when there is one of that name."""
    statement = (
        insert(worker_profiles)
        .values(id=uuid4(), name=name, chain=list(chain), concurrency=concurrency, timeout_s=timeout_s)
        .on_conflict_do_nothing()
    )
    return await PROFILE.first(tx, statement.returning(*PROFILE.columns))


async def by_name(tx: Transaction, name: str) -> Profile | None:
    """One profile, or None."""
    return await PROFILE.first(tx, PROFILE.select().where(worker_profiles.c.name == name))


async def everyone(tx: Transaction) -> list[Profile]:
    """All profiles, by name."""
    return await PROFILE.all(tx, PROFILE.select().order_by(worker_profiles.c.name))


async def queues(tx: Transaction) -> list[str]:
    """The names of all queues beside the default one."""
    return [name for (name,) in await tx.rows(sa.select(worker_profiles.c.name).order_by(worker_profiles.c.name))]
