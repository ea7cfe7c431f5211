"""Idempotency keys on the wire: under which header, for what, and what an answer that was given before looks like."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from agentos.app import create_app
from agentos.settings import Settings
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served

PAUSE = "mutation ($m: Int) { queuePause(input: {durationMinutes: $m}) { state { paused pausedUntil } } }"
KEY = "a-key-of-sixteen"


@pytest_asyncio.fixture
async def running(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The whole application on the network."""
    async with served(create_app(settings, services)) as server:
        yield server


@pytest.fixture
def token(people: People, token_of: TokenOf) -> str:
    """An administrator's token."""
    return token_of(people[Role.ADMIN])


def code(answer: httpx.Response) -> Any:
    return answer.json()["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": KEY},
        {"x-idempotency-key": KEY},
        {"idempotency-key": f'"{KEY}"'},
        {"idempotency-key": KEY, "x-idempotency-key": KEY},
    ],
    ids=["standard", "older", "quoted", "both"],
)
async def test_a_key_is_known_by_either_name_and_the_second_answer_is_marked(
    running: Served, token: str, headers: dict[str, str]
) -> None:
    first = await running.graphql(PAUSE, token, headers, m=5)
    again = await running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=5)

    assert (200, None) == (first.status_code, first.headers.get("idempotent-replayed"))
    assert (200, "true") == (again.status_code, again.headers["idempotent-replayed"])
    assert {"replayed": ["queuePause"]} == again.json()["extensions"]
    assert first.json()["data"] == again.json()["data"]


@pytest.mark.parametrize(
    "headers",
    [
        [("idempotency-key", KEY), ("x-idempotency-key", KEY + "x")],
        [("idempotency-key", KEY), ("idempotency-key", KEY + "x")],
    ],
    ids=["two names", "one name"],
)
async def test_two_keys_that_differ_are_refused(running: Served, token: str, headers: list[tuple[str, str]]) -> None:
    answer = await running.client.post(
        "/graphql", json={"query": PAUSE}, headers=[("authorization", f"Bearer {token}"), *headers]
    )

    assert (400, "VALIDATION_ERROR") == (answer.status_code, code(answer))


@pytest.mark.parametrize("path", ["/graphql", "/api/v1/jobs/create", "/files/uploads"])
async def test_two_tokens_are_nobodys(running: Served, token: str, path: str) -> None:
    """Also the same one twice: whatever stands before this server may have believed the other."""
    twice = [("authorization", f"Bearer {token}")] * 2

    answer = await running.client.post(path, json={"query": "{ me { id } }"}, headers=twice)

    told = "Authorization: send one of them"
    assert 400 == answer.status_code
    assert told == (answer.json()["errors"][0]["message"] if path == "/graphql" else answer.json()["error"])


async def test_the_same_key_for_something_else_is_answered_with_422(running: Served, token: str) -> None:
    await running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=5)
    other = await running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=6)

    assert (422, "IDEMPOTENCY_MISMATCH") == (other.status_code, code(other))
    assert "idempotent-replayed" not in other.headers


async def test_a_call_that_is_still_running_is_answered_with_409_at_once(
    running: Served, token: str, people: People, database: Database
) -> None:
    name = f"default/replay/{people[Role.ADMIN].id}/{KEY}"
    async with database.transaction("default") as tx:
        assert await tx.try_hold(name)
        answer = await running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=5)
    after = await running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=5)

    assert (409, "IDEMPOTENCY_IN_PROGRESS", "1") == (answer.status_code, code(answer), answer.headers["retry-after"])
    assert 1 == answer.json()["errors"][0]["extensions"]["retryAfter"]
    assert (200, None) == (after.status_code, after.headers.get("idempotent-replayed"))


async def test_many_at_once_are_done_once(running: Served, token: str) -> None:
    answers = await asyncio.gather(*(running.graphql(PAUSE, token, {"idempotency-key": KEY}, m=5) for _ in range(8)))

    done = [answer for answer in answers if answer.status_code == 200]
    assert {200, 409} >= {answer.status_code for answer in answers}
    assert 1 == len([answer for answer in done if "idempotent-replayed" not in answer.headers])
    assert 1 == len({answer.text.partition(',"extensions"')[0] for answer in done})


async def test_what_was_partly_done_now_is_marked_by_its_field_alone(running: Served, token: str) -> None:
    field = 'queuePause(input: {durationMinutes: 5}) @idempotent(key: "a-key-of-sixteen") { state { paused } }'
    await running.graphql(f"mutation {{ {field} }}", token)
    both = await running.graphql(f"mutation {{ a: {field} b: queueResume {{ state {{ paused }} }} }}", token)

    assert {"replayed": ["a"]} == both.json()["extensions"]
    assert "idempotent-replayed" not in both.headers


async def test_rest_knows_calls_again_as_well(running: Served, token: str) -> None:
    headers = {"authorization": f"Bearer {token}", "x-idempotency-key": KEY}
    body = {"filename": "a.mp4", "file_size": 2_000}
    first = await running.client.post("/api/v1/upload/init", json=body, headers=headers)
    again = await running.client.post("/api/v1/upload/init", json=body, headers=headers)
    other = await running.client.post("/api/v1/upload/init", json=body | {"file_size": 3_000}, headers=headers)

    assert (201, None) == (first.status_code, first.headers.get("idempotent-replayed"))
    assert (201, "true") == (again.status_code, again.headers["idempotent-replayed"])
    assert first.json()["data"] == again.json()["data"]
    assert (422, "IDEMPOTENCY_MISMATCH") == (other.status_code, other.json()["error_code"])


async def test_the_key_of_a_sockets_handshake_stands_for_none_of_its_operations(running: Served, token: str) -> None:
    """They would all be taken for one call: the second for a mistake, and the third for the first."""
    async with running.socket(token, headers={"idempotency-key": KEY}) as socket:
        for minutes in (5, 6):
            name = str(uuid4())
            await socket.subscribe(name, PAUSE, m=minutes)
            heard = await socket.hear()
            assert ("next", None) == (heard["type"], heard["payload"].get("errors"))
            assert {"id": name, "type": "complete"} == await socket.hear()


async def test_over_a_socket_a_field_brings_its_own_key(running: Served, token: str) -> None:
    keyed = PAUSE.replace("m})", f'm}}) @idempotent(key: "{KEY}")').replace("$m: Int", "$m: Int = 5")
    payloads = []
    async with running.socket(token) as socket:
        for name in ("1", "2"):
            await socket.subscribe(name, keyed)
            payloads.append((await socket.hear())["payload"])
            await socket.hear()

    assert payloads[0]["data"] == payloads[1]["data"]
    assert (None, {"replayed": ["queuePause"]}) == tuple(payload.get("extensions") for payload in payloads)
