"""The legacy WebSocket with the real server: who may open one, how many there may be, and how they go together."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace
from websockets.exceptions import InvalidStatus

from agentos.settings import Settings
from agentos.transports import legacy_sockets
from agentos.transports.legacy_sockets import LegacySockets
from db import sockets
from db.models.identity import Role
from guards.allowances import of_new_sockets
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import asked, legacy_socket, speaking
from tests.conftest import People
from tests.serving import Served
from tests.waiting import eventually, until


async def test_a_page_of_another_origin_may_not_open_a_socket_even_with_a_token(
    legacy_server: Served, people: People, token_of: TokenOf
) -> None:
    for origin in ("https://evil.test", "null", "http://[::1"):
        with pytest.raises(InvalidStatus, match="403"):
            async with legacy_socket(legacy_server, token_of(people[Role.ADMIN]), Origin=origin):
                pass


async def test_connections_from_one_place_are_counted(
    legacy_server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    """What is beyond the most a minute is turned away before there is a socket."""
    bucket = of_new_sockets("127.0.0.1")
    await services.rates.charge("", (replace(bucket, units=bucket.rate.limit - 1),))
    async with legacy_socket(legacy_server, token_of(people[Role.USER])):
        with pytest.raises(InvalidStatus, match="429") as refused:
            async with legacy_socket(legacy_server, token_of(people[Role.USER])):
                pass

    assert int(refused.value.response.headers["retry-after"]) > 0


async def test_a_user_has_five_sockets(legacy: tuple[Served, LegacySockets], people: People, token_of: TokenOf) -> None:
    server, sockets = legacy
    user = people[Role.USER]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(legacy_socket(server, token_of(user)))
        async with legacy_socket(server, token_of(user), greeted=False) as sixth:
            assert 4429 == await sixth.ended()
    await until(lambda: not sockets.seats.held)
    async with legacy_socket(server, token_of(user)):
        pass

    await until(lambda: not sockets.feeds.open)


async def test_a_client_that_hears_nothing_any_more_is_noticed(
    legacy: tuple[Served, LegacySockets], people: People, token_of: TokenOf
) -> None:
    """Its connection stands, and nobody reads from it: it answers no ping of the protocol. The other one does."""
    server, sockets = legacy
    server.server.config.ws_ping_interval = server.server.config.ws_ping_timeout = 1.0
    deaf_user, user = people[Role.USER], people[Role.ADMIN]
    async with legacy_socket(server, token_of(user)) as other:
        async with legacy_socket(server, token_of(deaf_user)) as deaf:
            transport = deaf.connection.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            await until(lambda: deaf_user.id not in sockets.seats.held)
            transport.abort()

        assert {user.id: 1} == sockets.seats.held
        assert {"type": "pong"} == await asked(other, {"type": "ping"}, "pong")


async def test_sockets_are_closed_one_after_the_other_when_the_server_goes(
    legacy: tuple[Served, LegacySockets], people: People, token_of: TokenOf
) -> None:
    """All at once, they would all be back at once. Nobody new is let in meanwhile."""
    server, _ = legacy
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(legacy_socket(server, token_of(people[role])))
            for role in (Role.ADMIN, Role.USER, Role.OPERATOR)
        ]
        leaving = asyncio.create_task(server.app.state.departures.leave())
        codes = [await client.ended() for client in clients]
        await leaving
        with pytest.raises(InvalidStatus, match="503"):
            async with legacy_socket(server, token_of(people[Role.USER])):
                pass

    assert [1012, 1012, 1012] == codes


async def test_a_process_says_how_many_sockets_it_has(
    settings: Settings, services: Services, people: People, token_of: TokenOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_sockets, "SAY_EVERY_S", 0.1)
    token = token_of(people[Role.USER])
    async with speaking(settings, services) as (server, _), legacy_socket(server, token), legacy_socket(server, token):
        told = await eventually(lambda: sockets.heard(services.redis), lambda heard: 2 in heard.values())

    assert ["websocket"] == [name.partition("-")[0] for name in told]


async def test_http_is_told_that_this_is_no_place_for_it(legacy_server: Served) -> None:
    answers = {
        path: (await legacy_server.client.get(path)).status_code for path in ("/livez", "/readyz", "/", "/api/jobs")
    }

    assert {"/livez": 200, "/readyz": 200, "/": 426, "/api/jobs": 426} == answers


async def test_a_slash_too_many_leads_nowhere(legacy_server: Served) -> None:
    answers = [await legacy_server.client.get(path, headers={"host": "evil.test"}) for path in ("/livez/", "/readyz/")]

    assert [(426, None)] * 2 == [(answer.status_code, answer.headers.get("location")) for answer in answers]
