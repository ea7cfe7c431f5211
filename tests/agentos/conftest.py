"""An application over the test's stores, with a small schema of its own, served on loopback."""

import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from agentos import services as opening
from agentos.settings import Settings
from dataloaders.snapshot import whole
from db.redis import connect
from db.users import User
from resolvers.context import Services
from tests.agentos import stage
from tests.serving import Served, served
from tests.waiting import PATIENCE_S

TokenOf = Callable[[User], str]


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings for the test's stores."""
    return Settings.model_validate({"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path})


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is late to read what Valkey answers in time would count calls alone, and be called degraded."""
    monkeypatch.setattr(opening, "connect", functools.partial(connect, answer_timeout_s=PATIENCE_S))
    monkeypatch.setattr(whole, "DEADLINE_S", 60.0)


@pytest_asyncio.fixture
async def services(settings: Settings, patience: None) -> AsyncIterator[Services]:
    """The services of a process."""
    async with opening.opened(settings, application="agentos tests") as opened:
        yield opened


@pytest_asyncio.fixture
async def server(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application on the network."""
    async with served(stage.staged(settings, services)) as running:
        yield running


@pytest.fixture
def token_of(services: Services) -> TokenOf:
    """A good access token of a user."""

    def make(user: User) -> str:
        return services.tokens.issued(
            user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version
        )

    return make
