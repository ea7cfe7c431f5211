"""Limits as clients meet them: told on every answer that was counted, over HTTP, REST and WebSocket alike."""

from collections.abc import AsyncIterator
from math import ceil

import msgspec
import pytest
import pytest_asyncio
import sqlalchemy as sa

from agentos.app import create_app
from agentos.settings import Settings
from db.models.identity import Role
from guards.allowances import Class, of_bad_tokens, of_user
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served

BURST = ceil(Class.PUBLIC.per_minute / 3)
HEALTH = "{ health { status } }"
LOGIN = 'login(input: {email: "a@b.test", password: "wrong password"}) { __typename }'


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema that is ours."""
    async with served(create_app(settings, services)) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/health"])
async def test_who_is_not_signed_in_is_told_what_is_left_and_when_to_come_back(real: Served, path: str) -> None:
    answers = [await real.client.get(path) for _ in range(BURST + 1)]
    *good, last = answers

    assert [200] * BURST == [answer.status_code for answer in good]
    assert {'"public";q=10;w=60, "public-burst";q=4;w=10'} == {answer.headers["ratelimit-policy"] for answer in answers}
    assert '"public";r=9;t=60, "public-burst";r=3;t=10' == good[0].headers["ratelimit"]
    assert (429, "RATE_LIMITED") == (last.status_code, last.json()["error_code"])
    assert '"public-burst";r=0' in last.headers["ratelimit"]
    assert 0 < int(last.headers["retry-after"]) <= 10


async def test_probes_are_never_counted(real: Served) -> None:
    answers = [await real.client.get(path) for path in ("/livez", "/readyz", "/metrics") for _ in range(BURST + 2)]

    assert {200} == {answer.status_code for answer in answers}
    assert not any("ratelimit" in answer.headers for answer in answers)


async def test_what_anybody_asks_over_graphql_counts_like_what_they_ask_beside_it(real: Served) -> None:
    for _ in range(BURST):
        await real.client.get("/")

    answer = await real.graphql(HEALTH)

    [error] = answer.json()["errors"]
    assert 429 == answer.status_code
    assert ("RATE_LIMITED", "public-burst") == (error["extensions"]["code"], error["extensions"]["policy"])
    assert answer.headers["retry-after"] == str(error["extensions"]["retryAfter"])
    assert '"public-burst";r=0' in answer.headers["ratelimit"]


async def test_an_answer_over_graphql_tells_what_is_left(real: Served, people: People, token_of: TokenOf) -> None:
    answer = await real.graphql("{ me { id } }", token_of(people[Role.USER]))

    assert (200, '"user";r=99;t=60, "user-burst";r=33;t=10') == (answer.status_code, answer.headers["ratelimit"])


async def test_an_answer_over_rest_tells_what_is_left(real: Served, people: People, token_of: TokenOf) -> None:
    bearer = {"authorization": f"Bearer {token_of(people[Role.USER])}"}
    body = {"filename": "a.mp4", "file_size": 1000, "chunk_size": 1000}

    answers = [await real.client.post("/api/upload/init", json=body, headers=bearer) for _ in range(2)]

    assert [201, 201] == [answer.status_code for answer in answers]
    assert '"user";r=98' in answers[1].headers["ratelimit"]
    assert '"user";q=100;w=60' in answers[1].headers["ratelimit-policy"]


async def test_a_native_route_counts_and_tells_too(real: Served, people: People, token_of: TokenOf) -> None:
    bearer = {"authorization": f"Bearer {token_of(people[Role.USER])}"}

    answer = await real.client.get("/api/v1/upload/status/no-such-upload", headers=bearer)

    assert (404, True) == (answer.status_code, '"user";r=99' in answer.headers["ratelimit"])


async def test_a_chunk_has_a_limit_of_its_own(real: Served, people: People, token_of: TokenOf) -> None:
    """A file of many chunks would else keep its owner from everything else for minutes."""
    bearer = {"authorization": f"Bearer {token_of(people[Role.USER])}"}

    answer = await real.client.post("/api/v1/upload/chunk", headers=bearer)

    assert '"upload.init";q=600;w=60' == answer.headers["ratelimit-policy"]


async def test_over_a_socket_the_error_says_which_limit_and_when(
    real: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    user = people[Role.USER]
    most = Class.USER.buckets(of_user(user.id), 34)
    await services.rates.charge(user.tenant_id, most)

    async with real.socket(token_of(user)) as socket:
        await socket.subscribe("one", "{ me { id } }")
        refused = await socket.hear()

    assert ("error", "one") == (refused["type"], refused["id"])
    extensions = refused["payload"][0]["extensions"]
    assert ("RATE_LIMITED", "user-burst") == (extensions["code"], extensions["policy"])
    assert 0 < extensions["retryAfter"] <= 10


@pytest.mark.parametrize(("logins", "code"), [(15, "RATE_LIMITED"), (100, "GRAPHQL_VALIDATION_FAILED")])
async def test_logins_in_one_document_count_each(real: Served, services: Services, logins: int, code: str) -> None:
    """Their number in one request is the number of passwords somebody tries; so many are in no document at all."""
    document = "mutation {" + " ".join(f"a{number}: {LOGIN}" for number in range(logins)) + "}"

    answer = await real.graphql(document)

    async with services.database.system() as tx:
        attempts = await tx.scalar(sa.text("SELECT count(*) FROM lockouts"))
    assert {code} == {error["extensions"]["code"] for error in answer.json()["errors"]}
    assert 0 == attempts


async def test_tokens_that_are_not_good_are_counted_by_where_they_come_from(
    real: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    most = of_bad_tokens("127.0.0.1").rate.limit
    first = [(await real.graphql("{ me { id } }", "not.a.token")).status_code for _ in range(most)]
    over = await real.graphql("{ me { id } }", "not.a.token")
    rest = await real.client.get("/api/upload/status/x", headers={"authorization": "Bearer not.a.token"})
    good = await real.graphql("{ me { id } }", token_of(people[Role.USER]))
    async with services.database.system() as tx:
        told = await tx.rows(sa.text("SELECT payload->>'reason' FROM events WHERE kind = 'security_alerted'"))

    assert [("bad_tokens",)] == told
    assert {401} == set(first)
    assert (429, "bad-token") == (over.status_code, over.json()["errors"][0]["extensions"]["policy"])
    assert (429, f'"bad-token";q={most};w=60') == (rest.status_code, rest.headers["ratelimit-policy"])
    assert 200 == good.status_code


async def test_a_socket_that_tries_out_tokens_is_closed_for_it(real: Served, services: Services) -> None:
    here = of_bad_tokens("127.0.0.1")
    await services.rates.charge("", [msgspec.structs.replace(here, units=here.rate.limit)])

    async with real.socket(greet=False) as socket:
        await socket.say({"type": "connection_init", "payload": {"authorization": "Bearer not.a.token"}})

        assert 4429 == await socket.ended()


async def test_five_refused_actions_are_told(
    real: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    token = token_of(people[Role.READONLY])
    refused = [await real.graphql("mutation { queuePause(input: {}) { __typename } }", token) for _ in range(5)]

    async with services.database.system() as tx:
        told = await tx.rows(sa.text("SELECT kind, severity::text FROM system_events"))
    assert {403} == {answer.status_code for answer in refused}
    assert [("actions_denied", "warning")] == told
