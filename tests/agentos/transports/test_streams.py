"""GraphQL over server-sent events, read from the real server as it comes."""

from collections.abc import AsyncIterator

import pytest_asyncio

from agentos.app import create_app
from agentos.settings import Settings
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import change_of, events, queued
from tests.conftest import People
from tests.serving import Served, served


@pytest_asyncio.fixture
async def server(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The real application."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_changes_come_with_their_cursor_as_id(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with events(server, token_of(people[Role.ADMIN])) as stream:
        began = await stream.place()
        first, second = await queued(database, tenant), await queued(database, tenant)
        heard = [await stream.event(), await stream.event()]

    assert "text/event-stream" == stream.response.headers["content-type"]
    assert [
        ("next", {"data": change_of(job, block.id or ""), "extensions": {"cursor": block.id}})
        for job, block in zip((first, second), heard, strict=True)
    ] == [(block.event, block.body) for block in heard]
    assert began < (heard[0].id or "") < (heard[1].id or "")
