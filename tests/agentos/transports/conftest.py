"""The legacy WebSocket's application, on the network."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentos.settings import Settings
from agentos.transports.legacy_sockets import LegacySockets
from resolvers.context import Services
from tests.agentos.transports.legacy import speaking
from tests.serving import Served


@pytest_asyncio.fixture
async def legacy(settings: Settings, services: Services) -> AsyncIterator[tuple[Served, LegacySockets]]:
    """The process's application on the network, and its sockets."""
    async with speaking(settings, services) as running:
        yield running


@pytest.fixture
def legacy_server(legacy: tuple[Served, LegacySockets]) -> Served:
    """The application alone."""
    return legacy[0]
