"""Services whose hub reads events, for those who watch."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from resolvers.context import Services


@pytest_asyncio.fixture
async def live(services: Services) -> AsyncIterator[Services]:
    """Services whose hub reads events."""
    reader = asyncio.create_task(services.hub.run())
    yield services
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
