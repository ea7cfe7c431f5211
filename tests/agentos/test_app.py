"""The real application: its own paths, what every answer carries, and what stays inside."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import asyncpg
import pytest
import pytest_asyncio

from agentos import VERSION
from agentos.app import create_app
from agentos.embedded import Addresses
from agentos.services import opened
from agentos.settings import Settings
from db.database import Database
from db.migrations import runner
from db.models.identity import Role
from resolvers.context import Services
from schema.root import schema
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served
from tests.urls import driver_url


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with its own schema."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_every_path_of_its_own_answers(real: Served, people: People, token_of: TokenOf) -> None:
    root = await real.client.get("/")
    keys = await real.client.get("/.well-known/jwks.json")
    sdl = await real.client.get("/graphql/schema.graphql")
    me = await real.graphql("{ me { id } }", token_of(people[Role.USER]))
    on = {path: (await real.client.get(path)).status_code for path in root.json()["links"].values()}

    assert ("AgentOS", VERSION) == (root.json()["name"], root.json()["version"])
    assert {"EdDSA"} == {key["alg"] for key in keys.json()["keys"]}
    assert "d" not in keys.json()["keys"][0]
    assert schema.as_str() == sdl.text
    # GraphQL is there and says that a query is missing.
    assert {"/graphql": 400} | dict.fromkeys(
        ("/graphql/schema.graphql", "/health", "/docs", "/openapi.json"), 200
    ) == on
    assert 200 == me.status_code, me.text


async def test_an_old_token_keeps_nobody_from_what_everybody_may_use(real: Served) -> None:
    """A client with a stale header could otherwise not follow the advice to sign in again."""
    stale = "not.a.token"
    health = await real.graphql("{ health { status } }", stale)
    login = await real.graphql(
        'mutation { login(input: {email: "a@b.test", password: "wrong password"}) { __typename } }', stale
    )
    me = await real.graphql("{ me { id } }", stale)
    both = await real.graphql("{ health { status } me { id } }", stale)
    long = await real.graphql("{ health { status } }" + " " * 5000, stale)

    assert (200, "OK") == (health.status_code, health.json()["data"]["health"]["status"])
    assert ["email or password is wrong"] == [error["message"] for error in login.json()["errors"]]
    assert [401, 401, 401] == [me.status_code, both.status_code, long.status_code]


async def test_health_and_readiness_say_how_the_stores_are(real: Served) -> None:
    ready = await real.client.get("/readyz")
    health = await real.client.get("/health")
    alive = await real.client.get("/livez")

    assert (200, "ready", {"database": True, "redis": True}) == (
        ready.status_code,
        ready.json()["status"],
        {name: check["ok"] for name, check in ready.json()["checks"].items()},
    )
    assert (200, {"status": "healthy", "version": VERSION, "checks": {"database": "ok", "redis": "ok"}}) == (
        health.status_code,
        health.json()["data"],
    )
    assert (True, "healthy") == (health.json()["success"], health.json()["status"])
    assert (200, {"status": "alive"}) == (alive.status_code, alive.json())


@pytest_asyncio.fixture
async def lonely(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """A server whose stores do not answer."""
    nowhere = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", size=1)
    cut_off = replace(services, database=nowhere)
    async with served(stage.staged(settings, cut_off)) as running:
        yield running
    await nowhere.close()


async def test_without_the_database_it_lives_is_not_ready_and_refuses_politely(
    lonely: Served, people: People, token_of: TokenOf
) -> None:
    alive = await lonely.client.get("/livez")
    ready = await lonely.client.get("/readyz")
    health = await lonely.client.get("/health")
    query = await lonely.graphql("{ me }", token_of(people[Role.USER]))

    assert 200 == alive.status_code
    assert (503, "not ready", False) == (
        ready.status_code,
        ready.json()["status"],
        ready.json()["checks"]["database"]["ok"],
    )
    assert (503, "unhealthy") == (health.status_code, health.json()["status"])
    assert (503, "UNAVAILABLE", "1") == (
        query.status_code,
        query.json()["errors"][0]["extensions"]["code"],
        query.headers["retry-after"],
    )


async def test_a_database_that_lets_nobody_in_is_away_for_a_while_and_not_a_fault(
    server: Served, services: Services, settings: Settings, pair: Addresses, people: People, token_of: TokenOf
) -> None:
    """As a server does that is starting or stopping: it answers, and refuses."""
    name = str(settings.database_url).rpartition("/")[2].partition("?")[0]
    administrator = await asyncpg.connect(driver_url(pair.database_url))
    try:
        await administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        refused = {(await server.graphql("{ me }", token_of(people[Role.USER]))).status_code for _ in range(5)}
        ready = await server.client.get("/readyz")
        await administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        again = await server.client.get("/readyz")
        served_again = await server.graphql("{ me }", token_of(people[Role.USER]))
    finally:
        await administrator.close()

    assert ({503}, 503, 200, 200) == (refused, ready.status_code, again.status_code, served_again.status_code)


async def test_without_redis_it_is_ready_and_says_that_it_is_degraded(settings: Settings, services: Services) -> None:
    without = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with opened(without) as poorer, served(stage.staged(without, poorer)) as server:
        ready = await server.client.get("/readyz")
        health = await server.client.get("/health")

    assert (200, False) == (ready.status_code, ready.json()["checks"]["redis"]["ok"])
    assert (200, "degraded") == (health.status_code, health.json()["status"])


async def test_a_database_that_is_not_migrated_makes_it_not_ready(real: Served, settings: Settings) -> None:
    assert settings.database_url is not None
    await runner.downgrade(settings.database_url, "-1")

    ready = await real.client.get("/readyz")

    assert 503 == ready.status_code
    assert runner.head() in ready.json()["checks"]["database"]["detail"]


ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


async def test_every_answer_tells_browsers_to_be_careful(server: Served) -> None:
    for path in ("/", "/livez", "/graphql/schema.graphql", "/nowhere", "/graphql?query={open}"):
        answer = await server.client.get(path)

        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
        assert {"server", "strict-transport-security"}.isdisjoint(answer.headers)


async def test_https_is_promised_only_where_it_is_spoken(settings: Settings, services: Services) -> None:
    secure = Settings.model_validate({**settings.model_dump(), "public_url": "https://agentos.test"})
    async with served(stage.staged(secure, services)) as server:
        answer = await server.client.get("/livez")

    assert "max-age=31536000; includeSubDomains" == answer.headers["strict-transport-security"]


async def test_what_is_not_there_is_answered_in_the_envelope(server: Served) -> None:
    missing = await server.client.get("/nowhere")
    wrong = await server.client.delete("/livez")

    assert (404, False, "NOT_FOUND") == (missing.status_code, missing.json()["success"], missing.json()["error_code"])
    assert (405, "METHOD_NOT_ALLOWED") == (wrong.status_code, wrong.json()["error_code"])
    assert {"GET", "HEAD"} == set(wrong.headers["allow"].split(", "))


async def test_a_slash_too_many_leads_nowhere(real: Served) -> None:
    """It must not lead where `Host` says."""
    paths = ("/api/v1/jobs/today/", "/api/jobs/today/", "/livez/", "/files/uploads/x/")

    answers = [await real.client.get(path, headers={"host": "evil.test"}) for path in paths]

    assert [(404, None, "NOT_FOUND")] * 4 == [
        (answer.status_code, answer.headers.get("location"), answer.json()["error_code"]) for answer in answers
    ]


async def test_older_clients_read_the_detail_of_what_is_not_there(real: Served) -> None:
    asked = [("GET", "/api/nope"), ("DELETE", "/api/jobs/today"), ("GET", "/api/v1/nope"), ("DELETE", "/livez")]

    bodies = [(await real.client.request(method, path)).json() for method, path in asked]

    assert [("not found", "not found"), ("method not allowed", "method not allowed")] == [
        (body["error"], body["detail"]) for body in bodies[:2]
    ]
    assert [False, False] == ["detail" in body for body in bodies[2:]]


@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
async def test_a_path_of_its_own_is_no_parameter_of_another(real: Served, prefix: str) -> None:
    """`create` is no job, and `restart` no agent, whichever method is asked for there."""
    asked = [
        (method, path)
        for method in ("GET", "HEAD", "DELETE")
        for path in ("/jobs/create", "/agents/restart", "/agents/clear-queue")
    ]

    answers = [await real.client.request(method, prefix + path) for method, path in asked]
    both = await real.client.delete(f"{prefix}/agents/config")

    assert [(405, "POST")] * 9 == [(answer.status_code, answer.headers.get("allow")) for answer in answers]
    assert (405, "GET, HEAD, POST") == (both.status_code, both.headers["allow"])


def preflight(origin: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }


async def test_only_listed_origins_may_call_from_a_browser(settings: Settings, services: Services) -> None:
    listing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    async with served(stage.staged(listing, services)) as server:
        good = await server.client.options("/graphql", headers=preflight("https://console.test"))
        told = {}
        for origin in ("https://evil.test", "https://console.test.evil.test", "null", "http://console.test"):
            bad = await server.client.options("/graphql", headers=preflight(origin))
            plain = await server.client.get("/livez", headers={"origin": origin})
            told[origin] = [each.headers.get("access-control-allow-origin") for each in (bad, plain)]

    assert "https://console.test" == good.headers["access-control-allow-origin"]
    assert "access-control-allow-credentials" not in good.headers
    assert {(None, None)} == {tuple(each) for each in told.values()}


async def test_metrics_are_for_allowed_addresses_and_have_no_words_of_clients(
    settings: Settings, services: Services, server: Served
) -> None:
    await server.graphql("query Secret { theirs: open }")
    await server.client.get("/nowhere/nothing")
    seen = (await server.client.get("/metrics")).text
    elsewhere = settings.model_copy(update={"admin_allow": (ip_network("10.0.0.0/8"),)})
    async with served(stage.staged(elsewhere, services)) as other:
        refused = await other.client.get("/metrics")

    assert 'agentos_graphql_operations_total{field="open",outcome="ok",type="query"} 1.0' in seen
    assert 'agentos_http_request_seconds_count{method="GET",route="none",status="404"} 1.0' in seen
    assert 'agentos_jobs{status="queued"} 0.0' in seen
    assert "agentos_hub_behind_seconds" in seen
    assert "agentos_pool_connections_most 10.0" in seen
    assert not [word for word in ("theirs", "Secret", "nothing") if word in seen]
    assert (403, "FORBIDDEN") == (refused.status_code, refused.json()["error_code"])


async def test_a_client_cannot_say_where_it_is(server: Served, settings: Settings, services: Services) -> None:
    behind = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    forwarded = {"x-forwarded-for": "203.0.113.7"}
    plain = await server.graphql("{ address }", headers=forwarded)
    async with served(stage.staged(behind, services)) as proxied:
        believed = await proxied.graphql("{ address }", headers=forwarded)

    assert "127.0.0.1" == plain.json()["data"]["address"]
    assert "203.0.113.7" == believed.json()["data"]["address"]


async def test_health_is_answered_from_memory(server: Served, services: Services) -> None:
    """No connection of the pool is taken for it."""
    before = await server.client.get("/health")
    await services.database.close()
    held = [await services.database.engine.connect() for _ in range(10)]
    try:
        after = await server.client.get("/health")
    finally:
        for connection in held:
            await connection.close()

    assert before.json()["data"] == after.json()["data"]
