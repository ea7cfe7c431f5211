"""Who may hold a socket, how much they may say over it, and for how long."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agentos.settings import Settings
from agentos.transports.sockets import BEAT_S, INIT_S
from db import users
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.dismissing import SOON, Clock, short_token, timed
from tests.agentos.transports.test_sockets import route
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import until


async def test_more_than_fifty_messages_a_second_end_the_socket(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with server.socket(token_of(people[Role.USER])) as fast, server.socket(token_of(people[Role.USER])) as other:
        with contextlib.suppress(ConnectionClosed):
            # More than it takes: a machine that pauses spreads them over several seconds.
            for _ in range(500):
                await fast.say({"type": "pong"})
        assert 4429 == await fast.ended()
        for _ in range(40):
            await other.say({"type": "pong"})
        await other.say({"type": "ping"})

        assert {"type": "pong"} == await other.hear()


async def test_a_page_of_another_origin_may_not_open_a_socket(server: Served) -> None:
    async with server.socket(greet=False, origin=f"http://{server.host}:{server.port}"):
        pass
    for origin in ("https://evil.test", "null", f"http://{server.host}:{server.port}.evil.test", "http://[::1"):
        with pytest.raises(InvalidStatus, match="403"):
            async with server.socket(greet=False, origin=origin):
                pass


async def test_a_page_of_an_allowed_origin_may(settings: Settings, services: Services) -> None:
    allowing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    async with (
        served(stage.staged(allowing, services)) as server,
        server.socket(greet=False, origin="https://console.test"),
    ):
        pass


@asynccontextmanager
async def impatient(
    settings: Settings, services: Services, *, init_s: float = INIT_S, beat_s: float = BEAT_S
) -> AsyncIterator[Served]:
    """A server that waits less than others."""
    app = stage.staged(settings, services)
    sockets = route(app)
    sockets.init_s, sockets.beat_s = init_s, beat_s
    async with served(app) as server:
        yield server


async def test_a_socket_that_says_nothing_is_closed(settings: Settings, services: Services) -> None:
    async with impatient(settings, services, init_s=0.05) as server, server.socket(greet=False) as socket:
        assert 4408 == await socket.ended()


async def test_a_client_that_has_answered_is_let_go_once_it_does_not(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """One that never answers is only asked: the protocol may be older than the question. Whatever is said counts."""
    token = token_of(people[Role.USER])
    async with (
        impatient(settings, services, beat_s=0.1) as server,
        server.socket(token) as silent,
        server.socket(token) as unknowing,
        server.socket(token) as talking,
    ):
        for client in (silent, talking):
            assert {"type": "ping"} == await client.hear()
            await client.say({"type": "pong"})
        ending = asyncio.create_task(silent.ended())
        while not ending.done():
            await talking.say({"type": "complete", "id": "nothing"})
            assert {"type": "ping"} == await talking.hear()
        pings = [await unknowing.hear() for _ in range(5)]

    assert 4499 == await ending
    assert [{"type": "ping"}] * 5 == pings


async def test_the_same_id_twice_at_once_ends_the_socket(server: Served, people: People, token_of: TokenOf) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        await socket.subscribe("1", "subscription { jobs }")
        await socket.hear()
        await socket.subscribe("1", "{ open }")

        assert 4409 == await socket.ended()


async def test_an_id_is_free_again_once_its_operation_was_completed(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        await socket.subscribe("1", "subscription { jobs }")
        await socket.hear()
        await socket.say({"id": "1", "type": "complete"})
        await socket.subscribe("1", "{ open }")

        assert {"id": "1", "type": "next", "payload": {"data": {"open": 1}}} == await socket.hear()


async def test_the_twenty_first_operation_is_refused(server: Served, people: People, token_of: TokenOf) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        for number in range(20):
            await socket.subscribe(str(number), "subscription { jobs }")
            assert "next" == (await socket.hear())["type"]
        await socket.subscribe("20", "subscription { jobs }")
        answer = await socket.hear()

    assert ("20", "error", "QUOTA_EXCEEDED") == (
        answer["id"],
        answer["type"],
        answer["payload"][0]["extensions"]["code"],
    )


async def test_the_sixth_socket_of_a_user_is_refused_until_one_is_closed(
    server: Served, people: People, token_of: TokenOf
) -> None:
    token = token_of(people[Role.USER])
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(server.socket(token))
        async with server.socket(greet=False) as sixth:
            await sixth.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            assert 4429 == await sixth.ended()

    await until(lambda: admitted(server, token))


async def admitted(server: Served, token: str) -> bool:
    """Whether a socket is let in; a closed one is noticed by the server a little after its client."""
    try:
        async with server.socket(token):
            return True
    except ConnectionClosed:
        return False


async def test_a_socket_ends_when_its_token_does_unless_a_ping_brings_a_fresh_one(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    """Once the short token has run out, who brought another is still answered."""
    user, clock = people[Role.USER], Clock()
    route(server.app).seats.stays = timed(clock, services)
    short = short_token(services, user)
    async with server.socket(short) as kept, server.socket(short) as lost:
        await kept.say({"type": "ping", "payload": {"authorization": f"Bearer {token_of(user)}"}})
        assert {"type": "pong"} == await kept.hear()
        clock.ahead = SOON
        assert 4403 == await lost.ended()
        await kept.say({"type": "ping"})
        assert {"type": "pong"} == await kept.hear()


async def test_a_ping_with_somebody_elses_token_ends_the_socket(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with server.socket(token_of(people[Role.USER])) as socket:
        await socket.say({"type": "ping", "payload": {"authorization": f"Bearer {token_of(people[Role.ADMIN])}"}})

        assert 4403 == await socket.ended()


@pytest.mark.slow
async def test_signing_out_ends_requests_and_sockets_within_five_seconds(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    user = people[Role.USER]
    token = token_of(user)
    async with server.socket(token) as socket:
        await socket.subscribe("1", "subscription { jobs }")
        await socket.hear()
        assert 200 == (await server.graphql("{ me }", token)).status_code
        async with database.transaction(tenant) as tx:
            await users.revoke_tokens(tx, user.id)

        async with asyncio.timeout(5):
            code = await socket.ended()

    assert 4403 == code
    assert 401 == (await server.graphql("{ me }", token)).status_code


async def test_sockets_are_closed_as_a_restart_when_the_server_goes(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    async with (
        served(stage.staged(settings, services)) as server,
        server.socket(token_of(people[Role.USER])) as socket,
    ):
        await socket.subscribe("1", "subscription { jobs }")
        await socket.hear()
        server.server.should_exit = True

        assert 1012 == await socket.ended()
