"""Whichever action is chosen is carried out as its own mutation would, and answers the same."""

from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import jobs
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import JobStatus
from resolvers.actions.catalogue import CATALOGUE
from resolvers.context import Services
from schema.root import schema
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.uploading import context_of

BY_INPUT = "mutation ($i: AdminActionInput!) { it: adminAction(input: $i) { action result replayed operation { id } } }"
BY_NAME = "mutation ($n: String!, $p: JSON) { it: actionByName(name: $n, payload: $p) { action result replayed } }"
KEY = "0123456789abcdef"


@pytest_asyncio.fixture
async def job_id(services: Services) -> UUID:
    """A job that waits."""
    async with services.database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=["clipper"]))
    return job.id


def codes(answer: Any) -> list[str]:
    return [error.extensions["code"] for error in answer.errors or ()]


async def status(services: Services, job_id: UUID) -> JobStatus:
    async with services.database.transaction("default") as tx:
        job = await jobs.by_id(tx, job_id)
    assert job is not None
    return job.status


def test_every_action_can_be_chosen() -> None:
    chosen = schema._schema.type_map["AdminActionInput"]

    assert {action.field for action in CATALOGUE.values()} == set(chosen.fields)  # type: ignore[attr-defined]


async def test_a_chosen_action_has_its_effect(job_id: UUID, ask: Ask, people: People, services: Services) -> None:
    answer = await ask(people[Role.ADMIN], BY_INPUT, i={"jobCancel": {"jobId": str(job_id)}})

    assert answer.data is not None
    assert ("job.cancel", "cancelled", False) == (
        answer.data["it"]["action"],
        answer.data["it"]["result"]["new_status"],
        answer.data["it"]["replayed"],
    )
    assert JobStatus.CANCELLED is await status(services, job_id)


async def test_graphql_takes_no_field_that_there_is_not(job_id: UUID, ask: Ask, people: People) -> None:
    answer = await ask(people[Role.ADMIN], BY_INPUT, i={"jobCancel": {"jobId": str(job_id), "more": 1}})

    assert ["BAD_USER_INPUT"] == codes(answer)


async def test_older_clients_are_understood(job_id: UUID, ask: Ask, people: People, services: Services) -> None:
    """Unknown fields are passed over, and numbers may be text."""
    paused = await ask(
        people[Role.ADMIN], BY_NAME, n="queue.pause", p={"duration_minutes": "5", "queue_name": "default"}
    )
    cancelled = await ask(people[Role.ADMIN], BY_NAME, n="job.cancel", p={"job_id": str(job_id), "trace": {"a": []}})

    assert ([], []) == (codes(paused), codes(cancelled))
    assert True is (paused.data or {})["it"]["result"]["paused"]
    assert JobStatus.CANCELLED is await status(services, job_id)


@pytest.mark.parametrize("payload", [[], "text", 7, {"job_id": 7}, {}])
async def test_a_payload_that_does_not_fit_is_refused_and_on_record(
    payload: object, ask: Ask, people: People, services: Services
) -> None:
    answer = await ask(people[Role.ADMIN], BY_NAME, n="job.cancel", p=payload)

    assert ["VALIDATION_ERROR"] == codes(answer)
    async with services.database.system() as tx:
        assert [("job.cancel", "VALIDATION_ERROR")] == list(
            await tx.rows(sa.text("SELECT action, code FROM audit ORDER BY seq"))
        )


async def test_a_key_is_the_same_whichever_way_an_action_is_chosen(
    job_id: UUID, people: People, services: Services
) -> None:
    async def sent(document: str, **variables: object) -> Any:
        context = context_of(services, people[Role.ADMIN])
        context.idempotency_key = KEY
        answer = await schema.execute(document, variable_values=variables, context_value=context)
        assert answer.errors is None
        return (answer.data or {})["it"]

    first = await sent(BY_INPUT, i={"jobCancel": {"jobId": str(job_id)}})
    second = await sent(BY_NAME, n="job.cancel", p={"job_id": str(job_id)})

    assert [False, True] == [first["replayed"], second["replayed"]]
    assert first["result"] == second["result"]
