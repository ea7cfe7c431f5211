"""The whole application over the test's stores, on a port that programs from outside can reach."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from agentos import services as opening
from agentos.app import create_app
from agentos.settings import Settings
from db.models.identity import Role
from db.users import User
from tests.serving import Served, served


@pytest_asyncio.fixture
async def house(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """It, served."""
    given = {"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path}
    settings = Settings.model_validate(given)
    async with opening.opened(settings, application="agentos tests") as services:
        app = create_app(settings, services)
        app.state.services = services
        async with served(app) as running:
            yield running


@pytest_asyncio.fixture
async def tokens(house: Served, people: dict[Role, User]) -> dict[Role, str]:
    """A good access token of each role."""
    issued = house.app.state.services.tokens.issued
    return {
        role: issued(user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version)
        for role, user in people.items()
    }
