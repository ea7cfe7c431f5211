"""GraphQL over WebSocket, spoken message by message with the real server."""

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.typing import Subprotocol

from agentos.transports.sockets import GraphQLOverWebSocket
from db import apart, events, jobs, leases
from db.database import Database
from db.events import Cursor
from db.jobs import Job, NewJob
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, Socket
from tests.waiting import until

WATCH = "subscription ($id: String!) { job(id: $id) { told loaded } }"


async def queued(database: Database, tenant: str, owner: UUID | None) -> Job:
    async with database.transaction(tenant) as tx:
        return await jobs.add(
            tx, NewJob(user_id=owner, source_url="https://example.test/a.mp4", chain=["video-downloader"])
        )


def route(app: Starlette) -> GraphQLOverWebSocket:
    """What serves GraphQL over sockets."""
    for each in app.routes:
        if isinstance(each, WebSocketRoute) and isinstance(each.endpoint, GraphQLOverWebSocket):
            return each.endpoint
    raise AssertionError


def next_of(key: str, told: str, loaded: str) -> dict[str, object]:
    return {"id": key, "type": "next", "payload": {"data": {"job": {"told": told, "loaded": loaded}}}}


async def test_a_job_is_seen_from_queued_to_completed_and_every_event_reads_afresh(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """`loaded` goes through the loader: one set for a whole subscription would say `queued` for ever."""
    owner = people[Role.USER]
    job = await queued(database, tenant, owner.id)
    async with server.socket(token_of(owner)) as socket:
        await socket.subscribe("1", WATCH, id=str(job.id))
        seen = [await socket.hear()]
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w", most=1)
        seen.append(await socket.hear())
        async with database.transaction(tenant) as tx:
            await leases.complete(tx, claim)
        seen.append(await socket.hear())

    assert [
        next_of("1", "now", "queued"),
        next_of("1", "processing", "processing"),
        next_of("1", "completed", "completed"),
    ] == seen


async def test_tenants_and_users_see_their_own_events_only(
    server: Served, database: Database, people: People, other_people: People, token_of: TokenOf
) -> None:
    """Each hears of its own job, which was changed last: whatever was not theirs would have come before it."""
    admin, user, stranger = people[Role.ADMIN], people[Role.USER], other_people[Role.ADMIN]
    async with (
        server.socket(token_of(admin)) as of_admin,
        server.socket(token_of(user)) as of_user,
        server.socket(token_of(stranger)) as of_stranger,
    ):
        for socket in (of_admin, of_user, of_stranger):
            await socket.subscribe("1", "subscription { jobs }")
            assert {"data": {"jobs": "listening"}} == (await socket.hear())["payload"]
        foreign = await queued(database, stranger.tenant_id, stranger.id)
        somebodys = await queued(database, admin.tenant_id, admin.id)
        own = await queued(database, user.tenant_id, user.id)

        heard = {
            name: [(await socket.hear())["payload"]["data"]["jobs"] for _ in range(most)]
            for name, socket, most in (("admin", of_admin, 2), ("user", of_user, 1), ("stranger", of_stranger, 1))
        }

    assert {
        "admin": [str(somebodys.id), str(own.id)],
        "user": [str(own.id)],
        "stranger": [str(foreign.id)],
    } == heard


async def test_queries_and_mutations_run_over_a_socket_too(server: Served, people: People, token_of: TokenOf) -> None:
    user = people[Role.USER]
    async with server.socket(token_of(user)) as socket:
        await socket.subscribe("q", "{ me }")
        answers = [await socket.hear(), await socket.hear()]
        await socket.subscribe("q", "mutation { touch }")
        answers += [await socket.hear(), await socket.hear()]

    assert [
        {"id": "q", "type": "next", "payload": {"data": {"me": str(user.id)}}},
        {"id": "q", "type": "complete"},
        {"id": "q", "type": "next", "payload": {"data": {"touch": True}}},
        {"id": "q", "type": "complete"},
    ] == answers


async def test_a_bad_operation_is_answered_with_an_error_and_its_siblings_go_on(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    bad: dict[str, object] = {
        "syntax": {"query": "{ open"},
        "no-field": {"query": "{ nope }"},
        "number": {"query": 5},
        "empty": {"query": ""},
        "none": {},
        "null": None,
        "list": [],
        "text": "x",
        "variables": {"query": "{ open }", "variables": []},
        "variables as text": {"query": "{ open }", "variables": ""},
        "extensions": {"query": "{ open }", "extensions": 0},
        "no-argument": {"query": "{ echo }"},
        "a variable of another kind": {"query": "query ($t: String!) { echo(text: $t) }", "variables": {"t": 5}},
        "a fragment of itself": {"query": "{ ...a } fragment a on Query { open ...a }"},
        "name": {"query": "{ open }", "operationName": 5},
        "unknown-name": {"query": "{ open }", "operationName": "Nope"},
        "no-variable": {"query": "query ($t: String!) { echo(text: $t) }"},
        "forbidden": {"query": "subscription { nope }"},
    }
    async with server.socket(token_of(people[Role.ADMIN])) as socket:
        await socket.subscribe("sibling", "subscription { jobs }")
        await socket.hear()
        answers = []
        for key, payload in bad.items():
            await socket.say({"id": key, "type": "subscribe", "payload": payload})
            answer = await socket.hear()
            assert "error" == answer["type"], answer
            answers.append((answer["id"], [type(each["message"]) for each in answer["payload"]]))
        job = await queued(database, tenant, None)
        event = await socket.hear()

    assert [(key, [str]) for key in bad] == [(key, messages[:1]) for key, messages in answers]
    assert {"id": "sibling", "type": "next", "payload": {"data": {"jobs": str(job.id)}}} == event


QUERY = {"query": "{ open }"}
ENDINGS: dict[str, tuple[object, int]] = {
    "an empty list": ("[]", 4400),
    "a number": ("5", 4400),
    "a string": ('"ping"', 4400),
    "null": ("null", 4400),
    "nothing": ("", 4400),
    "no JSON": ("{", 4400),
    "bytes": (b"{}", 4400),
    "bytes that would be a message": (b'{"type":"ping"}', 4400),
    "too deep": ("[" * 5000 + "]" * 5000, 4400),
    "no type": ({}, 4400),
    "a type that is empty": ({"type": ""}, 4400),
    "a type that is a number": ({"type": 0}, 4400),
    "a type that is an object": ({"type": {}}, 4400),
    "unknown type": ({"type": "start", "id": "1"}, 4400),
    "what only servers say: ack": ({"type": "connection_ack"}, 4400),
    "what only servers say: next": ({"type": "next", "id": "1", "payload": {}}, 4400),
    "what only servers say: error": ({"type": "error", "id": "1", "payload": [{"message": "x"}]}, 4400),
    "no id": ({"type": "subscribe", "payload": QUERY}, 4400),
    "an id that is empty": ({"type": "subscribe", "id": "", "payload": QUERY}, 4400),
    "an id that is a number": ({"type": "subscribe", "id": 1, "payload": QUERY}, 4400),
    "an id that is too long": ({"type": "subscribe", "id": "x" * 129, "payload": QUERY}, 4400),
    "complete without an id": ({"type": "complete"}, 4400),
    "complete of a number": ({"type": "complete", "id": 0}, 4400),
    "a ping with a number": ({"type": "ping", "payload": 0}, 4400),
    "a ping with text": ({"type": "ping", "payload": ""}, 4400),
    "a pong with a list": ({"type": "pong", "payload": []}, 4400),
    "a second greeting": ({"type": "connection_init"}, 4429),
    "a second greeting that brings a number": ({"type": "connection_init", "payload": 0}, 4400),
    "more than 64 KB": ({"type": "ping", "payload": {"x": "y" * 70_000}}, 1009),
    "more than 64 KB in fewer characters": ('{"type":"ping","payload":{"x":"' + "é" * 40_000 + '"}}', 1009),
}


async def test_what_the_protocol_forbids_ends_the_socket_with_its_code(
    server: Served, people: People, token_of: TokenOf
) -> None:
    token, ended = token_of(people[Role.USER]), {}
    for name, (message, _) in ENDINGS.items():
        async with server.socket(token) as socket:
            await socket.say(message)
            ended[name] = await socket.ended()

    assert {name: code for name, (_, code) in ENDINGS.items()} == ended


async def test_who_does_not_say_who_they_are_is_sent_away(server: Served, people: People, token_of: TokenOf) -> None:
    greetings = {
        "no token": ({"type": "connection_init"}, 4401),
        "a bad token": ({"type": "connection_init", "payload": {"authorization": "Bearer a.b.c"}}, 4403),
        "another scheme": ({"type": "connection_init", "payload": {"Authorization": "Basic eDp5"}}, 4403),
        "a payload that is text": ({"type": "connection_init", "payload": "x"}, 4400),
        "a payload that is nothing": ({"type": "connection_init", "payload": None}, 4401),
        "an operation first": ({"type": "subscribe", "id": "1", "payload": {"query": "{ open }"}}, 4401),
    }
    ended = {}
    for name, (message, _) in greetings.items():
        async with server.socket(greet=False) as socket:
            await socket.say(message)
            ended[name] = await socket.ended()

    assert {name: code for name, (_, code) in greetings.items()} == ended


async def test_the_handshake_may_bring_the_token(server: Served, people: People, token_of: TokenOf) -> None:
    bearer = {"Authorization": f"Bearer {token_of(people[Role.USER])}"}
    async with server.socket(headers=bearer) as socket:
        await socket.say({"type": "ping"})
        assert {"type": "pong"} == await socket.hear()


async def test_the_greeting_says_from_where_to_go_on(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """What has happened since comes after that place, and nothing from before."""
    await queued(database, tenant, None)
    async with server.socket(greet=False) as socket:
        ack = await greeted(socket, token_of(people[Role.USER]))
    missed = await queued(database, tenant, None)
    async with database.transaction(tenant) as tx:
        since = await events.after(tx, Cursor.parsed(ack["payload"]["cursor"]))

    assert [str(missed.id)] == [event.entity_id for event in since]


async def test_who_cannot_be_told_from_where_to_go_on_is_greeted_all_the_same(
    server: Served, database: Database, people: People, token_of: TokenOf
) -> None:
    async with apart.change(database) as tx, apart.owner(tx):
        await tx.execute(sa.text("ALTER TABLE event_floors RENAME TO no_floors"))
    try:
        async with server.socket(greet=False) as socket:
            assert {"type": "connection_ack"} == await greeted(socket, token_of(people[Role.USER]))
    finally:
        async with apart.change(database) as tx, apart.owner(tx):
            await tx.execute(sa.text("ALTER TABLE no_floors RENAME TO event_floors"))


async def greeted(socket: Socket, token: str) -> dict[str, Any]:
    await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
    return await socket.hear()


async def test_only_the_new_protocol_is_spoken(server: Served) -> None:
    for protocol in (Subprotocol("graphql-ws"), None):
        async with server.socket(greet=False, protocol=protocol) as socket:
            assert 4406 == await socket.ended()


async def test_a_fault_of_ours_ends_one_operation_and_is_not_shown(
    server: Served, people: People, token_of: TokenOf
) -> None:
    """Its id is free again; there is no `complete` behind an `error`."""
    async with server.socket(token_of(people[Role.ADMIN])) as socket:
        await socket.subscribe("sibling", "subscription { jobs }")
        await socket.hear()
        await socket.subscribe("1", "subscription { fails }")
        first, error = await socket.hear(), await socket.hear()
        await socket.subscribe("1", "subscription { twice }")
        rest = [await socket.hear() for _ in range(3)]

    assert {"id": "1", "type": "next", "payload": {"data": {"fails": 1}}} == first
    assert ("1", "error", "INTERNAL_ERROR") == (error["id"], error["type"], error["payload"][0]["extensions"]["code"])
    assert "hunter2" not in str(error)
    assert [
        {"id": "1", "type": "next", "payload": {"data": {"twice": 1}}},
        {"id": "1", "type": "next", "payload": {"data": {"twice": 2}}},
        {"id": "1", "type": "complete"},
    ] == rest


async def test_who_is_too_slow_for_what_happens_is_let_go_with_the_place_to_go_on_from(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with (
        server.socket(token_of(people[Role.ADMIN])) as socket,
        server.socket(token_of(people[Role.USER])) as other,
    ):
        await socket.subscribe("1", "subscription { lags }")
        assert {"id": "1", "type": "next", "payload": {"data": {"lags": 1}}} == await socket.hear()
        assert 4413 == await socket.ended()
        await other.say({"type": "ping"})

        assert {"type": "pong"} == await other.hear()
    assert "SLOW_CONSUMER: events were not taken for too long; after 7-1" == socket.connection.close_reason


@pytest.mark.parametrize("answers", [0, 1])
async def test_a_subscription_that_cannot_be_read_on_has_its_client_come_back(
    server: Served, people: People, token_of: TokenOf, answers: int
) -> None:
    """An error would end it for good: clients connect again after a close, and do not ask again after an error."""
    async with server.socket(token_of(people[Role.USER])) as socket:
        await socket.subscribe("1", f"subscription {{ starves(after: {answers}) }}")
        for _ in range(answers):
            await socket.hear()

        assert 1013 == await socket.ended()
    assert "events cannot be read just now" == socket.connection.close_reason


async def test_everything_that_is_said_is_text(server: Served, people: People, token_of: TokenOf) -> None:
    """Clients in browsers get blobs for bytes, and cannot read them."""
    async with server.socket(token_of(people[Role.USER])) as socket:
        heard = []
        for message in (
            {"type": "ping"},
            {"type": "subscribe", "id": "é", "payload": QUERY},
            {"type": "subscribe", "id": "2", "payload": {"query": "{"}},
        ):
            await socket.say(message)
            heard.append(await socket.connection.recv())
        heard.append(await socket.connection.recv())

    assert [str] * 4 == [type(each) for each in heard]


async def test_what_is_allowed_and_says_nothing_is_passed_over(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        for message in (
            {"type": "complete", "id": "never heard of"},
            {"type": "pong"},
            {"type": "pong", "payload": None},
            {"type": "pong", "payload": {"unasked": True}},
            {"type": "ping", "payload": None, "more": 1},
        ):
            await socket.say(message)

        assert {"type": "pong"} == await socket.hear()


async def test_a_pong_brings_back_what_the_ping_brought_but_for_secrets(
    server: Served, people: People, token_of: TokenOf
) -> None:
    token = token_of(people[Role.USER])
    async with server.socket(token) as socket:
        await socket.say({"type": "ping", "payload": {"sent": [1, {"at": "ü"}], "Authorization": f"Bearer {token}"}})

        assert {"type": "pong", "payload": {"sent": [1, {"at": "ü"}]}} == await socket.hear()


async def test_an_operation_that_was_completed_is_not_answered_any_more(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        await socket.subscribe("1", "{ waits }")
        await socket.subscribe("2", "{ begun }")
        answers = [await socket.hear(), await socket.hear()]
        await socket.say({"id": "1", "type": "complete"})
        await socket.say({"id": "2", "type": "complete"})
        await socket.subscribe("1", "{ open }")
        answers += [await socket.hear(), await socket.hear()]

    assert [("2", "next"), ("2", "complete"), ("1", "next"), ("1", "complete")] == [
        (answer["id"], answer["type"]) for answer in answers
    ]


async def test_a_socket_whose_client_goes_without_a_word_leaves_nothing_behind(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    seats = route(server.app).seats
    async with server.socket(token_of(people[Role.USER])) as socket:
        for key in map(str, range(10)):
            await socket.subscribe(key, "subscription { jobs }")
            await socket.hear()
        assert 10 == services.hub.listeners
        socket.connection.transport.abort()
        await until(lambda: not services.hub.listeners and not seats.held)
