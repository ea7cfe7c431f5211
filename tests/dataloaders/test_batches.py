"""Batches: one statement for all that is asked at once, and nothing of what the caller may not see."""

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from db import jobs
from db.database import Database
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.redis import Redis
from db.users import User
from resolvers.context import Services
from tests.schema.test_query import statements, worked
from tests.uploading import context_of, services_over

People = dict[Role, User]


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


async def test_what_is_asked_at_once_is_one_statement(services: Services, database: Database, people: People) -> None:
    made = [await worked(database, people[Role.USER]) for _ in range(5)]
    loaders = context_of(services, people[Role.USER]).loaders

    with statements(database) as sent:
        found = await asyncio.gather(*(loaders.clips_by_job.load(job.id) for job in made))
        again = await loaders.clips_by_job.load(made[0].id)

    assert [1] * 5 == [len(clips) for clips in found]
    assert found[0] is again
    assert 1 == len(sent)


async def test_others_jobs_and_what_belongs_to_them_look_missing(
    services: Services, database: Database, people: People, other_people: People
) -> None:
    """Also when the id is known: every batch asks for itself whose the rows are."""
    colleagues, strangers = await worked(database, people[Role.ADMIN]), await worked(database, other_people[Role.USER])
    user, admin = (context_of(services, people[role]).loaders for role in (Role.USER, Role.ADMIN))

    for loaders, job, seen in ((user, colleagues, False), (user, strangers, False), (admin, strangers, False)):
        assert seen is (await loaders.job.load(job.id) is not None)
        assert ([], [], []) == (
            await loaders.steps_by_job.load(job.id),
            await loaders.clips_by_job.load(job.id),
            await loaders.artifacts_by_job.load(job.id),
        )
    assert colleagues == await admin.job.load(colleagues.id)
    assert 2 == len(await admin.steps_by_job.load(colleagues.id))
    assert people[Role.USER] == await user.user.load(people[Role.USER].id)
    assert await user.user.load(people[Role.ADMIN].id) is None
    assert await admin.user.load(other_people[Role.USER].id) is None


async def test_answers_come_in_the_order_of_the_questions(
    services: Services, database: Database, people: People
) -> None:
    made: list[Job] = []
    async with database.transaction("default") as tx:
        for title in "abc":
            new = NewJob(user_id=people[Role.USER].id, source_url="http://a", title=title, chain=["clipper"])
            made.append(await jobs.add(tx, new))
    loaders = context_of(services, people[Role.USER]).loaders

    found = await loaders.job.load_many([made[2].id, uuid4(), made[0].id])

    assert ["c", None, "a"] == [None if job is None else job.title for job in found]


async def test_a_fresh_set_has_read_nothing(services: Services, database: Database, people: People) -> None:
    job = await worked(database, people[Role.USER])
    loaders = context_of(services, people[Role.USER]).loaders
    await loaders.job.load(job.id)
    async with database.transaction("default") as tx:
        changed = await jobs.mark_cancelled(tx, job.id)

    assert job == await loaders.job.load(job.id)
    assert changed == await loaders.fresh().job.load(job.id)


async def test_nobody_is_shown_nothing(services: Services, database: Database, people: People) -> None:
    job = await worked(database, people[Role.USER])

    assert await context_of(services, None).loaders.job.load(job.id) is None


def test_workers_and_commands_start_without_graphql() -> None:
    """None of them makes a loader; each would wait for a library that is as large as all of theirs."""
    modules = "agentos.worker, agentos.warmer, agentos.up, agentos.first_run"
    program = f"import sys, {modules}; sys.exit(bool({{'strawberry', 'graphql', 'schema'}} & sys.modules.keys()))"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
