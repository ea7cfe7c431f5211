"""Pauses: until somebody resumes, or for a while."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import leases, queues
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from db.users import User
from guards.errors import BadInput
from resolvers.context import Context
from tests.acting import act
from tests.resolvers.test_jobs import queued
from tests.uploading import context_of, services_over

People = dict[Role, User]


@pytest.fixture
def context(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    """An operation of an operator."""
    return context_of(services_over(database, redis, tmp_path), people[Role.OPERATOR])


async def taken(database: Database) -> int:
    """How many jobs a worker gets."""
    async with database.system() as tx:
        return len(await leases.claim(tx, "w-1", most=10))


async def test_no_job_is_begun_while_the_queue_is_paused(context: Context, database: Database, people: People) -> None:
    await queued(database, people[Role.USER])

    paused = (await act(context, "queue.pause", reason="maintenance")).state
    assert (True, None, "maintenance", context.caller.user_id) == (
        paused.paused,
        paused.paused_until,
        paused.reason,
        paused.changed_by,
    )
    assert 0 == await taken(database)

    assert not (await act(context, "queue.resume")).paused
    assert 1 == await taken(database)


async def test_a_pause_ends_by_itself(context: Context, database: Database, people: People) -> None:
    await queued(database, people[Role.USER])
    paused = (await act(context, "queue.pause", duration_minutes=10)).state
    assert paused.paused_until is not None
    assert timedelta(minutes=9) < paused.paused_until - datetime.now(UTC) <= timedelta(minutes=10)

    async with database.transaction("default") as tx:
        await tx.execute(sa.text("UPDATE queue_states SET paused_until = now() - interval '1 second'"))
        state = await queues.state(tx)

    assert state is not None
    assert not state.paused
    assert 1 == await taken(database)


async def test_a_pause_holds_up_no_other_tenant(context: Context, database: Database, other_people: People) -> None:
    await queued(database, other_people[Role.USER])

    await act(context, "queue.pause")

    assert 1 == await taken(database)


@pytest.mark.parametrize(("minutes", "reason"), [(0, None), (-1, None), (1441, None), (None, "x" * 501)])
async def test_what_is_no_pause_is_refused(
    minutes: int | None, reason: str | None, context: Context, database: Database
) -> None:
    with pytest.raises(BadInput):
        await act(context, "queue.pause", duration_minutes=minutes, reason=reason)

    async with database.transaction("default") as tx:
        assert await queues.state(tx) is None
