"""Subscriptions in parts, read from the real server as Apollo Client reads them."""

from collections.abc import AsyncIterator

import pytest_asyncio

from agentos.app import create_app
from agentos.settings import Settings
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import change_of, parts, queued
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import until


@pytest_asyncio.fixture
async def server(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The real application."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_each_change_is_a_part_that_is_complete_when_it_comes(
    server: Served, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with parts(server, token_of(people[Role.ADMIN])) as answer:
        await until(lambda: services.hub.listeners == 1)
        first = await queued(database, tenant)
        heard = [await answer.part()]
        second = await queued(database, tenant)
        heard.append(await answer.part())
    await until(lambda: services.hub.listeners == 0)

    cursors = [part["payload"]["extensions"]["cursor"] for part in heard if part]
    assert 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0' == answer.response.headers["content-type"]
    assert [
        {"payload": {"data": change_of(job, cursor), "extensions": {"cursor": cursor}}}
        for job, cursor in zip((first, second), cursors, strict=True)
    ] == heard
