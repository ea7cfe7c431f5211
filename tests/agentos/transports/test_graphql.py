"""GraphQL over HTTP: what is answered with which status, and that no body is answered with a 500."""

import json
from collections.abc import Awaitable, Callable

import httpx

from db.models.identity import Role
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served

JSON = {"content-type": "application/json"}
MODERN = {"accept": "application/graphql-response+json"}
DEEP = b'{"query":"{open}","variables":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"

HOSTILE = {
    "a number": (b"5", 400),
    "a string": (b'"x"', 400),
    "a batch": (b'[{"query":"{open}"}]', 400),
    "an empty list": (b"[]", 400),
    "null": (b"null", 400),
    "nothing": (b"", 400),
    "broken UTF-8": (b'{"query":"\xff\xfe"}', 400),
    "a lone surrogate": (b'{"query":"\\ud800"}', 400),
    "a NUL": (b'{"query":"{ echo(text: \\"a\\u0000\\") }"}', 400),
    "a NUL in a key": (b'{"query":"{open}","variables":{"a\\u0000":1}}', 400),
    "a huge integer": (b'{"query":"{open}","variables":{"a":' + b"9" * 5000 + b"}}", 400),
    "no number": (b'{"query":"{open}","variables":{"a":NaN}}', 400),
    "a number out of range": (b'{"query":"{open}","variables":{"a":1e999}}', 400),
    "65 levels": (b'{"query":"{open}","variables":{"a":' + b"[" * 64 + b"]" * 64 + b"}}", 400),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, 400),
    "50,000 objects": (DEEP, 413),
    "a query that is a number": (b'{"query":5}', 400),
    "a query that is a list": (b'{"query":[]}', 400),
    "no query": (b"{}", 400),
    "an empty query": (b'{"query":" "}', 400),
    "variables that are a list": (b'{"query":"{open}","variables":[]}', 400),
    "variables that are text": (b'{"query":"{open}","variables":"{}"}', 400),
    "extensions that are text": (b'{"query":"{open}","extensions":"x"}', 400),
    "a name that is a number": (b'{"query":"{open}","operationName":5}', 400),
    "a name that is not there": (b'{"query":"{open}","operationName":"Nope"}', 400),
    "300 KB": (json.dumps({"query": "{open}", "x": "y" * 300_000}).encode(), 413),
}


async def test_a_hostile_body_is_refused_and_never_answered_with_a_500(server: Served) -> None:
    answers = {
        name: await server.client.post("/graphql", content=body, headers={**JSON, **MODERN})
        for name, (body, _) in HOSTILE.items()
    }

    assert {name: status for name, (_, status) in HOSTILE.items()} == {
        name: answer.status_code for name, answer in answers.items()
    }
    assert {("errors",)} == {tuple(answer.json()) for answer in answers.values()}


async def test_a_body_that_does_not_say_how_long_it_is_is_cut_off_all_the_same(server: Served) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 10_000

    answer = await server.client.post("/graphql", content=endless(), headers=JSON)  # type: ignore[arg-type]  # it is one

    assert 413 == answer.status_code


STATUSES: dict[str, tuple[str, int, int]] = {
    "data": ("{ open }", 200, 200),
    "syntax": ("{ open", 200, 400),
    "no such field": ("{ nope }", 200, 400),
    "variable missing": ("query ($t: String!) { echo(text: $t) }", 200, 400),
    "nobody signed in": ("{ me }", 401, 401),
    "a fault of ours": ("{ breaks }", 200, 200),
}


async def test_the_status_depends_on_what_the_client_accepts(server: Served, people: People, token_of: TokenOf) -> None:
    for name, (query, legacy, modern) in STATUSES.items():
        token = None if name == "nobody signed in" else token_of(people[Role.USER])
        old = await server.graphql(query, token)
        new = await server.graphql(query, token, headers=MODERN)

        assert (name, legacy, "application/json; charset=utf-8") == (
            name,
            old.status_code,
            old.headers["content-type"],
        )
        assert (name, modern, "application/graphql-response+json; charset=utf-8") == (
            name,
            new.status_code,
            new.headers["content-type"],
        )
        assert ("data" in new.json()) is (modern in (200, 401))


async def test_who_is_not_signed_in_gets_401_and_who_may_not_gets_403(
    server: Served, people: People, token_of: TokenOf
) -> None:
    nobody = await server.graphql("{ house }")
    user = await server.graphql("{ house }", token_of(people[Role.USER]))
    admin = await server.graphql("{ house }", token_of(people[Role.ADMIN]))

    assert (401, "UNAUTHENTICATED") == (nobody.status_code, nobody.json()["errors"][0]["extensions"]["code"])
    assert 'Bearer realm="agentos"' == nobody.headers["www-authenticate"]
    assert (403, "FORBIDDEN") == (user.status_code, user.json()["errors"][0]["extensions"]["code"])
    assert (200, {"data": {"house": "admin"}}) == (admin.status_code, admin.json())


async def test_a_fault_of_ours_is_told_without_its_inside(server: Served) -> None:
    answer = await server.graphql("{ breaks }", headers={"x-trace-id": "trace-7"})

    [error] = answer.json()["errors"]
    assert {"code": "INTERNAL_ERROR", "traceId": "trace-7"} == error["extensions"]
    assert "hunter2" not in answer.text


Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
BY_METHOD: dict[str, tuple[Ask, int]] = {
    "a query by GET": (lambda c: c.get("/graphql", params={"query": "{ open }"}), 200),
    "variables by GET": (
        lambda c: c.get(
            "/graphql", params={"query": "query ($t: String!) { echo(text: $t) }", "variables": '{"t": "a"}'}
        ),
        200,
    ),
    "broken variables by GET": (lambda c: c.get("/graphql", params={"query": "{ open }", "variables": "{"}), 400),
    "a mutation by GET": (lambda c: c.get("/graphql", params={"query": "mutation { touch }"}), 405),
    "a mutation by POST": (lambda c: c.post("/graphql", json={"query": "mutation { touch }"}), 200),
    "a subscription by POST": (lambda c: c.post("/graphql", json={"query": "subscription { jobs }"}), 400),
    "PUT": (lambda c: c.put("/graphql", json={"query": "{ open }"}), 405),
    "text": (lambda c: c.post("/graphql", content='{"query":"{open}"}', headers={"content-type": "text/plain"}), 415),
    "a form": (lambda c: c.post("/graphql", data={"query": "{ open }"}), 415),
    "a form with files": (lambda c: c.post("/graphql", data={"operations": "{}"}, files={"0": b"x"}), 415),
    "no type": (lambda c: c.post("/graphql", content='{"query":"{open}"}'), 415),
}


async def test_methods_and_types_of_content(server: Served) -> None:
    answers = {name: await ask(server.client) for name, (ask, _) in BY_METHOD.items()}

    assert {name: status for name, (_, status) in BY_METHOD.items()} == {
        name: answer.status_code for name, answer in answers.items()
    }


async def test_the_schema_can_be_read_as_text(server: Served) -> None:
    answer = await server.client.get("/graphql/schema.graphql")

    assert 200 == answer.status_code
    assert "type Subscription" in answer.text
