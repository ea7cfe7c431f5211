"""The health of the system as one number, and the parts it is made of."""

from pathlib import Path

import pytest

from db.database import Database
from db.models.identity import Role
from db.redis import Redis, connect
from resolvers.actions.system_controls.health import overall
from resolvers.checks import CheckStatus, SystemCheck
from resolvers.context import Context
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of, services_over


def looker(database: Database, redis: Redis, people: People, folder: Path) -> Context:
    return context_of(services_over(database, redis, folder), people[Role.READONLY])


async def test_every_part_is_looked_at(database: Database, redis: Redis, people: People, tmp_path: Path) -> None:
    context = looker(database, redis, people, tmp_path)

    plain = await act(context, "system.health_check")
    deep = await act(context, "system.health_check", comprehensive=True)

    assert plain.components.keys() < deep.components.keys()
    assert {"pool", "connections", "indexes", "replication", "inodes"} == deep.components.keys() - plain.components
    assert overall(list(deep.components.values())) == deep.overall_health
    assert CheckStatus.HEALTHY == deep.components["database"].status
    assert 10 == deep.detailed_metrics.pool.size
    assert deep.detailed_metrics.server.connections >= 1
    assert [] == deep.detailed_metrics.indexes.invalid
    assert (None, None) == (plain.detailed_metrics.indexes, plain.detailed_metrics.replication)
    assert None is (await act(context, "system.health_check", include_metrics=False)).detailed_metrics


async def test_redis_away_costs_something_and_is_an_issue(
    database: Database, redis: Redis, people: People, tmp_path: Path
) -> None:
    before = await act(looker(database, redis, people, tmp_path), "system.health_check")
    async with connect("redis://127.0.0.1:1") as nowhere:
        after = await act(looker(database, nowhere, people, tmp_path), "system.health_check")

    # Beside redis, the machine is what it is just then: it may have been busier before.
    healthy = {**after.components, "redis": before.components["redis"]}
    assert after.overall_health < overall(list(healthy.values()))
    assert ["redis"] == [
        issue.partition(":")[0] for issue in after.issues_found if issue not in before.issues_found and "redis" in issue
    ]


@pytest.mark.parametrize(
    ("found", "number"),
    [
        ({"database": "healthy", "redis": "healthy"}, 100),
        ({"database": "healthy", "redis": "degraded"}, 90),
        ({"database": "unhealthy", "redis": "healthy"}, 20),
        ({"database": "healthy", "redis": "healthy", "cpu": "unhealthy"}, 91),
        ({"database": "healthy", "replication": "unknown"}, 100),
        ({"replication": "unknown"}, 0),
    ],
)
def test_the_number_is_what_its_formula_says(found: dict[str, str], number: int) -> None:
    assert number == overall([SystemCheck(name, CheckStatus(status), 1.0, "") for name, status in found.items()])
