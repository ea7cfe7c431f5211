"""How sockets end: with whom they belong to, when nobody takes what they say, and with the process; nothing is lost."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NoReturn

import pytest
import pytest_asyncio
import sqlalchemy as sa
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agentos.app import create_app
from agentos.serving import LIMITS
from agentos.settings import Settings
from agentos.transports import seats
from agentos.transports.seats import MOST_BYTES, Ended, Pace, Seats
from agentos.transports.sockets import GraphQLOverWebSocket
from db import events, jobs
from db.database import Database
from db.events import Cursor, Kind
from db.jobs import Job, NewJob
from db.models.identity import DEFAULT_TENANT, Role
from guards.callers import Caller
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.dismissing import SOON, Clock, given_another_role, locked, short_token, signed_out, timed
from tests.conftest import People
from tests.serving import PROTOCOL, Served, Socket, served
from tests.waiting import PATIENCE_S, until

WATCH = "subscription ($after: String) { jobChanged(after: $after) { ... on JobChange { cursor job { SHOWN } } } }"
IMPATIENT = replace(LIMITS, untaken_s=0.5)
LONG = 4000 * "a"


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The whole application."""
    async with served(create_app(settings, services), limits=IMPATIENT) as running:
        yield running


@pytest_asyncio.fixture
async def job(database: Database, people: People) -> Job:
    """A job of the user's."""
    async with database.transaction(DEFAULT_TENANT) as tx:
        wanted = NewJob(user_id=people[Role.USER].id, source_url="https://example.test/", title=LONG, chain=["clipper"])
        return await jobs.add(tx, wanted)


Change = Callable[[], Awaitable[Cursor]]


@pytest.fixture
def change(database: Database, services: Services, job: Job) -> Change:
    """Says that the job has changed, and with which cursor."""

    async def make() -> Cursor:
        async with database.transaction(DEFAULT_TENANT) as tx:
            await events.record(tx, Kind.JOB_CHANGED, str(job.id), {"status": "queued"}, owner=job.user_id)
        async with database.transaction(DEFAULT_TENANT) as tx:
            rows = await tx.rows(sa.text("SELECT xid::text::bigint, id FROM events ORDER BY xid DESC, id DESC LIMIT 1"))
        return Cursor(*rows[0])

    return make


async def watch(client: Socket, key: str = "1", after: Cursor | None = None, *, shown: str = "id") -> None:
    """Subscribe to jobs, and wait until nothing can be missed any more."""
    await client.subscribe(key, WATCH.replace("SHOWN", shown), after=None if after is None else str(after))


def cursor_of(message: dict[str, Any]) -> Cursor:
    """Where an answer stands."""
    return Cursor.parsed(message["payload"]["extensions"]["cursor"])


async def heard(client: Socket, most: int) -> list[Cursor]:
    """The cursors of the next answers."""
    return [cursor_of(await client.hear()) for _ in range(most)]


async def left(client: Socket) -> list[dict[str, Any]]:
    """What still comes until the socket is closed."""
    messages = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                messages.append(json.loads(await client.connection.recv()))
        except ConnectionClosed:
            return messages


def reason(client: Socket) -> str:
    """Why a socket was closed, as its client was told."""
    return client.connection.close_reason or ""


def named(client: Socket) -> Cursor | None:
    """The cursor in the reason of a close."""
    found = re.search(r"; after ([0-9]+-[0-9]+)$", reason(client))
    return None if found is None else Cursor.parsed(found[1])


async def listening(services: Services, most: int) -> None:
    """Wait until so many listen."""
    await until(lambda: services.hub.listeners >= most)


class Forgetful(Seats):
    """The control: asks who somebody is when they come, and never again."""

    async def watch(self, present: Callable[[], Caller]) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


def route(server: Served) -> GraphQLOverWebSocket:
    """What serves GraphQL over sockets."""
    for each in server.app.routes:
        if isinstance(each, WebSocketRoute) and isinstance(each.endpoint, GraphQLOverWebSocket):
            return each.endpoint
    raise AssertionError


@pytest.mark.slow
async def test_a_subscription_ends_within_five_seconds_of_its_user_being_somebody_else(
    real: Served, services: Services, database: Database, people: People, token_of: TokenOf, change: Change
) -> None:
    """Signed out, locked, of another role; somebody else's goes on, and so does one that nobody looks after."""
    ends = {Role.OPERATOR: signed_out, Role.SUPERVISOR: locked, Role.USER: given_another_role}
    async with (
        real.socket(token_of(people[Role.OPERATOR])) as first,
        real.socket(token_of(people[Role.SUPERVISOR])) as second,
        real.socket(token_of(people[Role.USER])) as third,
        real.socket(token_of(people[Role.ADMIN])) as other,
    ):
        kept, route(real).seats = route(real).seats, forgetful(real)
        async with real.socket(token_of(people[Role.OPERATOR])) as control:
            route(real).seats = kept
            clients = (first, second, third, other, control)
            for client in clients:
                await watch(client)
            await listening(services, 5)
            for role, end in ends.items():
                await end(database, people[role])
            async with asyncio.timeout(5):
                codes = [await client.ended() for client in (first, second, third)]
            cursor = await change()

            assert [4403] * 3 == codes
            assert [cursor] == await heard(other, 1)
            assert [cursor] == await heard(control, 1)
    assert "the access token was revoked: sign in again" == reason(first)


def forgetful(server: Served) -> Forgetful:
    """Seats like those of a server, but for what they forget."""
    mine = route(server)
    return Forgetful(mine.seats.stays, mine.contexts, origins=())


async def test_a_subscription_ends_with_its_token(real: Served, services: Services, people: People) -> None:
    """At its very end, not up to fifteen minutes later; the control has the same token and nobody who looks at it."""
    token, clock = short_token(services, people[Role.USER]), Clock()
    route(real).seats.stays = timed(clock, services)
    async with real.socket(token) as client:
        kept, route(real).seats = route(real).seats, forgetful(real)
        async with real.socket(token) as control:
            route(real).seats = kept
            for each in (client, control):
                await watch(each)
                await each.say({"type": "ping"})
                assert {"type": "pong"} == await each.hear()
            began = time.monotonic()
            clock.ahead = SOON
            assert 4403 == await client.ended()
            late = time.monotonic() - began
            await control.say({"type": "ping"})

            assert {"type": "pong"} == await control.hear()
    assert ("the access token has expired", True) == (reason(client), late < 5)


async def test_over_a_renewal_no_event_is_lost_or_told_twice_and_the_subscription_goes_on(
    real: Served, services: Services, people: People, token_of: TokenOf, change: Change
) -> None:
    """Events come before, during and after it, and after the end of the token that it began with."""
    user, clock = people[Role.USER], Clock()
    route(real).seats.stays = timed(clock, services)
    token = short_token(services, user)
    made: list[Cursor] = []
    messages: list[dict[str, Any]] = []

    async def renewed(client: Socket) -> None:
        while {"type": "pong"} not in messages:
            messages.append(await client.hear())

    async def change_until(done: asyncio.Task[Any]) -> None:
        while not done.done():
            made.append(await change())
            await asyncio.wait([done], timeout=0.05)

    async with real.socket(token) as client, real.socket(token) as control:
        await watch(client)
        await watch(control)
        await listening(services, 2)
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(left(control))
            made += [await change() for _ in range(4)]
            await client.say({"type": "ping", "payload": {"Authorization": f"Bearer {token_of(user)}"}})
            await change_until(group.create_task(renewed(client)))
            clock.ahead = SOON
            await change_until(ending)
        made += [await change(), await change()]
        while not messages or messages[-1].get("id") is None or cursor_of(messages[-1]) < made[-1]:
            messages.append(await client.hear())

    assert 4403 == control.connection.close_code
    assert [{"type": "pong"}] == [message for message in messages if message["type"] != "next"]
    assert made == [cursor_of(message) for message in messages if message["type"] == "next"]


async def test_a_fresh_token_of_another_role_is_for_another_socket(
    real: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    """What runs would go on to show what the old role may see, or the new one."""
    user = people[Role.OPERATOR]
    other = services.tokens.issued(
        user_id=user.id, tenant=user.tenant_id, role=Role.READONLY, token_version=user.token_version
    )
    async with real.socket(token_of(user)) as client:
        await client.say({"type": "ping", "payload": {"authorization": f"Bearer {other}"}})

        assert 4403 == await client.ended()
    assert "the fresh token is of another role: connect again with it" == reason(client)


@asynccontextmanager
async def narrow(server: Served, token: str) -> AsyncIterator[Socket]:
    """A socket whose systems, at both ends, hold as little as they can for who does not read."""
    server.server._bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (server.host, server.port))
    url = f"ws://{server.host}:{server.port}/graphql"
    async with connect(url, sock=line, subprotocols=[PROTOCOL], ping_interval=None, close_timeout=1) as connection:
        client = Socket(connection)
        await client.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        assert "connection_ack" == (await client.hear())["type"]
        yield client


def deafened(client: Socket) -> asyncio.Transport:
    """Nothing more is read for a client, until its transport reads again."""
    transport = client.connection.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    return transport


async def changed_until(condition: Callable[[], bool], change: Change) -> list[Cursor]:
    """Change the job until that is so, and say with which cursors."""
    made = []
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            made.append(await change())
    return made


async def test_who_takes_nothing_is_told_from_where_to_go_on_and_nobody_else_notices(
    real: Served, services: Services, people: People, token_of: TokenOf, change: Change
) -> None:
    """Of two subscriptions the one that is behind counts; from there on everything is told once more, and all of it."""
    slow_user, user = people[Role.ADMIN], people[Role.USER]
    held = route(real).seats.held
    async with narrow(real, token_of(slow_user)) as slow, real.socket(token_of(user)) as other:
        start = await change()
        await watch(slow, "large", start, shown="id title again: title")
        await watch(slow, "small", start)
        await watch(other, after=start)
        await listening(services, 3)
        transport = deafened(slow)
        made = await changed_until(lambda: slow_user.id not in held, change)
        took = await heard(other, len(made))
        transport.resume_reading()
        messages = await left(slow)
        cursor = named(slow)

        assert cursor is not None
        async with real.socket(token_of(slow_user)) as again:
            await watch(again, after=cursor)
            rest = await heard(again, len([each for each in made if each > cursor]))

    told = {key: [cursor_of(each) for each in messages if each["id"] == key] for key in ("large", "small")}
    assert made == took
    assert (4413, True) == (slow.connection.close_code, reason(slow).startswith("SLOW_CONSUMER: "))
    assert [*told["large"], *told["small"]] != []
    assert cursor == min((each[-1] if each else start) for each in told.values())
    assert made == sorted({*told["large"], *rest}) == sorted({*told["small"], *rest})


async def test_the_server_going_says_from_where_to_go_on_and_lets_nobody_in(
    real: Served, settings: Settings, services: Services, people: People, token_of: TokenOf, change: Change
) -> None:
    """The client goes on at another one with the cursor that it was given, and has every event once."""
    token = token_of(people[Role.USER])
    async with served(create_app(settings, services)) as replica:
        async with real.socket(token) as client, real.socket(token) as silent:
            await watch(client)
            await watch(silent, "never told")
            await listening(services, 2)
            before = [await change() for _ in range(3)]
            assert before == await heard(client, 3)
            await real.app.state.departures.leave()
            assert [1012, 1012] == [await client.ended(), await silent.ended()]
            with pytest.raises(InvalidStatus, match="503") as refused:
                async with real.socket(token):
                    pass
        cursor = named(client)
        after = [await change() for _ in range(3)]
        async with replica.socket(token) as again:
            await watch(again, after=cursor)

            assert (before[-1], after) == (cursor, await heard(again, 3))
    assert "1" == refused.value.response.headers["retry-after"]
    assert reason(client).startswith("this server is going down: connect again in a moment; after ")


async def test_sockets_of_a_server_that_goes_are_closed_one_after_the_other(
    real: Served, people: People, token_of: TokenOf
) -> None:
    """All at once, they would all be back at once."""
    roles = 4 * (Role.ADMIN, Role.OPERATOR, Role.SUPERVISOR, Role.USER)

    async def ended_at(role: Role, ready: asyncio.Semaphore) -> float:
        async with real.socket(token_of(people[role])) as client:
            ready.release()
            assert 1012 == await client.ended()
            return time.monotonic()

    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        ending = [group.create_task(ended_at(role, ready)) for role in roles]
        for _ in roles:
            await ready.acquire()
        await real.app.state.departures.leave()

    times = sorted(each.result() for each in ending)
    assert times[-1] - times[0] > 0.1


def test_a_reason_is_cut_to_what_a_frame_holds() -> None:
    assert ["x" * 120, "é" * 60, "x" + "é" * 59] == [
        seats.shortened(each) for each in ("x" * 200, "é" * 200, "x" + "é" * 99)
    ]


def test_bytes_are_counted_not_characters() -> None:
    texts = ("x" * MOST_BYTES, "x" * (MOST_BYTES + 1), "é" * (MOST_BYTES // 2), "é" * (MOST_BYTES // 2) + "x")

    assert [True, False, True, False] == [seats.fits(text) for text in texts]


def test_fifty_messages_a_second_and_no_more() -> None:
    now = 10.0
    pace = Pace(clock=lambda: now)
    for _ in range(50):
        pace.count()
    with pytest.raises(Ended, match="more than 50 messages in a second") as ended:
        pace.count()
    now = 11.0
    pace.count()

    assert 4429 == ended.value.code
