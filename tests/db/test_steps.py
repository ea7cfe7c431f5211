"""Steps: each agent's turn in a job, in the order of its chain."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from db import jobs, leases, steps
from db.database import Database
from db.jobs import NewJob
from db.leases import Claim
from db.models.identity import Role
from db.models.work import StepStatus
from db.steps import Step
from tests.conftest import People

CHAIN = ("video-downloader", "video-analyzer", "clipper")


async def a_job(database: Database, owner: UUID | None = None) -> UUID:
    async with database.transaction("default") as tx:
        return (await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=CHAIN))).id


async def claimed(database: Database) -> Claim:
    async with database.system() as tx:
        [claim] = await leases.claim(tx, "w1", most=1)
    return claim


async def test_steps_are_given_in_the_order_of_the_chain(database: Database) -> None:
    one, other = await a_job(database), await a_job(database)

    async with database.transaction("default") as tx:
        mine = await steps.of_job(tx, one)
        all_of_them = await steps.of_jobs(tx, [one, other])

    assert list(enumerate(CHAIN)) == [(step.ordinal, step.agent_id) for step in mine]
    assert mine == [step for step in all_of_them if step.job_id == one]
    assert 6 == len(all_of_them)


async def test_steps_of_somebody_else_s_job_look_missing(database: Database, people: People) -> None:
    owner = people[Role.USER].id
    job = await a_job(database, owner)

    async with database.transaction("default") as tx:
        assert 3 == len(await steps.of_jobs(tx, [job], owner=owner))
        assert [] == await steps.of_jobs(tx, [job], owner=people[Role.OPERATOR].id)
        assert [] == await steps.of_jobs(tx, [uuid4()])
    async with database.transaction("other") as tx:
        assert [] == await steps.of_job(tx, job)


async def test_only_what_completed_steps_found_is_handed_on(database: Database) -> None:
    """A step that is only half done, failed or was skipped has found nothing that another agent may rely on."""
    job = await a_job(database)
    claim = await claimed(database)
    found = {"n": 1, "share": 0.1, "text": "é\U0001f600", "none": None, "list": [1, [2]]}
    async with database.transaction("default") as tx:
        for ordinal, status in enumerate((StepStatus.COMPLETED, StepStatus.SKIPPED)):
            await leases.begin_step(tx, claim, ordinal, CHAIN[ordinal])
            await leases.finish_step(tx, claim, ordinal, status, output=found, message="why")
        await leases.begin_step(tx, claim, 2, CHAIN[2])
        outputs = await steps.outputs(tx, job)

    assert {CHAIN[0]: found} == {agent_id: msgspec.json.decode(raw) for agent_id, raw in outputs.items()}


def test_a_step_took_as_long_as_from_its_start_to_its_end() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def step(started: datetime | None, finished: datetime | None) -> Step:
        return Step(UUID(int=1), UUID(int=2), 0, CHAIN[0], StepStatus.COMPLETED, 1, 1.0, None, started, finished)

    assert 1.5 == step(at, at + timedelta(seconds=1.5)).duration_s
    assert [None] * 3 == [step(at, None).duration_s, step(None, at).duration_s, step(None, None).duration_s]
