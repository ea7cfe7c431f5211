"""Bodies: what is read, and what is not even looked at."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agentos.app import create_app
from agentos.settings import Settings
from agentos.transports import bodies
from agentos.transports.answers import on_refusal
from agentos.transports.bodies import MOST_OF_ANY, Operation, Sizes
from db.models.identity import Role
from guards.errors import BadInput, Refusal
from resolvers.context import Services
from schema.rest import serving
from schema.rest.endpoints import ENDPOINTS
from schema.rest.rows import Place
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import PATIENCE_S


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_sixty_four_levels_are_read_and_one_more_is_not() -> None:
    bodies.parsed(nested(64))

    with pytest.raises(BadInput, match="deeper than 64"):
        bodies.parsed(nested(65))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'"\\ud800"', b"NaN", b"Infinity", b"1e999", nested(200_000)])
def test_what_is_not_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match="not valid JSON"):
        bodies.parsed(text)


@pytest.mark.parametrize("text", [b'"\\u0000"', b'["a\\u0000b"]', b'{"a\\u0000":1}', b'{"a":{"b":"\\u0000"}}'])
def test_a_nul_is_refused_wherever_it_is(text: bytes) -> None:
    with pytest.raises(BadInput, match="NUL"):
        bodies.parsed(text)


def test_an_operation_has_just_its_four_parts() -> None:
    value = {"query": "{ a }", "variables": {"x": 1}, "operationName": "A", "extensions": {}, "other": 1}

    assert Operation("{ a }", {"x": 1}, "A", {}) == bodies.operation(value)


def paths(app: Starlette) -> Iterator[tuple[str, str]]:
    """Every method of every path that is served."""
    for route in app.routes:
        if isinstance(route, Route):
            for method in sorted(route.methods or {"GET", "POST"}):
                yield method, re.sub(r"{\w+(:\w+)?}", "x", route.path)


async def said(server: Served, method: str, path: str, *fields: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the whole of the first answer to what is sent, without waiting to send it all."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "host: here", *fields, "", ""])
    writer.write(head.encode() + body)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        rest = await reader.readexactly(int(length[1])) if length and method != "HEAD" else b""
    writer.transport.abort()
    return int(answer.split()[1]), answer + rest


async def test_what_announces_too_much_is_refused_on_every_path_before_it_is_sent(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    bearer = f"authorization: Bearer {token_of(people[Role.ADMIN])}"
    async with served(create_app(settings, services)) as server:
        asked = list(paths(server.app))
        answers = {
            (method, path): await said(server, method, path, bearer, f"content-length: {MOST_OF_ANY + 1}")
            for method, path in asked
        }
        _, headers = answers["POST", "/graphql"]
        [lie] = {await said(server, "POST", "/graphql", f"content-length: {number}") for number in ("9" * 19,)}

    assert len(asked) > 100
    assert dict.fromkeys(asked, 413) == {which: status for which, (status, _) in answers.items()}
    assert b'"error_code":"TOO_LARGE"' in headers
    assert b"x-content-type-options: nosniff" in headers
    assert 413 == lie[0]


async def test_what_brings_too_much_is_refused_on_every_path_that_reads_it(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """64 KB of JSON; GraphQL takes 256 KB, a form of a chunk 8 MB, and what reads nothing answers without it."""
    bearer = f"authorization: Bearer {token_of(people[Role.ADMIN])}"
    chunked = ("transfer-encoding: chunked", "content-type: application/json")
    body = b"".join(b"4000\r\n" + b" " * 0x4000 + b"\r\n" for _ in range(17))
    async with served(create_app(settings, services)) as server:
        asked = [path for method, path in paths(server.app) if method == "POST" and path.startswith(("/api", "/gr"))]
        found = {path: (await said(server, "POST", path, bearer, *chunked, body=body))[0] for path in asked}

    forms = dict.fromkeys([path for path in asked if path.endswith("/upload/chunk")], 415)
    read = {
        re.sub(r"{\w+}", "x", f"{prefix}{endpoint.path}")
        for prefix in serving.PREFIXES
        for endpoint in ENDPOINTS
        if any(source.place is Place.BODY for source in endpoint.variables.values())
    }
    unread = dict.fromkeys(set(asked) - read - {"/graphql", "/graphql/stream"}, 404)
    assert dict.fromkeys(asked, 413) | unread | forms == found
    assert (2, True) == (len(forms), len(read) >= 14)
    assert len(asked) > 20


async def test_a_path_without_a_limit_of_its_own_has_that_of_all() -> None:
    async def count(request: Request) -> Response:
        return PlainTextResponse(str(sum([len(part) async for part in request.stream()])))

    async def parts(*sizes: int) -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size

    app = Starlette(
        routes=[Route("/", count, methods=["POST"])],
        middleware=[Middleware(Sizes, most=10)],
        exception_handlers={Refusal: on_refusal},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        just = await client.post("/", content=parts(4, 6))
        over = await client.post("/", content=parts(4, 7, 5))

    assert ((200, "10"), (413, "TOO_LARGE")) == (
        (just.status_code, just.text),
        (over.status_code, over.json()["error_code"]),
    )
