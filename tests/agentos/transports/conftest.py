"""Applications of single transports, on the network."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentos.app import assembled
from agentos.settings import Settings
from agentos.transports import tus as transport
from agentos.transports.legacy_sockets import LegacySockets
from db.models.identity import Role
from resolvers.context import Services
from schema.root import schema
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import speaking
from tests.agentos.transports.tus_client import Tus
from tests.conftest import People
from tests.serving import Served, served


@pytest_asyncio.fixture
async def legacy(settings: Settings, services: Services) -> AsyncIterator[tuple[Served, LegacySockets]]:
    """The process's application on the network, and its sockets."""
    async with speaking(settings, services) as running:
        yield running


@pytest.fixture
def legacy_server(legacy: tuple[Served, LegacySockets]) -> Served:
    """The application of the legacy WebSocket alone."""
    return legacy[0]


@pytest_asyncio.fixture
async def tus(settings: Settings, services: Services, people: People, token_of: TokenOf) -> AsyncIterator[Tus]:
    """A user of the real application, without its REST endpoints: they take a second to check."""
    settings = settings.model_copy(update={"cors_origins": ("https://pages.test",)})
    app = assembled(settings, services, schema, lambda identify, _: transport.routes(schema, identify))
    async with served(app) as server:
        yield Tus(server, services, token_of(people[Role.USER]))
