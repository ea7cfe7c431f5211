"""GraphQL over server-sent events, read from the real server as it comes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Receive, Scope, Send

from agentos.app import create_app
from agentos.settings import Settings
from agentos.transports.contexts import COOKIE
from agentos.transports.streams import TOKEN
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import EVENTS, Block, Events, change_of, events, queued
from tests.conftest import People
from tests.serving import Served, served

AFTER = "subscription ($after: String) { jobChanged(after: $after) { ... on JobChange { job { id } } } }"
STREAM = "/graphql/stream"
COMPLETE = Block(event="complete", data="")


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema that is ours."""
    async with served(create_app(settings, services)) as running:
        yield running


async def test_changes_come_with_their_cursor_as_id(
    real: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with events(real, token_of(people[Role.ADMIN])) as stream:
        began = await stream.place()
        first, second = await queued(database, tenant), await queued(database, tenant)
        heard = [await stream.event(), await stream.event()]

    headers = stream.response.headers
    assert ["text/event-stream", "no-store, no-transform", "no"] == [
        headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")
    ]
    assert [
        ("next", {"data": change_of(job, block.id or ""), "extensions": {"cursor": block.id}})
        for job, block in zip((first, second), heard, strict=True)
    ] == [(block.event, block.body) for block in heard]
    assert began < (heard[0].id or "") < (heard[1].id or "")


async def test_queries_and_mutations_are_answered_once_and_completed(
    server: Served, people: People, token_of: TokenOf
) -> None:
    user = people[Role.USER]
    found = []
    for query in ("{ me }", "mutation { touch }"):
        async with events(server, token_of(user), query) as stream:
            found.append([block for block in await stream.rest() if block.event])

    answers = ({"me": str(user.id)}, {"touch": True})
    assert [[{"data": answer}, COMPLETE] for answer in answers] == [[one.body, end] for one, end in found]


class Forgetful:
    """A server that does not look at what a client heard last."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [each for each in scope["headers"] if each[0] != b"last-event-id"]
        await self._app(scope, receive, send)


@pytest.mark.parametrize("remembers", [True, False])
async def test_what_happened_while_a_client_was_away_comes_after_its_last_id(
    settings: Settings,
    services: Services,
    database: Database,
    tenant: str,
    people: People,
    token_of: TokenOf,
    remembers: bool,
) -> None:
    """It stands above the argument `after`, which says where the client began; the twin that ignores it loses one."""
    app, token = create_app(settings, services), token_of(people[Role.ADMIN])
    if not remembers:
        app.add_middleware(Forgetful)
    async with served(app) as server:
        async with events(server, token) as stream:
            began = await stream.place()
            await queued(database, tenant)
            before = (await stream.event()).id
        missed = await queued(database, tenant)
        async with events(server, token, last=before) as again:
            await again.place()
            seen = await queued(database, tenant)
            heard = [(await again.event()).body["data"]["jobChanged"]["job"]["id"]]
            if remembers:
                heard.append((await again.event()).body["data"]["jobChanged"]["job"]["id"])
        async with events(server, token, AFTER, last=before, after=began) as other:
            first = (await other.event()).body["data"]["jobChanged"]["job"]["id"]

    assert ([str(missed.id)] if remembers else []) + [str(seen.id)] == heard
    assert remembers is (first == str(missed.id))


async def test_what_happens_before_the_first_event_is_not_lost_either(
    real: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """The stream says where it began: without that, nothing tells a client that was cut off at once what it missed."""
    token = token_of(people[Role.ADMIN])
    async with events(real, token) as stream:
        began = await stream.place()
    missed = await queued(database, tenant)
    async with events(real, token, last=began) as stream:
        again = await stream.event()
    async with events(real, token) as twin:
        await twin.place()
        seen = await queued(database, tenant)
        lost = await twin.event()

    assert [str(missed.id), str(seen.id)] == [each.body["data"]["jobChanged"]["job"]["id"] for each in (again, lost)]


async def test_a_browsers_own_reader_asks_by_get(
    real: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    headers = {**EVENTS, "cookie": f"{COOKIE}={token_of(people[Role.ADMIN])}", "sec-fetch-site": "same-origin"}
    asked = {"query": AFTER, "variables": '{"after": null}'}
    async with real.client.stream("GET", STREAM, params=asked, headers=headers) as response:
        stream = Events(response)
        began = await stream.place()
        job = await queued(database, tenant)
        heard = await stream.event()
    # What stands for it where it is wanting puts the last id into the address.
    async with real.client.stream("GET", STREAM, params={**asked, "lastEventId": began}, headers=headers) as response:
        again = await Events(response).event()

    assert {"jobChanged": {"job": {"id": str(job.id)}}} == heard.body["data"]
    assert heard == again


COOKIES: dict[str, tuple[str, dict[str, str], bool]] = {
    "a page of this server": ("GET", {"sec-fetch-site": "same-origin"}, True),
    "one that names its origin": ("GET", {"origin": "http://{here}"}, True),
    "one of an origin that is allowed": ("GET", {"origin": "https://console.test"}, True),
    "one of another": ("GET", {"origin": "https://evil.test", "sec-fetch-site": "cross-site"}, False),
    "one that hides where it is from": ("GET", {"sec-fetch-site": "cross-site"}, False),
    "no page": ("GET", {}, False),
    "a post": ("POST", {"sec-fetch-site": "same-origin"}, False),
}


async def test_a_cookie_counts_for_a_get_of_a_page_that_is_welcome(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    allowing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    user, counted = people[Role.USER], {}
    cookie = {"cookie": f"{COOKIE}={token_of(user)}"}
    async with served(stage.staged(allowing, services)) as server:
        for name, (method, headers, _) in COOKIES.items():
            page = {each: value.format(here=f"{server.host}:{server.port}") for each, value in headers.items()}
            asked = server.client.build_request(method, STREAM, **ask(method), headers={**EVENTS, **cookie, **page})
            answer = await server.client.send(asked)
            assert (200, True) == (answer.status_code, str(user.id) in answer.text or "UNAUTHENTICATED" in answer.text)
            counted[name] = str(user.id) in answer.text

    assert {name: counts for name, (_, _, counts) in COOKIES.items()} == counted


def ask(method: str) -> dict[str, Any]:
    """Who one is, asked in either way."""
    return {"params" if method == "GET" else "json": {"query": "{ me }"}}


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no document": ("subscription {", {}, "GRAPHQL_PARSE_FAILED"),
    "no such field": ("subscription { nope }", {}, "GRAPHQL_VALIDATION_FAILED"),
    "no cursor": (AFTER, {"after": "yesterday"}, "VALIDATION_ERROR"),
    "not theirs": ("subscription { snapshotChanged { __typename } }", {}, "FORBIDDEN"),
}


async def test_what_is_wrong_with_an_operation_is_told_in_the_stream(
    real: Served, people: People, token_of: TokenOf
) -> None:
    found = {}
    for name, (query, variables, _) in WRONG.items():
        async with events(real, token_of(people[Role.USER]), query, **variables) as stream:
            one, end = [block for block in await stream.rest() if block.event]
        assert ("next", ["errors"], COMPLETE) == (one.event, [*one.body], end)
        found[name] = one.code

    assert {name: code for name, (_, _, code) in WRONG.items()} == found


async def test_so_is_that_nobody_is_signed_in(real: Served) -> None:
    async with events(real, None) as stream:
        one, end = [block for block in await stream.rest() if block.event]

    assert ("UNAUTHENTICATED", COMPLETE) == (one.code, end)


REFUSED: dict[str, tuple[str, dict[str, str], dict[str, str], int, str]] = {
    "a mutation by get": ("GET", {"query": "mutation { touch }"}, {}, 405, "mutations go by POST"),
    "a reservation": ("PUT", {}, {}, 405, "a connection of its own"),
    "the end of one": ("DELETE", {"operationId": "1"}, {}, 405, "a connection of its own"),
    "its token": ("GET", {"query": "{ open }"}, {TOKEN: "x"}, 400, "no single connection mode"),
    "a token in the address": ("GET", {"query": "{ open }", "token": "x"}, {}, 400, "logs"),
    "the head alone": ("HEAD", {"query": "{ open }"}, {}, 405, ""),
    "no document": ("GET", {}, {}, 400, "a GraphQL document is needed"),
    "a client that takes no events": (
        "GET",
        {"query": "{ open }"},
        {"accept": "application/json"},
        406,
        "event-stream",
    ),
    "a token that is not good": ("GET", {"query": "{ open }"}, {"authorization": "Bearer a.b.c"}, 401, "token"),
    "a form": ("POST", {}, {"content-type": "text/plain"}, 415, "application/json"),
}


async def test_what_is_no_operation_has_its_status(server: Served) -> None:
    found = {}
    for name, (method, asked, headers, _, says) in REFUSED.items():
        answer = await server.client.request(method, STREAM, params=asked, headers={**EVENTS, **headers})
        found[name] = answer.status_code
        assert says in answer.text
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.status_code != 405 or "POST" in answer.headers["allow"]

    assert {name: status for name, (_, _, _, status, _) in REFUSED.items()} == found


async def test_a_page_elsewhere_may_send_back_the_last_id(settings: Settings, services: Services) -> None:
    allowing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    asking = {
        "origin": "https://console.test",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,last-event-id",
    }
    async with served(stage.staged(allowing, services)) as server:
        answer = await server.client.options(STREAM, headers=asking)
        plain = await server.client.options(STREAM)

    assert (200, "https://console.test") == (answer.status_code, answer.headers["access-control-allow-origin"])
    assert "last-event-id" in answer.headers["access-control-allow-headers"]
    assert 405 == plain.status_code
