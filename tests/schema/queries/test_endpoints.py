"""Endpoints over GraphQL and REST: every row with what was measured of it, by whichever process, and who sees which."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from db import seed
from db.database import Database
from db.models.identity import Role
from db.traffic import Key
from db.users import User
from resolvers.context import Context, Services
from resolvers.traffic import Recorder
from schema.rest import serving
from schema.rest.endpoints import ENDPOINTS
from schema.root import schema
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.uploading import context_of

FIGURES: Final = "p50 p95 p99 average perSecond errorRate clientErrorRate serverErrorRate cacheHitRate legacyRate"
TABLE: Final = f"""query ($range: TimeRange! = HOUR) {{ endpoints(timeRange: $range) {{
  method path tag summary access roles limit deprecated requests {FIGURES} firstUsedAt lastUsedAt
}} }}"""
SSOT: Final = Key("GET", "/admin/ssot")
CHAIN: Final = ("video-downloader", "clipper")


async def table(ask: Ask, user: User, **variables: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The endpoints that a user sees."""
    answer = await ask(user, TABLE, **variables)
    assert answer.errors is None
    assert answer.data is not None
    return {(each["method"], each["path"]): each for each in answer.data["endpoints"]}


async def served(database: Database, ms: list[float], *, status: int = 200, ago: timedelta = timedelta()) -> None:
    """What one more process has answered, and written down."""
    at = (datetime.now(UTC) - ago).timestamp()
    process = Recorder(database, uuid4(), lambda: at)
    for number, each in enumerate(ms):
        process.record(SSOT, status, each / 1000, legacy=number % 2 == 0, cached=number % 4 != 0)
    assert await process.flush()


async def test_every_row_of_the_table_is_there_and_nothing_is_made_up(ask: Ask, people: People) -> None:
    told = await table(ask, people[Role.READONLY])

    assert [(row.method, row.path) for row in ENDPOINTS] == list(told)
    assert {0} == {each["requests"] for each in told.values()}
    figures = [*FIGURES.split(), "firstUsedAt", "lastUsedAt"]
    assert {None} == {each[name] for each in told.values() for name in figures}


async def test_what_all_processes_measured_is_one_row(ask: Ask, database: Database, people: People) -> None:
    await served(database, [10.0] * 90)
    await served(database, [200.0] * 8)
    await served(database, [900.0] * 2, status=503)

    ssot = (await table(ask, people[Role.ADMIN]))[SSOT]

    assert (100, 2.0, 0.0, 2.0, 50.0) == (
        ssot["requests"],
        ssot["errorRate"],
        ssot["clientErrorRate"],
        ssot["serverErrorRate"],
        ssot["legacyRate"],
    )
    assert 43.0 == ssot["average"]
    for name, exact in (("p50", 10.0), ("p95", 200.0), ("p99", 900.0)):
        assert abs(ssot[name] - exact) <= 0.05 * exact, name
    assert 0.027 <= ssot["perSecond"] <= 0.028
    assert 74.0 == ssot["cacheHitRate"]
    assert ssot["firstUsedAt"] <= ssot["lastUsedAt"]


@pytest.mark.parametrize(("range", "requests"), [("HOUR", 1), ("DAY", 3), ("WEEK", 6), ("MONTH", 10)])
async def test_each_stretch_of_time_has_what_lies_in_it(
    ask: Ask, database: Database, people: People, range: str, requests: int
) -> None:
    for number, ago in enumerate((timedelta(), timedelta(hours=5), timedelta(days=3), timedelta(days=20)), start=1):
        await served(database, [5.0] * number, ago=ago)

    assert requests == (await table(ask, people[Role.ADMIN], range=range))[SSOT]["requests"]


async def test_who_may_and_how_often_is_told_as_the_guards_have_it(ask: Ask, people: People) -> None:
    told = await table(ask, people[Role.ADMIN])

    def terms(method: str, path: str) -> tuple[Any, ...]:
        row = told[method, path]
        return row["access"], row["limit"], row["tag"], len(row["roles"])

    assert ("ADMIN_READ", 500, "ADMIN", 4) == terms("GET", "/admin/ssot")
    assert ("ADMIN_ACTION", 50, "ADMIN", 5) == terms("POST", "/admin/action")
    assert ("USER", 50, "JOBS", 4) == terms("POST", "/jobs/{job_id}/cancel")
    assert ("USER", 600, "UPLOAD", 4) == terms("POST", "/upload/chunk")
    assert ("PUBLIC", 10, "SYSTEM", 5) == terms("GET", "/health")


METRICS: Final = """{ analytics(timeRange: DAY) {
  timeRange since until endpoints { path access } jobs { hour made completed failed }
  agents { hour agentId completed failed skipped averageS }
} }"""


async def metrics(ask: Ask, user: User) -> dict[str, Any]:
    answer = await ask(user, METRICS)
    assert answer.errors is None
    assert answer.data is not None
    told: dict[str, Any] = answer.data["analytics"]
    return told


async def test_people_are_shown_the_endpoints_for_people_and_the_console_all(ask: Ask, people: People) -> None:
    user, readonly = await metrics(ask, people[Role.USER]), await metrics(ask, people[Role.READONLY])

    assert {"PUBLIC", "USER"} == {each["access"] for each in user["endpoints"]}
    assert {"PUBLIC", "USER", "ADMIN_READ", "ADMIN_ACTION"} == {each["access"] for each in readonly["endpoints"]}
    assert len(ENDPOINTS) == len(readonly["endpoints"])


async def test_jobs_and_agents_are_told_by_the_hour_and_by_the_tenant(
    ask: Ask, database: Database, people: People, other_people: People
) -> None:
    await seed.fill(database, "default", jobs=200, events=0, chain=CHAIN, seed=1, now=datetime.now(UTC))

    told, others = await metrics(ask, people[Role.USER]), await metrics(ask, other_people[Role.USER])

    assert 25 == len(told["jobs"]) == len(others["jobs"])
    assert [each["hour"] for each in told["jobs"]] == sorted(each["hour"] for each in told["jobs"])
    assert sum(each["made"] for each in told["jobs"]) > 0
    assert sum(each["completed"] for each in told["agents"]) > 0
    assert {*CHAIN} == {each["agentId"] for each in told["agents"]}
    assert (0, []) == (sum(each["made"] for each in others["jobs"]), others["agents"])


async def test_rest_clients_get_the_same_under_their_own_names(
    services: Services, database: Database, people: People
) -> None:
    await served(database, [10.0] * 3)

    async def identify(request: Request) -> Context:
        return context_of(services, people[Role.OPERATOR])

    app = Starlette(routes=serving.routes(schema, identify))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        newer = await client.get("/api/v1/analytics/metrics?time_range=1h")
        older = await client.get("/api/analytics/metrics?time_range=1h")
        wrong = await client.get("/api/analytics/metrics?time_range=2h")

    assert [200, 200, 400] == [newer.status_code, older.status_code, wrong.status_code]
    assert "VALIDATION_ERROR" == wrong.json()["error_code"]
    data = newer.json()["data"]
    assert "metrics" not in newer.json()
    # Asked for a moment later, the hour may begin and end in another minute.
    moments = {"since": None, "until": None}
    assert {**data, **moments} == {**older.json()["metrics"], **moments}
    assert "1h" == data["time_range"]
    [ssot] = [each for each in data["endpoints"] if each["path"] == SSOT.path]
    assert ("admin-read", "admin", 3, 10.0) == (ssot["access"], ssot["tag"], ssot["requests"], ssot["average_ms"])
    assert 2 == len(data["jobs"])
