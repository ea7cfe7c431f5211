"""How answers are told: one of a query, each with its place of a subscription, and none with a hole in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from db import events
from db.database import STATEMENT_TIMEOUT, Database, DatabaseUnavailable, Transaction
from db.events import Kind
from db.models.identity import Role
from guards.errors import Unavailable
from resolvers.context import Services
from resolvers.live import Hub, Stopping
from schema.root import schema
from tests.conftest import People
from tests.resolvers.hubs import reading
from tests.schema.test_watching import Viewer, begun
from tests.uploading import context_of
from tests.waiting import until


async def test_a_query_has_one_answer_and_what_is_refused_has_not_begun(live: Services, people: People) -> None:
    user = people[Role.USER]
    asked = ["{ me { id } }", "{ me { nothing } }", "{", "subscription { snapshotChanged { __typename } }"]
    found = []
    for document in asked:
        [answer] = [told async for told in schema.told(document, context=context_of(live, user))]
        found.append((answer.began, answer.ok, [*json.loads(answer.body)], answer.cursor))

    assert (True, True, ["data"], None) == found[0]
    assert [(False, False, ["errors"], None)] * 3 == found[1:]


async def test_every_answer_says_where_to_go_on(live: Services, people: People) -> None:
    """Whatever was selected."""
    document = "subscription($after: String) { queueChanged(after: $after) { __typename } }"
    async with live.database.system() as tx:
        start = str(await events.edge(tx))
    async with live.database.transaction("default") as tx:
        await events.record(tx, Kind.QUEUE_CHANGED, "default", {})
    stream = schema.told(document, variables={"after": start}, context=context_of(live, people[Role.ADMIN]))
    async with aclosing(stream), asyncio.timeout(60):
        told = await anext(stream)

    assert {"cursor": str(told.cursor)} == json.loads(told.body)["extensions"]


class Faltering(Database):
    """A database that does not answer so many times."""

    def __init__(self, database: Database, failures: int) -> None:
        super().__init__(database.engine)
        self.failures = failures

    @asynccontextmanager
    async def transaction(self, tenant: str, *, timeout: timedelta = STATEMENT_TIMEOUT) -> AsyncIterator[Transaction]:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("the database did not answer in time")
        async with super().transaction(tenant, timeout=timeout) as tx:
            yield tx


async def test_a_change_that_cannot_be_read_at_once_is_told_whole(live: Services, people: People) -> None:
    """Told with a hole in it, it would be over for who goes on after its cursor."""
    user = people[Role.USER]
    faltering = replace(live, database=Faltering(live.database, 2))
    viewer = Viewer(faltering, user, "job", after=str(await live.hub.edge()))
    job = await begun(live.database, user, "job")

    await viewer.hear(job)

    assert [job] == [shown["id"] for shown in viewer.shown]


async def test_a_change_that_cannot_be_read_for_long_is_not_told_at_all(live: Services, people: People) -> None:
    user = people[Role.USER]
    away = replace(live, database=Faltering(live.database, 1_000))
    viewer = Viewer(away, user, "job", after=str(await live.hub.edge()))
    job = await begun(live.database, user, "job")

    with pytest.raises(Unavailable):
        await viewer.hear(job)

    assert [] == viewer.heard


async def test_who_was_told_nothing_yet_hears_that_the_process_goes(services: Services, people: People) -> None:
    """An error would be the end of the subscription for its client; this brings it back."""
    hub = Hub(services.database, services.redis)
    quiet = replace(services, hub=hub)
    stream = schema.told("subscription { queueChanged { __typename } }", context=context_of(quiet, people[Role.ADMIN]))
    async with aclosing(stream):
        async with reading(hub):
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: hub.listeners == 1)

        with pytest.raises(Stopping):
            await first
