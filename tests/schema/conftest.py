"""A schema, services over the test's stores, and asking it as somebody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from strawberry.types.execution import ExecutionResult

from db.database import Database
from db.redis import Redis
from db.users import User
from resolvers.context import Services
from resolvers.queries import health
from schema.root import schema

# Schemas read the same snapshots: no machine that pauses is to make them look old.
from tests.dataloaders.snapshot.conftest import patient as patient
from tests.uploading import context_of, services_over

Ask = Callable[..., Awaitable[ExecutionResult]]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is slow to answer on a busy machine is not one that is down."""
    monkeypatch.setattr(health, "PATIENCE_S", 60.0)


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


@pytest.fixture
def ask(services: Services) -> Ask:
    """`await ask(user, document, **variables)`: what an operation answers to a user, or to nobody."""

    async def asked(user: User | None, document: str, **variables: Any) -> ExecutionResult:
        return await schema.execute(document, variable_values=variables, context_value=context_of(services, user))

    return asked


@pytest_asyncio.fixture
async def live(services: Services) -> AsyncIterator[Services]:
    """Services whose hub reads events."""
    reader = asyncio.create_task(services.hub.run())
    yield services
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
