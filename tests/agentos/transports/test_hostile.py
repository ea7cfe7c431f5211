"""Documents made to keep a server busy or to make it fail: each is answered in no time, and never with a 500."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import msgspec
import pytest
import pytest_asyncio
from graphql import get_introspection_query
from websockets.exceptions import ConnectionClosed

from agentos.app import create_app
from agentos.settings import Settings
from agentos.transports import bodies
from agentos.transports.seats import MOST_BYTES
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.streaming import EVENTS, PARTS
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
ASKED = '{"query": "{ health { status } }", "variables": %s}'
BODIES = {
    "8 MB of a document": b'{"query": "{ ' + b"a " * 4_000_000 + b'}"}',
    "8 MB of spaces": b" " * 8_000_000,
    "8 MB of one number": (ASKED % ("9" * 8_000_000)).encode(),
    "8 MB of brackets": b"[" * 8_000_000,
    "broken UTF-8": b'{"query": "{ health { status } } # \xff\xfe\xc0\xaf"}',
    "UTF-8 that breaks off": b'{"query": "{ health } \xe2\x82',
    "UTF-16": ASKED.encode("utf-16"),
    "an integer of 5,000 digits": (ASKED % ('{"a": ' + "9" * 5_000 + "}")).encode(),
    "an integer of 200,000 digits": (ASKED % ('{"a": ' + "9" * 200_000 + "}")).encode(),
    "a number beyond all": (ASKED % '{"a": 1e999}').encode(),
    "no number": (ASKED % '{"a": NaN}').encode(),
    "a NUL": (ASKED % '{"a": "\\u0000"}').encode(),
    "a raw NUL": b'{"query": "{ health\x00 { status } }"}',
    "half of a surrogate pair": (ASKED % '{"a": "\\ud800"}').encode(),
    "half of a pair as a key": (ASKED % '{"\\udfff": 1}').encode(),
    "900 levels of variables": (ASKED % ('{"a":' * 900 + "1" + "}" * 900)).encode(),
    "50,000 levels of lists": (ASKED % ("[" * 50_000 + "]" * 50_000)).encode(),
    "50,000 levels without an end": (ASKED % ("[" * 50_000)).encode(),
    "duplicate keys": b'{"query": "{ nothing }", "query": "{ health { status } }", "variables": {}, "variables": []}',
    "20,000 variables": (ASKED % ("{" + ",".join(f'"v{n}": {n}' for n in range(20_000)) + "}")).encode(),
    "40,000 empty lists": (ASKED % ('{"a": [' + ",".join(["[]"] * 40_000) + "]}")).encode(),
    "a batch": ("[" + ",".join([ASKED % "{}"] * 100) + "]").encode(),
    "a number": b"5",
    "nothing": b"",
    "a document that is none": b'{"query": 5, "variables": "x", "operationName": []}',
}
"""What is no operation, or hides in one; over a socket each is the payload of a message."""

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


@pytest.mark.usefixtures("_no_collection")
async def test_bodies_are_read_with_suspicion(real: Served, caplog: pytest.LogCaptureFixture) -> None:
    await real.graphql("{ health { status } }")
    spent, statuses, answers = {}, {}, {}
    for name, body in BODIES.items():
        begun = time.process_time()
        answer = await real.client.post("/graphql", content=body, headers={"content-type": "application/json"})
        spent[name] = time.process_time() - begun
        statuses[name], answers[name] = answer.status_code, answer.text

    assert {} == {name: spent_s for name, spent_s in spent.items() if spent_s > MOST_S}
    assert {} == {name: status for name, status in statuses.items() if status not in (200, 400, 413)}
    large = {name for name, body in BODIES.items() if len(body) > bodies.MOST_BYTES}
    assert large == {name for name, status in statuses.items() if status == 413}
    assert {} == {name: text for name, text in answers.items() if "INTERNAL_ERROR" in text}
    assert [] == [record.message for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.usefixtures("_no_collection")
async def test_and_so_are_messages(
    real: Served, people: People, token_of: TokenOf, caplog: pytest.LogCaptureFixture
) -> None:
    """Each comes over a socket of its own: what is no message ends it, with a code that says why."""
    token, spent, told = token_of(people[Role.USER]), {}, {}
    for name, body in BODIES.items():
        async with real.socket(token) as socket:
            message = b'{"id": "1", "type": "subscribe", "payload": ' + body + b"}"
            begun = time.process_time()
            with suppress(ConnectionClosed):
                # Bytes that are no text can only be sent as one by a client that does not look.
                await socket.connection.send(message, text=True)
                told[name] = (await socket.hear())["type"]
            if name not in told:
                told[name] = await socket.ended()
            spent[name] = time.process_time() - begun

    assert {} == {name: spent_s for name, spent_s in spent.items() if spent_s > MOST_S}
    assert {} == {name: each for name, each in told.items() if each not in ("next", "error", 4400, 1007, 1009)}
    large = {name for name, body in BODIES.items() if len(body) > MOST_BYTES}
    assert large == {name for name, each in told.items() if each == 1009}
    # What is no UTF-8 never gets past the protocol, which says so itself.
    errors = {record.message for record in caplog.records if record.levelno >= logging.ERROR}
    assert {"Invalid UTF-8 sequence received from client."} >= errors


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize(("path", "accept"), [("/graphql/stream", EVENTS), ("/graphql", PARTS)])
async def test_streams_are_as_careful(
    real: Served, caplog: pytest.LogCaptureFixture, path: str, accept: dict[str, str]
) -> None:
    asked = {
        name: msgspec.json.encode({"query": f"subscription {text}" if text.startswith("{") else text})
        for name, text in HOSTILE.items()
    }
    await real.graphql("{ health { status } }")
    spent, answers = {}, {}
    for name, body in {**asked, **BODIES}.items():
        begun = time.process_time()
        headers = {"content-type": "application/json", **accept}
        answers[name] = await real.client.post(path, content=body, headers=headers)
        spent[name] = time.process_time() - begun

    assert {} == {name: spent_s for name, spent_s in spent.items() if spent_s > MOST_S}
    assert {} == {name: each.text for name, each in answers.items() if each.status_code not in (200, 400, 401, 413)}
    assert {} == {name: each.text for name, each in answers.items() if "INTERNAL_ERROR" in each.text}
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
    watched = "subscription ($id: ID, $after: String) { jobChanged(id: $id, after: $after) { __typename } }"
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
