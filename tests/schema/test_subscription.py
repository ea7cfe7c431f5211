"""Subscriptions: each event shows how things stand now, to those who may see it, and can be taken up again."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from db import events, jobs, queues
from db.database import Database
from db.events import Kind
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.work import jobs as job_rows
from db.users import User
from resolvers.context import Services
from resolvers.hearing import HEARD_WITH
from schema.access import Guarded
from schema.root import schema
from tests.schema.conftest import Ask
from tests.uploading import context_of
from tests.waiting import eventually

People = dict[Role, User]
JOBS = """
subscription($id: ID, $after: String) {
  jobChanged(id: $id, after: $after) { ... on JobChange { cursor jobId job { id status steps { status } } } }
}
"""


@asynccontextmanager
async def watched(services: Services, user: User, document: str, **variables: Any) -> AsyncIterator[Any]:
    """Answers of a subscription, one for each `await answers()`; it listens once the block is entered."""
    listening = services.hub.listeners
    stream = schema.told(document, variables=variables, context=context_of(services, user))
    async with aclosing(stream):
        first = asyncio.ensure_future(anext(stream))

        async def attached() -> bool:
            return services.hub.listeners > listening or first.done()

        await eventually(attached, bool)
        waiting = [first]

        async def answers() -> Any:
            async with asyncio.timeout(60):
                answer = await (waiting.pop() if waiting else anext(stream))
            body = json.loads(answer.body)
            return body["data"] if answer.ok else [error["extensions"]["code"] for error in body["errors"]]

        yield answers
        for task in waiting:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def queued(database: Database, owner: User) -> Job:
    async with database.transaction(owner.tenant_id) as tx:
        return await jobs.add(tx, NewJob(user_id=owner.id, source_url="http://a", chain=["clipper"]))


async def test_a_job_is_shown_as_it_is_after_each_change(live: Services, database: Database, people: People) -> None:
    """What the first event loaded must not be shown again for the second."""
    owner = people[Role.USER]
    async with watched(live, owner, JOBS) as answers:
        job = await queued(database, owner)
        made = await answers()
        async with database.transaction("default") as tx:
            await jobs.mark_cancelled(tx, job.id)
        cancelled = await answers()

    assert {"id": str(job.id), "status": "QUEUED", "steps": [{"status": "PENDING"}]} == made["jobChanged"]["job"]
    shown = {"id": str(job.id), "status": "CANCELLED", "steps": [{"status": "CANCELLED"}]}
    assert shown == cancelled["jobChanged"]["job"]


async def test_who_comes_back_misses_nothing(live: Services, database: Database, people: People) -> None:
    owner = people[Role.USER]
    async with watched(live, owner, JOBS) as answers:
        await queued(database, owner)
        cursor = (await answers())["jobChanged"]["cursor"]
    missed = [await queued(database, owner), await queued(database, owner)]

    async with watched(live, owner, JOBS, after=cursor) as answers:
        seen = [(await answers())["jobChanged"]["job"]["id"] for _ in missed]

    assert [str(job.id) for job in missed] == seen


async def test_nobody_hears_of_jobs_they_may_not_see(
    live: Services, database: Database, people: People, other_people: People
) -> None:
    async with watched(live, people[Role.USER], JOBS) as mine, watched(live, people[Role.ADMIN], JOBS) as all_:
        await queued(database, other_people[Role.USER])
        colleagues = await queued(database, people[Role.OPERATOR])
        own = await queued(database, people[Role.USER])

        assert str(own.id) == (await mine())["jobChanged"]["job"]["id"]
        seen = [(await all_())["jobChanged"]["job"]["id"] for _ in range(2)]
        assert [str(colleagues.id), str(own.id)] == seen


async def test_one_job_can_be_watched_alone(live: Services, database: Database, people: People) -> None:
    owner = people[Role.USER]
    job = await queued(database, owner)
    async with watched(live, owner, JOBS, id=str(job.id)) as answers:
        await queued(database, owner)
        async with database.transaction("default") as tx:
            await jobs.mark_cancelled(tx, job.id)

        assert str(job.id) == (await answers())["jobChanged"]["job"]["id"]


async def test_a_job_that_was_removed_is_named_and_watched_on(
    live: Services, database: Database, people: People
) -> None:
    owner = people[Role.USER]
    job = await queued(database, owner)
    async with watched(live, owner, JOBS, id=str(job.id)) as answers:
        async with database.transaction("default") as tx:
            await tx.execute(sa.delete(job_rows).where(job_rows.c.id == job.id))
            await events.record(tx, Kind.JOB_CHANGED, str(job.id), {}, owner=owner.id)
        removed = (await answers())["jobChanged"]
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.JOB_CHANGED, str(job.id), {}, owner=owner.id)
        again = (await answers())["jobChanged"]

    assert (str(job.id), None) == (removed["jobId"], removed["job"])
    assert again == {**removed, "cursor": again["cursor"]}


async def test_an_operation_that_was_removed_is_named(live: Services, database: Database, people: People) -> None:
    document = "subscription { operationChanged { ... on OperationChange { operationId operation { id } } } }"
    gone = str(uuid4())
    async with watched(live, people[Role.ADMIN], document) as answers:
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.OPERATION_CHANGED, gone, {})
        told = await answers()

    assert {"operationChanged": {"operationId": gone, "operation": None}} == told


async def test_somebody_elses_job_cannot_be_watched(
    live: Services, database: Database, people: People, other_people: People
) -> None:
    colleagues = await queued(database, people[Role.OPERATOR])
    strangers = await queued(database, other_people[Role.USER])
    for job in (colleagues, strangers):
        async with watched(live, people[Role.USER], JOBS, id=str(job.id)) as answers:
            assert ["NOT_FOUND"] == await answers()


async def test_decisions_about_the_queue_are_shown(live: Services, database: Database, people: People) -> None:
    document = "subscription { queueChanged { ... on QueueChange { queue { paused } } } }"
    async with watched(live, people[Role.USER], document) as answers:
        async with database.transaction("default") as tx:
            await queues.mark_paused(tx)

        assert {"queueChanged": {"queue": {"paused": True}}} == await answers()


async def test_the_snapshot_is_shown_when_it_is_built_anew(live: Services, database: Database, people: People) -> None:
    document = "subscription { snapshotChanged { ... on SnapshotChange { snapshot { status } } } }"
    async with watched(live, people[Role.ADMIN], document) as answers:
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.SNAPSHOT_CHANGED, "default", {})

        assert {"snapshotChanged": {"snapshot": {"status": "success"}}} == await answers()


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"after": "x"}, "VALIDATION_ERROR"),
        ({"id": "7"}, "NOT_FOUND"),
        ({"id": "01a204f8-e1ef-7721-9061-af58bbbbb7db"}, "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_watched_is_refused(
    variables: dict[str, str], code: str, live: Services, people: People
) -> None:
    async with watched(live, people[Role.ADMIN], JOBS, **variables) as answers:
        assert [code] == await answers()


async def test_a_subscription_is_not_answered_as_a_read(ask: Ask, people: People) -> None:
    answer = await ask(people[Role.ADMIN], "{ jobChanged { __typename } }")

    assert answer.data is None


WATCHED: dict[str, Kind] = {
    "jobChanged": Kind.JOB_CHANGED,
    "operationChanged": Kind.OPERATION_CHANGED,
    "queueChanged": Kind.QUEUE_CHANGED,
    "snapshotChanged": Kind.SNAPSHOT_CHANGED,
    "agentChanged": Kind.AGENT_CHANGED,
    "workerChanged": Kind.WORKER_CHANGED,
    "logAppended": Kind.LOG_APPENDED,
    "securityAlert": Kind.SECURITY_ALERTED,
    "actionExecuted": Kind.ACTION_EXECUTED,
}


@pytest.mark.parametrize(("field", "kind"), WATCHED.items(), ids=WATCHED)
def test_it_takes_the_permission_with_which_its_kind_is_heard_of(field: str, kind: Kind) -> None:
    """Who may not watch something hears nothing of it among all events either, and the other way round."""
    [root] = schema.plan(f"subscription {{ {field} {{ __typename }} }}").roots

    assert isinstance(root.access, Guarded)
    assert HEARD_WITH[kind] in root.access.ways[0]
