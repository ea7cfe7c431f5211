"""One legacy socket, spoken message by message with the real server: whose it is, and when it is let go."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
import sqlalchemy as sa
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agentos.settings import Settings
from agentos.transports.contexts import COOKIE
from agentos.transports.legacy_sockets import LegacySockets
from db import leases, users
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.dismissing import SOON, Clock, short_token, timed
from tests.agentos.transports.legacy import asked, heard, legacy_socket, plain, queued, speaking
from tests.conftest import People
from tests.serving import Served, Socket


async def test_a_socket_hears_who_is_there_and_how_many_jobs_are_where(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Real numbers: two jobs wait, one of which was begun, and no worker has been heard of."""
    for _ in range(2):
        await queued(database, tenant, None)
    async with database.system() as tx:
        await leases.claim(tx, "w", most=1)
    async with legacy_socket(legacy_server, token_of(people[Role.READONLY]), greeted=False, path="/any/path") as socket:
        greeting, numbers = plain(await socket.hear()), plain(await socket.hear())

    assert {"type": "connection_established", "server_status": "online"} == greeting
    assert {
        "type": "queue_stats",
        "queue_length": 1,
        "processing_jobs": 1,
        "total_jobs": 2,
        "completed_jobs": 0,
        "failed_jobs": 0,
        "active_workers": 0,
    } == numbers


async def test_nothing_of_the_house_is_told_before_somebody_has_signed_in(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """Asking for it does not give more time to do so."""
    messages = ({"type": "request_queue_stats"}, {"type": "subscribe", "channel": "admin_updates"})
    async with speaking(settings, services) as (server, sockets):
        async with legacy_socket(server, greeted=False) as socket:
            told = [await socket.hear()]
            for message in messages:
                await socket.say(message)
                told.append(await socket.hear())
        sockets.init_s = 0.3
        async with legacy_socket(server, greeted=False) as socket:
            with contextlib.suppress(ConnectionClosed):
                for message in messages:
                    await socket.say(message)
            code = await socket.ended()

    assert ["connection_established", "error", "error"] == [message["type"] for message in told]
    assert ["UNAUTHENTICATED", "UNAUTHENTICATED"] == [message["code"] for message in told[1:]]
    assert 4401 == code


async def test_a_first_message_may_bring_the_token(legacy_server: Served, people: People, token_of: TokenOf) -> None:
    async with legacy_socket(legacy_server, greeted=False) as socket:
        await socket.say({"type": "authenticate", "token": token_of(people[Role.USER])})
        kinds = [(await socket.hear())["type"] for _ in range(2)]
        pong = await asked(socket, {"type": "ping"}, "pong")

    assert (["connection_established", "queue_stats"], {"type": "pong"}) == (kinds, pong)


async def test_tokens_that_are_not_good_are_not_believed(legacy_server: Served) -> None:
    async with legacy_socket(legacy_server, "a.b.c", greeted=False) as by_header:
        assert 4403 == await by_header.ended()
    async with legacy_socket(legacy_server, greeted=False) as by_message:
        await by_message.say({"type": "authenticate", "token": "a.b.c"})
        assert 4403 == await by_message.ended()


@pytest.mark.parametrize("name", ["token", "access_token", "Token"])
async def test_a_token_in_the_address_is_refused_although_it_is_good(
    legacy_server: Served, people: People, token_of: TokenOf, name: str
) -> None:
    """It would stand in the logs of every proxy on the way."""
    path = f"/?{name}={token_of(people[Role.ADMIN])}"
    async with legacy_socket(legacy_server, path=path, greeted=False) as socket:
        assert 4400 == await socket.ended()
        assert "logs" in (socket.connection.close_reason or "")


async def test_a_cookie_counts_only_with_an_origin_that_is_allowed(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """The page of a stranger would bring the cookie, too: it is kept out by where it comes from alone."""
    allowing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    cookie = f"{COOKIE}={token_of(people[Role.ADMIN])}"
    async with speaking(allowing, services) as (server, sockets):
        for origin in ("https://console.test", f"http://{server.host}:{server.port}", settings.origin):
            async with legacy_socket(server, Cookie=cookie, Origin=origin):
                pass
        with pytest.raises(InvalidStatus, match="403"):
            async with legacy_socket(server, Cookie=cookie, Origin="https://evil.test"):
                pass
        sockets.init_s = 0.1
        async with legacy_socket(server, Cookie=cookie, greeted=False) as without:
            assert 4401 == await without.ended()


async def test_what_is_no_message_is_answered_and_the_socket_lives_on(
    legacy_server: Served, people: People, token_of: TokenOf
) -> None:
    async with legacy_socket(legacy_server, token_of(people[Role.USER])) as socket:
        answers = [
            await asked(socket, message, "error")
            for message in (
                "{",
                "[]",
                "5",
                b"{}",
                "[" * 5000,
                {"type": "nope"},
                {},
                {"type": ["ping"]},
                {"type": "subscribe"},
            )
        ]
        for silent in ({"type": "pong"}, {"type": "subscribe_room", "room": "admin"}):
            await socket.say(silent)
        pong = await asked(socket, {"type": "ping"}, "pong", "error")

    assert {"VALIDATION_ERROR"} == {answer["code"] for answer in answers}
    assert "request_job_status" in answers[5]["message"]
    assert {"type": "pong"} == pong


async def test_who_has_signed_in_may_wait_for_what_is_read_first(
    settings: Settings, services: Services, database: Database, people: People, token_of: TokenOf
) -> None:
    """Nobody is told that they have not signed in because the database is slow; who really has not is."""
    async with speaking(settings, services, init_s=1) as (server, _), contextlib.AsyncExitStack() as stack:
        async with database.system() as slow:
            await slow.execute(sa.text("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))
            user = token_of(people[Role.USER])
            known = await stack.enter_async_context(legacy_socket(server, user, greeted=False))
            nobody = await stack.enter_async_context(legacy_socket(server, greeted=False))
            code = await nobody.ended()
        told = await heard(known, "queue_stats")

    assert (4401, 0) == (code, told["queue_length"])


async def test_who_brings_a_token_in_time_is_waited_for(
    settings: Settings, services: Services, roomy: Database, people: People, token_of: TokenOf
) -> None:
    """Looking at it may take longer than what is left of the time; who brings none is let go meanwhile."""
    patient = replace(services, database=roomy)
    async with speaking(settings, patient, init_s=2) as (server, _), contextlib.AsyncExitStack() as stack:
        async with roomy.system() as slow:
            await slow.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            known = await stack.enter_async_context(legacy_socket(server, greeted=False))
            await known.say({"type": "authenticate", "token": token_of(people[Role.USER])})
            nobody = await stack.enter_async_context(legacy_socket(server, greeted=False))
            code = await nobody.ended()
        told = await heard(known, "queue_stats")

    assert (4401, 0) == (code, told["queue_length"])


async def test_who_cannot_be_looked_at_for_long_is_told_to_come_again(
    settings: Settings,
    services: Services,
    roomy: Database,
    people: People,
    token_of: TokenOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentos.transports.legacy_conversations.ANSWER_S", 0.1)
    async with speaking(settings, replace(services, database=roomy), init_s=2) as (server, _), roomy.system() as slow:
        await slow.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        async with legacy_socket(server, greeted=False) as known:
            await known.say({"type": "authenticate", "token": token_of(people[Role.USER])})
            assert 1013 == await known.ended()


async def test_a_handshake_with_two_tokens_is_nobodys(legacy_server: Served, people: People, token_of: TokenOf) -> None:
    bearers = [("Authorization", f"Bearer {token_of(people[role])}") for role in (Role.USER, Role.ADMIN)]

    async with connect(f"ws://{legacy_server.host}:{legacy_server.port}/", additional_headers=bearers) as connection:
        code = await Socket(connection).ended()

    assert 4400 == code


ENDINGS: dict[str, tuple[list[object], int]] = {
    "eleven messages in a row that are none": (["{"] * 11, 4400),
    "more than fifty messages in a second": ([{"type": "pong"}] * 500, 4429),
    "more than 64 KB": ([{"type": "ping", "x": "y" * 70_000}], 1009),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_who_sends_too_much_is_let_go(
    legacy_server: Served, people: People, token_of: TokenOf, name: str
) -> None:
    messages, code = ENDINGS[name]
    async with legacy_socket(legacy_server, token_of(people[Role.USER])) as socket:
        for message in messages:
            with contextlib.suppress(Exception):
                await socket.say(message)

        assert code == await socket.ended()


async def test_a_socket_ends_with_its_token_unless_it_is_brought_a_fresh_one(
    legacy: tuple[Served, LegacySockets], services: Services, people: People, token_of: TokenOf
) -> None:
    server, sockets = legacy
    user, clock = people[Role.USER], Clock()
    sockets.seats.stays = timed(clock, services)
    short = short_token(services, user)
    async with legacy_socket(server, short) as kept, legacy_socket(server, short) as lost:
        await kept.say({"type": "authenticate", "token": token_of(user)})
        assert {"type": "pong"} == await asked(kept, {"type": "ping"}, "pong")
        clock.ahead = SOON
        assert 4403 == await lost.ended()
        assert {"type": "pong"} == await asked(kept, {"type": "ping"}, "pong")
        await kept.say({"type": "authenticate", "token": token_of(people[Role.ADMIN])})
        assert 4403 == await kept.ended()


@pytest.mark.slow
async def test_who_was_signed_out_or_locked_hears_nothing_more_within_five_seconds(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    out, locked = people[Role.OPERATOR], people[Role.USER]
    async with (
        legacy_socket(legacy_server, token_of(out)) as first,
        legacy_socket(legacy_server, token_of(locked)) as second,
        legacy_socket(legacy_server, token_of(people[Role.ADMIN])) as third,
    ):
        async with database.transaction(tenant) as tx:
            await users.revoke_tokens(tx, out.id)
            await users.mark_disabled(tx, locked.id)

        async with asyncio.timeout(5):
            assert [4403, 4403] == [await socket.ended() for socket in (first, second)]
        assert {"type": "pong"} == await asked(third, {"type": "ping"}, "pong")


async def test_a_client_that_has_answered_is_let_go_once_it_does_not(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """One that never answers is only asked: there are clients that do not know the question."""
    async with (
        speaking(settings, services, beat_s=0.1) as (server, _),
        legacy_socket(server, token_of(people[Role.USER])) as silent,
        legacy_socket(server, token_of(people[Role.USER])) as unknowing,
    ):
        await heard(silent, "ping")
        await silent.say({"type": "pong"})
        code = await silent.ended()
        pings = [plain(await heard(unknowing, "ping")) for _ in range(5)]

    assert 4408 == code
    assert [{"type": "ping"}] * 5 == pings
