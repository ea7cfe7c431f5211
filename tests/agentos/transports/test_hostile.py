"""Documents made to keep a server busy or to make it fail: each is answered in no time, and never with a 500."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from graphql import get_introspection_query

from agentos.app import create_app
from agentos.settings import Settings
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import until

MOST_S = 0.25
"""Of both ends of the connection together, on a machine that does other things as well; a tenth of it is usual."""


def many(times: int, text: str) -> str:
    return "{ " + " ".join(text.format(n=n) for n in range(times)) + " }"


CHAIN = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(14))
HOSTILE = {
    "100 times the schema": many(100, "a{n}: __schema {{ types {{ fields {{ name args {{ name }} }} }} }}"),
    "the schema once": "{ __schema { types { fields { name args { name } } } } }",
    "what GraphiQL asks": get_introspection_query(),
    "480 times a field": many(480, "health {{ status }}"),
    "150 times a list": many(150, "jobs {{ edges {{ node {{ id }} }} }}"),
    "330 aliases": many(330, "a{n}: health {{ status }}"),
    "1,900 times the name of the type": many(1900, "__typename"),
    "200 conflicts": many(200, 'job(id: "{n}") {{ id }}'),
    "40 conflicts": many(40, 'job(id: "{n}") {{ id }}'),
    "90 fragments": many(90, "...f{n}")
    + " ".join(f"fragment f{n} on Query {{ health {{ status }} }}" for n in range(90)),
    "40 fragments of 40 fields": "{ me {"
    + " ".join(f"...f{n}" for n in range(40))
    + "} }"
    + " ".join(f"fragment f{n} on User {many(38, f'x{n}y{{n}}')}" for n in range(40)),
    "300 counts": many(300, "a{n}: jobs {{ totalCount }}"),
    "1,900 unknown fields": many(1900, "x{n}"),
    "1,800 unknown fields inside": "{ me " + many(1800, "x{n}") + " }",
    "240 KB of text": '{ job(id: "' + "x" * 240_000 + '") { id } }',
    "240 KB of lines": '{ job(id: """' + "\n" * 240_000 + '""") { id } }',
    "240 KB of one name": "{ " + "x" * 240_000 + " }",
    "60 KB of escapes": '{ job(id: "' + "\\u0041" * 10_000 + '") { id } }',
    "5,000 digits": "{ jobs(first: " + "9" * 5000 + ") { totalCount } }",
    "5,000 digits of a fraction": "{ jobs(first: 0." + "9" * 5000 + ") { totalCount } }",
    "a number beyond all": "{ jobs(first: 1e999) { totalCount } }",
    "300 directives": "{ health { status " + "@a " * 300 + "} }",
    "300 operations": " ".join(f"query q{n} {{ health {{ status }} }}" for n in range(300)),
    "400 variables": "query (" + " ".join(f"$v{n}: Int" for n in range(400)) + ") { health { status } }",
    "180 levels": "{ a " * 180 + "}" * 180,
    "no document": "{",
}
VALID = {"fragments that double": "{ ...f0 } " + CHAIN + " fragment f14 on Query { health { status } }"}


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with its own schema."""
    async with served(create_app(settings, services)) as running:
        yield running


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """No garbage collection over all that a run of tests has made, which would be counted as the server's work."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
async def test_what_a_stranger_posts_costs_next_to_nothing(real: Served, caplog: pytest.LogCaptureFixture) -> None:
    await real.graphql("{ health { status } }")
    spent, answers = {}, {}
    for name, document in {**HOSTILE, **VALID}.items():
        begun = time.process_time()
        answers[name] = await real.graphql(document, headers={"accept": "application/graphql-response+json"})
        spent[name] = time.process_time() - begun

    assert {} == {name: spent_s for name, spent_s in spent.items() if spent_s > MOST_S}
    assert {} == {
        name: answer.text for name, answer in answers.items() if answer.status_code not in (200, 400, 401, 413)
    }
    assert [{"data": {"health": {"status": "OK"}}}] == [answers[name].json() for name in VALID]
    assert {} == {name: each.text for name, each in answers.items() if "INTERNAL_ERROR" in each.text}
    assert [] == [record.message for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.usefixtures("_no_collection")
async def test_nor_does_what_comes_over_a_socket(
    real: Served, people: People, token_of: TokenOf, caplog: pytest.LogCaptureFixture
) -> None:
    spent, answers = {}, {}
    short = {name: text for name, text in HOSTILE.items() if len(text) < 60_000 and "GraphiQL" not in name}
    del short["the schema once"]
    async with real.socket(token_of(people[Role.USER])) as socket:
        for name, document in short.items():
            begun = time.process_time()
            await socket.subscribe(name, document)
            answers[name] = await socket.hear()
            spent[name] = time.process_time() - begun

    assert {} == {name: spent_s for name, spent_s in spent.items() if spent_s > MOST_S}
    assert {} == {name: each for name, each in answers.items() if (name, "error") != (each["id"], each["type"])}
    codes = {name: {error["extensions"]["code"] for error in each["payload"]} for name, each in answers.items()}
    assert {"GRAPHQL_PARSE_FAILED"} == codes["no document"]
    assert {"BAD_USER_INPUT"} == codes["5,000 digits"]
    assert {} == {name: each for name, each in codes.items() if "INTERNAL_ERROR" in each}
    assert [] == [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_is_signed_in_may_ask_for_the_schema(real: Served, people: People, token_of: TokenOf) -> None:
    asked = get_introspection_query(specified_by_url=True, input_value_deprecation=True)

    stranger = await real.graphql(asked)
    known = await real.graphql(asked, token_of(people[Role.USER]))

    assert (401, "sign in to ask for the schema; its text is at /graphql/schema.graphql") == (
        stranger.status_code,
        stranger.json()["errors"][0]["message"],
    )
    assert "Query" == known.json()["data"]["__schema"]["queryType"]["name"]


async def test_who_goes_away_while_sending_is_no_fault_of_ours(real: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agentos")
    _, writer = await asyncio.open_connection(real.host, real.port)
    writer.write(b"POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await until(lambda: any("went away" in record.message for record in caplog.records))

    assert 200 == (await real.graphql("{ health { status } }")).status_code
    assert [] == [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_subscription_that_may_not_begin_is_answered_with_one_error(
    real: Served, people: People, token_of: TokenOf
) -> None:
    nobodys = "01a204f8-e1ef-7721-9061-af58bbbbb7db"
    watched = "subscription ($id: ID, $after: String) { jobChanged(id: $id, after: $after) { cursor } }"
    async with real.socket(token_of(people[Role.USER])) as socket:
        await socket.subscribe("nobodys", watched, id=nobodys)
        missing = await socket.hear()
        await socket.subscribe("nobodys", watched, after="x")
        unreadable = await socket.hear()
        await socket.say({"type": "ping"})
        then = await socket.hear()

    assert [("error", "NOT_FOUND"), ("error", "VALIDATION_ERROR")] == [
        (each["type"], each["payload"][0]["extensions"]["code"]) for each in (missing, unreadable)
    ]
    assert {"type": "pong"} == then
