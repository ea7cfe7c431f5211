"""`/api/admin/action` as consoles from before call it: one endpoint for all actions, behind the same guards."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request

from db import jobs
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import JobStatus
from resolvers.actions.catalogue import CATALOGUE
from resolvers.context import Context, Services
from schema.rest import serving
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of

KEY = "0123456789abcdef"


@pytest_asyncio.fixture
async def client(services: Services, people: People) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as an administrator, or as the role that the header `x-test-role` names."""

    async def identify(request: Request) -> Context:
        role = request.headers.get("x-test-role", "admin")
        context = context_of(services, None if role == "nobody" else people[Role(role)])
        context.idempotency_key = request.headers.get("x-idempotency-key")
        return context

    transport = httpx.ASGITransport(Starlette(routes=serving.routes(schema, identify)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as opened:
        yield opened


@pytest_asyncio.fixture
async def job_id(services: Services) -> UUID:
    """A job that waits."""
    async with services.database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=["clipper"]))
    return job.id


async def status(services: Services, job_id: UUID) -> JobStatus:
    async with services.database.transaction("default") as tx:
        job = await jobs.by_id(tx, job_id)
    assert job is not None
    return job.status


async def on_record(services: Services) -> list[tuple[str, str]]:
    async with services.database.system() as tx:
        rows = await tx.rows(sa.text("SELECT action, coalesce(code, outcome) FROM audit ORDER BY seq"))
    return [(action, told) for action, told in rows]


async def test_an_action_is_carried_out_by_its_name(
    client: httpx.AsyncClient, job_id: UUID, services: Services
) -> None:
    body = {"action": "job.cancel", "payload": {"job_id": str(job_id), "queue_name": "default"}}
    answer = await client.post("/api/admin/action", json=body)

    told = answer.json()
    assert (200, True, "job.cancel") == (answer.status_code, told["success"], told["action"])
    assert {"success", "data", "timestamp", "response_time_ms", "result", "action", "trace_id", "duration_ms"} == set(
        told
    )
    assert told["result"] == told["data"]["result"]
    assert ("queued", "cancelled") == (told["result"]["previous_status"], told["result"]["new_status"])
    assert 0 < told["duration_ms"] <= told["response_time_ms"] + 0.1
    assert JobStatus.CANCELLED is await status(services, job_id)
    assert [("job.cancel", "done")] == await on_record(services)


async def test_v1_answers_the_envelope_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/admin/action", json={"action": "queue.resume"})

    assert {"success", "data", "timestamp", "response_time_ms"} == set(answer.json())
    assert {"action", "result", "replayed", "operation", "trace_id", "duration_ms"} == set(answer.json()["data"])


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"payload": {"job_id": "7"}}, "VALIDATION_ERROR", "action: it is missing"),
        ({"action": None}, "VALIDATION_ERROR", "action: it is missing"),
        ({"action": 7}, "VALIDATION_ERROR", "action: choose exactly one"),
        ({"action": {"job.cancel": 1}}, "VALIDATION_ERROR", "action: choose exactly one"),
        ({"action": "job.cancle"}, "UNKNOWN_ACTION", "action: there is no action job.cancle; did you mean job.cancel"),
        ({"action": "x" * 5000}, "UNKNOWN_ACTION", "action: there is no action " + "x" * 50),
        ({"action": "queue.pause", "payload": {"duration_minutes": 0}}, "VALIDATION_ERROR", "duration_minutes: "),
        ({"action": "queue.pause", "payload": []}, "VALIDATION_ERROR", "payload: it must be an object"),
    ],
)
async def test_what_names_no_action_does_nothing(
    body: dict[str, Any], code: str, message: str, client: httpx.AsyncClient, services: Services
) -> None:
    """Where no action was named, the system before this one cleared the queue."""
    answer = await client.post("/api/admin/action", json=body)

    told = answer.json()
    assert (400, False, code) == (answer.status_code, told["success"], told["error_code"])
    assert told["detail"].startswith(message)
    async with services.database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM queue_states WHERE paused"))


@pytest.mark.parametrize(("role", "expected"), [("nobody", 401), ("user", 403), ("readonly", 403)])
async def test_who_may_not_is_told_so_before_anything_is_read(
    role: str, expected: int, client: httpx.AsyncClient, services: Services
) -> None:
    body = {"action": "queue.pause", "payload": {"duration_minutes": "never"}}
    answer = await client.post("/api/admin/action", json=body, headers={"x-test-role": role})

    assert expected == answer.status_code
    assert ([] if role == "nobody" else [("queue.pause", "FORBIDDEN")]) == await on_record(services)


async def test_a_key_makes_it_happen_once(client: httpx.AsyncClient, job_id: UUID, services: Services) -> None:
    body, headers = {"action": "job.cancel", "payload": {"job_id": str(job_id)}}, {"x-idempotency-key": KEY}
    first, second = [await client.post("/api/admin/action", json=body, headers=headers) for _ in range(2)]

    assert (200, 200) == (first.status_code, second.status_code)
    assert first.json()["result"] == second.json()["result"]
    assert [False, True] == [answer.json()["data"]["replayed"] for answer in (first, second)]
    assert [("job.cancel", "done")] == [each for each in await on_record(services) if each[1] == "done"]


async def test_too_often_is_told_with_when_to_try_again(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/api/admin/action", json={"action": "queue.resume"}) for _ in range(18)]

    assert [200] * 17 + [429] == [answer.status_code for answer in answers]
    assert "RATE_LIMITED" == answers[-1].json()["error_code"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10


async def test_the_status_is_the_catalogue_as_the_caller_may_use_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/admin/action/status", headers={"x-test-role": "user"})

    told = answer.json()
    assert 200 == answer.status_code
    assert told["actions"] == told["data"]["actions"]
    named = {each["name"]: each for each in told["actions"]}
    assert set(CATALOGUE) == set(named)
    assert (True, 50, False, None) == (
        named["job.cancel"]["allowed"],
        named["job.cancel"]["remaining"],
        named["queue.pause"]["allowed"],
        named["queue.pause"]["remaining"],
    )
    assert ("job.cancel", "supported") == (named["job.cancel"]["permission"], named["job.cancel"]["idempotency"])
