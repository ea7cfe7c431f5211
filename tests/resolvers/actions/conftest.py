"""Who carries out actions, and a worker whose agents the test plays."""

from pathlib import Path

import pytest

from dataloaders.snapshot import whole
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from resolvers import checks
from resolvers.actions import analytics, managers, performing
from resolvers.actions.agents_workers import workers
from resolvers.context import Context, Services
from tests.conftest import People
from tests.uploading import context_of, services_over
from tests.workers.conftest import Bench


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes of actions is tried here, not how soon: the machine that tests may be busy with others."""
    for module, name in (
        (performing, "PATIENCE_S"),
        (managers, "PATIENCE_S"),
        (analytics, "PATIENCE_S"),
        (checks, "PATIENCE_S"),
        (workers, "OBEYED_S"),
        (whole, "DEADLINE_S"),
    ):
        monkeypatch.setattr(module, name, 60.0)


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    """The services of one process over the test's stores."""
    return services_over(database, redis, tmp_path)


@pytest.fixture
def admin(services: Services, people: People) -> Context:
    """An administrator's operation."""
    return context_of(services, people[Role.ADMIN])


@pytest.fixture
def user(services: Services, people: People) -> Context:
    """A user's operation."""
    return context_of(services, people[Role.USER])


@pytest.fixture
def bench(services: Services) -> Bench:
    """A worker over the same stores."""
    return Bench(services.database, services.files)
