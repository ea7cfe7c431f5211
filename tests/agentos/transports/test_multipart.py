"""Subscriptions in parts, read from the real server as Apollo Client reads them."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from starlette.datastructures import Headers

from agentos.app import create_app
from agentos.settings import Settings
from agentos.transports.multipart import BEAT_S, accepted
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import JOBS, PARTS, bearer, change_of, parts, queued
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import until


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The real application."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_each_change_is_a_part_that_is_complete_when_it_comes(
    real: Served, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with parts(real, token_of(people[Role.ADMIN])) as answer:
        await until(lambda: services.hub.listeners == 1)
        first = await queued(database, tenant)
        heard = [await answer.part()]
        second = await queued(database, tenant)
        heard.append(await answer.part())
    await until(lambda: services.hub.listeners == 0)

    cursors = [part["payload"]["extensions"]["cursor"] for part in heard if part]
    assert "multipart/mixed;boundary=graphql;subscriptionSpec=1.0" == answer.response.headers["content-type"]
    assert [
        {"payload": {"data": change_of(job, cursor), "extensions": {"cursor": cursor}}}
        for job, cursor in zip((first, second), cursors, strict=True)
    ] == heard


async def test_something_follows_an_answer_soon(
    real: Served, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Once, long before the heart beats: some readers hand out an answer only when they hear more."""
    async with parts(real, token_of(people[Role.ADMIN])) as answer:
        await until(lambda: services.hub.listeners == 1)
        async with asyncio.timeout(BEAT_S - 1):
            await queued(database, tenant)
            heard = [await answer.any_part() for _ in range(2)]
            await queued(database, tenant)
            heard += [await answer.any_part() for _ in range(2)]

    assert [True, False] * 2 == [bool(part) for part in heard]


async def test_a_subscription_that_does_not_begin_is_one_part_and_the_end(
    real: Served, people: People, token_of: TokenOf
) -> None:
    found = []
    for query in ("subscription { snapshotChanged { __typename } }", "subscription { nope }"):
        async with parts(real, token_of(people[Role.USER]), query) as answer:
            part = await answer.part() or {}
            assert None is await answer.part()
        found.append([(each["extensions"]["code"]) for each in part["payload"]["errors"]])

    assert [["FORBIDDEN"], ["GRAPHQL_VALIDATION_FAILED"]] == found


async def test_a_subscription_may_end_by_itself(server: Served, people: People, token_of: TokenOf) -> None:
    async with parts(server, token_of(people[Role.USER]), "subscription { twice }") as answer:
        heard = [await answer.part() for _ in range(3)]

    assert [{"payload": {"data": {"twice": 1}}}, {"payload": {"data": {"twice": 2}}}, None] == heard


async def test_what_is_no_subscription_is_answered_as_ever(real: Served, people: People, token_of: TokenOf) -> None:
    """Clients that take parts say so whatever they ask."""
    headers = {**PARTS, **bearer(token_of(people[Role.USER]))}
    answers = [
        await real.client.post("/graphql", json={"query": query}, headers=headers)
        for query in ("{ me { role } }", "subscription {", "mutation { nope }")
    ]

    assert ["application/json; charset=utf-8"] * 3 == [each.headers["content-type"] for each in answers]
    assert {"data": {"me": {"role": "USER"}}} == answers[0].json()
    assert [["errors"], ["errors"]] == [[*each.json()] for each in answers[1:]]


TAKES = {
    "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json;q=0.9": True,
    'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0", application/json': True,
    "application/json, Multipart/Mixed;SubscriptionSpec=1.0": True,
    "multipart/mixed;deferSpec=20220824,application/json": False,
    "multipart/mixed;subscriptionSpec=2.0": False,
    "application/json, text/event-stream, multipart/mixed": False,
    "*/*": False,
}


def test_only_who_says_so_takes_parts() -> None:
    assert TAKES == {accept: accepted(Headers({"accept": accept})) for accept in TAKES}


async def test_who_does_not_is_told_where_to_go(real: Served, people: People, token_of: TokenOf) -> None:
    answer = await real.graphql(JOBS, token_of(people[Role.USER]))

    [error] = answer.json()["errors"]
    assert (400, True) == (answer.status_code, "/graphql/stream" in error["message"])


async def test_nobody_gets_parts_without_a_good_token(real: Served) -> None:
    headers = {**PARTS, "authorization": "Bearer a.b.c"}
    answer = await real.client.post("/graphql", json={"query": JOBS}, headers=headers)

    assert (401, "UNAUTHENTICATED") == (answer.status_code, answer.json()["errors"][0]["extensions"]["code"])
