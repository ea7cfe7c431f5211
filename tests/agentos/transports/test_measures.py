"""Which endpoint a request counts for, and that what is counted gets into the database and stays there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentos import services as opening
from agentos.app import create_app
from agentos.metrics import Metrics
from agentos.settings import Settings
from agentos.transports.access import Access
from agentos.transports.measures import Measures
from db import traffic
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from db.traffic import Key, Traffic
from resolvers.context import Services
from schema.rest.endpoints import ENDPOINTS
from schema.rest.serving import PREFIXES
from tests.conftest import People
from tests.serving import served
from tests.uploading import services_over

SSOT = Key("GET", "/admin/ssot")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def services(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest_asyncio.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """An application that answers as it is asked to: `?status=…&hit=…`."""

    async def answer(request: Request) -> Response:
        if "hit" in request.query_params:
            request.state.cache_hit = request.query_params["hit"] == "yes"
        return Response(status_code=int(request.query_params.get("status", 200)))

    # Fixed paths before those with parameters, as they are served.
    rows = sorted(ENDPOINTS, key=lambda row: [part.startswith("{") for part in row.path.split("/")])
    paths = [(row, f"{prefix}{row.path}") for row in rows for prefix in (PREFIXES if row.own is None else [""])]
    app = Starlette(
        routes=[*(Route(path, answer, methods=[row.method]) for row, path in paths), Route("/livez", answer)],
        middleware=[Middleware(Access, metrics=Metrics(), measures=Measures(services.traffic))],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as opened:
        yield opened


async def counted(services: Services) -> dict[Key, Traffic]:
    assert await services.traffic.flush()
    async with services.database.system() as tx:
        return await traffic.by_endpoint(tx, LONG_AGO)


async def test_both_prefixes_count_as_one_endpoint_and_the_older_one_is_told_apart(
    client: httpx.AsyncClient, services: Services
) -> None:
    for path in ("/api/admin/ssot", "/api/v1/admin/ssot", "/api/v1/admin/ssot"):
        await client.get(path)

    [(key, told)] = (await counted(services)).items()

    assert (SSOT, 3, 33.33) == (key, told.requests, told.legacy_percent)


async def test_ids_in_paths_are_no_endpoints_of_their_own(client: httpx.AsyncClient, services: Services) -> None:
    for number in range(3):
        await client.get(f"/api/v1/upload/status/{number}")

    assert [Key("GET", "/upload/status/{upload_id}")] == list(await counted(services))


async def test_every_row_of_the_table_is_measured_below_each_prefix(
    client: httpx.AsyncClient, services: Services
) -> None:
    for row in ENDPOINTS:
        for prefix in PREFIXES if row.own is None else [""]:
            await client.request(row.method, f"{prefix}{row.path}")

    told = await counted(services)

    expected = {Key(row.method, row.path): len(PREFIXES) if row.own is None else 1 for row in ENDPOINTS}
    assert expected == {key: each.requests for key, each in told.items()}


@pytest.mark.parametrize(
    ("status", "name"), [(204, "succeeded"), (304, "redirected"), (429, "refused"), (503, "failed")]
)
async def test_answers_are_counted_by_the_class_of_their_status(
    client: httpx.AsyncClient, services: Services, status: int, name: str
) -> None:
    await client.get(f"/health?status={status}")

    told: Any = (await counted(services))[Key("GET", "/health")]

    assert [name] == [each for each in ("succeeded", "redirected", "refused", "failed") if getattr(told, each)]


async def test_answers_from_a_cache_are_told_from_others(client: httpx.AsyncClient, services: Services) -> None:
    for query in ("?hit=yes", "?hit=yes", "?hit=yes&status=304", "?hit=no", ""):
        await client.get(f"/api/admin/ssot{query}")

    told = (await counted(services))[SSOT]

    assert (5, 75.0) == (told.requests, told.hit_percent)


async def test_a_head_counts_as_the_get_that_answers_it(client: httpx.AsyncClient, services: Services) -> None:
    await client.head("/health")

    assert [Key("GET", "/health")] == list(await counted(services))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/livez"), ("GET", "/api/nothing"), ("DELETE", "/health"), ("POST", "/api/admin/ssot")]
)
async def test_what_is_no_row_of_the_table_is_not_measured(
    client: httpx.AsyncClient, services: Services, method: str, path: str
) -> None:
    await client.request(method, path)

    assert {} == await counted(services)


async def asked(settings: Settings, token: str, paths: list[str]) -> list[int]:
    """The statuses that a whole process answers with, from its start to its quiet end."""
    bearer = {"authorization": f"Bearer {token}"}
    async with (
        opening.opened(settings, application="agentos tests") as opened,
        served(create_app(settings, opened)) as running,
    ):
        return [(await running.client.get(path, headers=bearer)).status_code for path in paths]


async def test_processes_add_up_and_their_figures_outlive_them(
    database: Database, database_url: str, redis_url: str, people: People, tmp_path: Path
) -> None:
    """Two at once and a third after them, each ended before the seconds are over after which it would write."""
    settings = Settings.model_validate({"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path})
    reader = people[Role.READONLY]
    async with opening.opened(settings) as opened:
        token = opened.tokens.issued(
            user_id=reader.id, tenant=reader.tenant_id, role=reader.role, token_version=reader.token_version
        )
    paths = ["/api/v1/admin/ssot", "/api/admin/ssot", "/api/v1/admin/ssot?time_range=no", "/health"]

    both = await asyncio.gather(*(asked(settings, token, paths) for _ in range(2)))
    assert [[200, 200, 400, 200]] * 2 == both
    assert [200, 200] == await asked(settings, token, paths[:2])

    async with database.system() as tx:
        told = await traffic.by_endpoint(tx, LONG_AGO)
    ssot = told[SSOT]
    assert {SSOT: 8, Key("GET", "/health"): 2} == {key: each.requests for key, each in told.items()}
    assert (6, 2, 3) == (ssot.succeeded, ssot.refused, ssot.legacy)
    assert 6 == ssot.hits + ssot.misses
    assert ssot.hits >= 1
    assert 0 < (ssot.quantile_ms(0.5) or 0) <= (ssot.quantile_ms(0.99) or 0)
