"""What every answer tells a browser, whatever it answers, and who may read it from a page of somewhere else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentos.app import assembled
from agentos.settings import Settings
from agentos.transports.headers import ALWAYS, DEFAULTS, HSTS, careful
from db.models.identity import Role
from resolvers.context import Services
from schema import root
from schema.rest import serving
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served

CONSOLE: Final = "https://console.test"
ELSEWHERE: Final = (
    "https://evil.test",
    "https://console.test.evil.test",
    "http://console.test",
    "null",
    CONSOLE + ":444",
)
QUERY: Final[dict[str, object]] = {"query": "{ me { id } }"}


async def broken(request: Request) -> Response:
    raise RuntimeError("an inside")


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application as it is reached over HTTPS and from a console, and a route that fails."""
    given = {**settings.model_dump(), "public_url": "https://agentos.test", "cors_origins": [CONSOLE]}
    app = assembled(
        Settings.model_validate(given),
        services,
        root.schema,
        lambda identify, own: [*serving.routes(root.schema, identify, own), Route("/broken", broken)],
    )
    async with served(app) as running:
        yield running


@pytest_asyncio.fixture
async def listing(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """An application that knows the console."""
    async with served(stage.staged(settings.model_copy(update={"cors_origins": (CONSOLE,)}), services)) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of answer."""

    status: int
    path: str
    method: str = "GET"
    json: dict[str, object] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    role: Role | None = None
    cache: str = "no-store"
    times: int = 1


BAD: Final = {"authorization": "Bearer not.a.token"}
NEW: Final = {"accept": "application/graphql-response+json"}
PREFLIGHT: Final = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
CASES: Final = {
    "a probe": Case(status=200, path="/livez"),
    "keys": Case(status=200, path="/.well-known/jwks.json", cache="public, max-age=300"),
    "the schema": Case(status=200, path="/graphql/schema.graphql"),
    "the description": Case(status=200, path="/openapi.json", cache="public, max-age=300"),
    "a query": Case(status=200, path="/graphql", method="POST", json=QUERY, role=Role.USER),
    "a query with a bad token": Case(status=401, path="/graphql", method="POST", json=QUERY, headers=BAD),
    "a query that is none": Case(status=400, path="/graphql", method="POST", json={"query": "{"}, headers=NEW),
    "no query": Case(status=415, path="/graphql", method="POST"),
    "an endpoint": Case(status=200, path="/api/v1/jobs/recent/5", role=Role.USER),
    "an endpoint as it was": Case(status=200, path="/api/jobs/recent/5", role=Role.USER),
    "an endpoint for others": Case(status=403, path="/api/v1/admin/ssot", role=Role.USER),
    "an endpoint of nobody": Case(status=401, path="/api/v1/jobs/recent/5"),
    "a job that is not there": Case(status=404, path="/api/v1/jobs/no-such-job", role=Role.USER),
    "no path": Case(status=404, path="/nowhere"),
    "no link": Case(status=404, path="/files/nothing"),
    "another method": Case(status=405, path="/livez", method="DELETE"),
    "too much": Case(status=413, path="/api/v1/jobs/create", method="POST", json={"x": "x" * 70_000}, role=Role.ADMIN),
    "too often": Case(status=429, path="/health", times=5),
    "a fault of ours": Case(status=500, path="/broken"),
    "a preflight": Case(status=200, path="/graphql", method="OPTIONS", headers=PREFLIGHT),
    "a preflight for nothing of ours": Case(
        status=400, path="/graphql", method="OPTIONS", headers={**PREFLIGHT, "access-control-request-method": "TRACE"}
    ),
    "a preflight of no path": Case(status=200, path="/nowhere", method="OPTIONS", headers=PREFLIGHT),
}


async def test_every_kind_of_answer_tells_browsers_to_be_careful(
    real: Served, people: People, token_of: TokenOf
) -> None:
    """Twenty-two kinds, each with the same seven headers, its own word on caching, and nothing of what serves it."""
    expected = {**ALWAYS, "strict-transport-security": HSTS, "access-control-allow-origin": CONSOLE}
    expected["content-security-policy"] = DEFAULTS["content-security-policy"]
    found = {}
    for name, case in CASES.items():
        bearer = {} if case.role is None else {"authorization": f"Bearer {token_of(people[case.role])}"}
        for _ in range(case.times):
            answer = await real.client.request(
                case.method, case.path, json=case.json, headers={"origin": CONSOLE, **bearer, **case.headers}
            )
        told = {each: answer.headers.get(each) for each in expected}
        varies = "origin" in answer.headers["vary"].lower()
        found[name] = answer.status_code, answer.headers["cache-control"], told, "server" in answer.headers, varies

    assert {name: (case.status, case.cache, expected, False, True) for name, case in CASES.items()} == found


async def test_a_page_and_what_has_not_changed_are_sent_with_the_same_care(real: Served) -> None:
    page = await real.client.get("/docs")
    whole = await real.client.get("/openapi.json")
    again = await real.client.get("/openapi.json", headers={"if-none-match": whole.headers["etag"]})

    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    closed = ("default-src", "frame-ancestors", "base-uri", "form-action")
    assert dict.fromkeys(closed, "'none'") == {name: policy[name] for name in closed}
    assert {"'none'", "'self'"} >= {*policy.get("script-src", "'none'").split()}
    assert {name: page.headers.get(name) for name in ALWAYS} == ALWAYS
    names = {*ALWAYS, "cache-control", "strict-transport-security", "content-security-policy", "etag"}
    assert (304, b"") == (again.status_code, again.content)
    assert {name: whole.headers[name] for name in names} == {name: again.headers.get(name) for name in names}


async def test_a_plain_address_promises_no_https(server: Served) -> None:
    assert "strict-transport-security" not in (await server.client.get("/livez")).headers


async def test_no_other_origin_is_ever_told_that_it_may(listing: Served) -> None:
    for origin in ELSEWHERE:
        asked = await listing.client.options("/graphql", headers={"origin": origin, **PREFLIGHT})
        plain = [await listing.client.get(path, headers={"origin": origin}) for path in ("/livez", "/nowhere")]

        told = [name for each in (asked, *plain) for name in each.headers if name.startswith("access-control-allow-or")]
        assert ([], 400) == (told, asked.status_code)
        assert {"origin"} <= {part.strip().lower() for part in plain[0].headers["vary"].split(",")}


CLIENTS: Final = {
    "REST": ("POST", "authorization,content-type,x-idempotency-key,x-trace-id,x-admin-request"),
    "GraphQL": ("POST", "authorization,content-type,idempotency-key,traceparent"),
    "SSE": ("GET", "authorization,last-event-id,cache-control"),
    "a snapshot that is known": ("GET", "authorization,if-none-match"),
    "tus creates": ("POST", "authorization,tus-resumable,upload-length,upload-metadata"),
    "tus goes on": ("PATCH", "authorization,tus-resumable,upload-offset,upload-checksum,content-type"),
    "tus asks": ("HEAD", "authorization,tus-resumable"),
    "tus ends": ("DELETE", "authorization,tus-resumable"),
    "curl's way": ("PUT", "authorization,content-range"),
}
REFUSED: Final = {
    "a method that nobody uses": ("TRACE", "authorization"),
    "a header that nobody reads": ("POST", "authorization,x-forwarded-for"),
    "a cookie": ("POST", "cookie"),
}


async def test_browsers_may_send_what_our_clients_send_and_no_more(listing: Served) -> None:
    async def asked(method: str, headers: str) -> int:
        wanted = {"access-control-request-method": method, "access-control-request-headers": headers}
        answer = await listing.client.options("/files/uploads", headers={"origin": CONSOLE, **wanted})
        assert "access-control-allow-credentials" not in answer.headers
        return answer.status_code

    assert dict.fromkeys(CLIENTS, 200) == {name: await asked(*wanted) for name, wanted in CLIENTS.items()}
    assert dict.fromkeys(REFUSED, 400) == {name: await asked(*wanted) for name, wanted in REFUSED.items()}


async def test_browsers_may_read_what_our_answers_say(listing: Served) -> None:
    answer = await listing.client.get("/livez", headers={"origin": CONSOLE})

    shown = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {
        *("x-trace-id", "ratelimit", "ratelimit-policy", "retry-after", "idempotent-replayed", "etag", "deprecation"),
        *("link", "location", "upload-offset", "tus-resumable", "content-range", "content-disposition"),
    } <= shown


def test_an_answer_from_outside_of_the_application_is_as_careful() -> None:
    names = dict(careful([(b"content-type", b"text/plain"), (b"cache-control", b"private")]))

    assert {**ALWAYS, **DEFAULTS, "cache-control": "private", "content-type": "text/plain"} == {
        name.decode(): value.decode() for name, value in names.items()
    }
