"""An application over the test's stores, with a small schema of its own, served on loopback; and its commands."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from agentos import services as opening
from agentos.cli.app import main
from agentos.settings import Settings
from dataloaders.snapshot import whole
from db.redis import Redis, connect
from db.users import User
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.commands import ROOT, Outcome
from tests.onlooking import Onlooker, onlooking
from tests.serving import Served, served
from tests.waiting import PATIENCE_S

TokenOf = Callable[[User], str]
Ran = Callable[..., Awaitable[Outcome]]


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
async def onlooker(database_url: str, redis: Redis) -> AsyncIterator[Onlooker]:
    """Somebody who sees what calls leave."""
    async with onlooking(database_url, redis) as looking:
        yield looking


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


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ran:
    """Run a command as `run` does, in a thread of this process, which has loaded already what commands load.

    Not `up`, `serve`, `websocket` or `worker`: did one serve where it is to refuse, nobody could end that thread.
    """

    async def outcome(*arguments: str, env: Mapping[str, str]) -> Outcome:
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - env.keys():
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.chdir(ROOT)
            capfd.readouterr()
            code = await asyncio.to_thread(main, arguments)
        return Outcome(code, *capfd.readouterr())

    return outcome
