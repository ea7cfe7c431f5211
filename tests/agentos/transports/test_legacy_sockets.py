"""The legacy WebSocket, spoken message by message with the real server: its doors, its questions, what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agentos.settings import Settings
from agentos.transports.legacy_sockets import COOKIE, MOST_JOBS, LegacySockets
from db import events, jobs, leases, queues, sockets, users
from db.database import Database
from db.events import Kind
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.work import StepStatus
from db.users import User
from guards.allowances import of_new_sockets
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import heard, legacy_socket, speaking
from tests.conftest import People
from tests.serving import Served, Socket
from tests.waiting import eventually, until

AGENT = "video-downloader"


@pytest_asyncio.fixture
async def legacy(settings: Settings, services: Services) -> AsyncIterator[tuple[Served, LegacySockets]]:
    """The process's application on the network, and its sockets."""
    async with speaking(settings, services) as running:
        yield running


@pytest.fixture
def server(legacy: tuple[Served, LegacySockets]) -> Served:
    """The application alone."""
    return legacy[0]


async def queued(database: Database, tenant: str, owner: UUID | None) -> Job:
    async with database.transaction(tenant) as tx:
        return await jobs.add(tx, NewJob(user_id=owner, source_url="https://example.test/a.mp4", chain=[AGENT]))


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its time, which is checked to be one in UTC."""
    assert message["timestamp"].endswith("Z")
    datetime.fromisoformat(message["timestamp"])
    return {name: value for name, value in message.items() if name != "timestamp"}


async def asked(socket: Socket, message: object, *kinds: str) -> dict[str, Any]:
    await socket.say(message)
    return plain(await heard(socket, *kinds))


async def test_a_socket_hears_who_is_there_and_how_many_jobs_are_where(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Real numbers: two jobs wait, one of which was begun, and no worker has been heard of."""
    for _ in range(2):
        await queued(database, tenant, None)
    async with database.system() as tx:
        await leases.claim(tx, "w", most=1)
    async with legacy_socket(server, token_of(people[Role.READONLY]), greeted=False, path="/any/path") as socket:
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
    async with (
        speaking(settings, services, init_s=0.3) as (server, _),
        legacy_socket(server, greeted=False) as socket,
    ):
        told = [await socket.hear()]
        for message in ({"type": "request_queue_stats"}, {"type": "subscribe", "channel": "admin_updates"}):
            await socket.say(message)
            told.append(await socket.hear())
        code = await socket.ended()

    assert ["connection_established", "error", "error"] == [message["type"] for message in told]
    assert ["UNAUTHENTICATED", "UNAUTHENTICATED"] == [message["code"] for message in told[1:]]
    assert 4401 == code


async def test_a_first_message_may_bring_the_token(server: Served, people: People, token_of: TokenOf) -> None:
    async with legacy_socket(server, greeted=False) as socket:
        await socket.say({"type": "authenticate", "token": token_of(people[Role.USER])})
        kinds = [(await socket.hear())["type"] for _ in range(2)]
        pong = await asked(socket, {"type": "ping"}, "pong")

    assert (["connection_established", "queue_stats"], {"type": "pong"}) == (kinds, pong)


async def test_tokens_that_are_not_good_are_not_believed(server: Served) -> None:
    async with legacy_socket(server, "a.b.c", greeted=False) as by_header:
        assert 4403 == await by_header.ended()
    async with legacy_socket(server, greeted=False) as by_message:
        await by_message.say({"type": "authenticate", "token": "a.b.c"})
        assert 4403 == await by_message.ended()


@pytest.mark.parametrize("name", ["token", "access_token", "Token"])
async def test_a_token_in_the_address_is_refused_although_it_is_good(
    server: Served, people: People, token_of: TokenOf, name: str
) -> None:
    """It would stand in the logs of every proxy on the way."""
    path = f"/?{name}={token_of(people[Role.ADMIN])}"
    async with legacy_socket(server, path=path, greeted=False) as socket:
        assert 4400 == await socket.ended()
        assert "logs" in (socket.connection.close_reason or "")


async def test_a_cookie_counts_only_with_an_origin_that_is_allowed(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    """The page of a stranger would bring the cookie, too: it is kept out by where it comes from alone."""
    allowing = settings.model_copy(update={"cors_origins": ("https://console.test",)})
    cookie = f"{COOKIE}={token_of(people[Role.ADMIN])}"
    async with speaking(allowing, services, init_s=0.3) as (server, _):
        for origin in ("https://console.test", f"http://{server.host}:{server.port}", settings.origin):
            async with legacy_socket(server, Cookie=cookie, Origin=origin):
                pass
        with pytest.raises(InvalidStatus, match="403"):
            async with legacy_socket(server, Cookie=cookie, Origin="https://evil.test"):
                pass
        async with legacy_socket(server, Cookie=cookie, greeted=False) as without:
            assert 4401 == await without.ended()


async def test_a_page_of_another_origin_may_not_open_a_socket_even_with_a_token(
    server: Served, people: People, token_of: TokenOf
) -> None:
    for origin in ("https://evil.test", "null", "http://[::1"):
        with pytest.raises(InvalidStatus, match="403"):
            async with legacy_socket(server, token_of(people[Role.ADMIN]), Origin=origin):
                pass


async def test_a_job_is_followed_to_its_end(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    owner = people[Role.USER]
    job = await queued(database, tenant, owner.id)
    async with legacy_socket(server, token_of(owner)) as socket:
        status = await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status")
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w", most=1)
        told = [plain(await heard(socket, "job_progress_update", "job_status_change"))]
        async with database.transaction(tenant) as tx:
            await leases.begin_step(tx, claim, 0, AGENT)
            await leases.report(tx, claim, 0, share=0.5, percent=50)
        told.append(plain(await heard(socket, "job_progress_update", "job_status_change")))
        async with database.transaction(tenant) as tx:
            await leases.finish_step(tx, claim, 0, StepStatus.COMPLETED)
            await leases.complete(tx, claim)
        told += [plain(await heard(socket, "job_progress_update", "job_status_change")) for _ in range(2)]
        ended = await asked(socket, {"type": "request_job_status", "job_id": str(job.id)}, "job_status")

    step = {"step_name": AGENT, "status": "pending", "duration_seconds": None, "completed_at": None}
    assert {
        "type": "job_status",
        "job_id": str(job.id),
        "status": "queued",
        "progress": 0,
        "current_step": AGENT,
        "created_at": job.created_at.isoformat().replace("+00:00", "Z"),
        "started_at": None,
        "completed_at": None,
        "processing_steps": [step],
    } == status
    about = {"job_id": str(job.id)}
    assert [
        {"type": "job_status_change", **about, "status": "processing", "progress": 0},
        {"type": "job_progress_update", **about, "progress": 50, "current_step": AGENT, "agent_name": AGENT},
        {"type": "job_progress_update", **about, "progress": 100, "current_step": None, "agent_name": None},
        {"type": "job_status_change", **about, "status": "completed", "progress": 100},
    ] == told
    assert ("completed", 100, "completed") == (
        ended["status"],
        ended["progress"],
        ended["processing_steps"][0]["status"],
    )
    assert ended["completed_at"].endswith("Z")
    assert ended["processing_steps"][0]["completed_at"].endswith("Z")


async def test_foreign_jobs_look_missing_and_are_never_told_of(
    server: Served, database: Database, tenant: str, people: People, other_people: People, token_of: TokenOf
) -> None:
    """What was changed last is the user's own: anything foreign would have come before it."""
    user, stranger = people[Role.USER], other_people[Role.ADMIN]
    own = await queued(database, tenant, user.id)
    foreign = [await queued(database, tenant, people[Role.ADMIN].id)]
    foreign.append(await queued(database, stranger.tenant_id, stranger.id))
    async with (
        legacy_socket(server, token_of(user)) as socket,
        legacy_socket(server, token_of(people[Role.ADMIN])) as of_admin,
    ):
        answers = [
            await asked(
                socket, {"type": "subscribe_job", "job_id": job}, "job_not_found", "job_status", "invalid_job_id"
            )
            for job in (*(str(each.id) for each in foreign), str(uuid4()), "5", 5, None, str(own.id))
        ]
        seen = await asked(of_admin, {"type": "subscribe_job", "job_id": str(foreign[0].id)}, "job_status")
        for job in (*foreign, own):
            async with database.transaction(job.tenant_id) as tx:
                await jobs.mark_cancelled(tx, job.id)
        told = plain(await heard(socket, "job_progress_update", "job_status_change"))

    assert [
        *["job_not_found"] * 3,
        *["invalid_job_id"] * 3,
        "job_status",
    ] == [answer["type"] for answer in answers]
    assert "queued" == seen["status"]
    assert {"type": "job_status_change", "job_id": str(own.id), "status": "cancelled", "progress": 0} == told


async def test_a_job_that_was_unsubscribed_from_is_told_no_more_and_a_removed_one_is_gone(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    left, kept = await queued(database, tenant, None), await queued(database, tenant, None)
    async with legacy_socket(server, token_of(people[Role.OPERATOR])) as socket:
        for job in (left, kept):
            await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status")
        await socket.say({"type": "unsubscribe_job", "job_id": str(left.id)})
        await asked(socket, {"type": "ping"}, "pong")
        for job in (left, kept):
            async with database.transaction(tenant) as tx:
                await jobs.announce_all(tx, [job], gone=True)
        told = plain(await heard(socket, "job_not_found", "job_status_change", "job_progress_update"))

    assert {"type": "job_not_found", "job_id": str(kept.id)} == told


async def test_numbers_are_told_when_they_have_changed(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with legacy_socket(server, token_of(people[Role.USER])) as socket:
        await queued(database, tenant, None)
        told = plain(await heard(socket, "queue_stats_update"))
        answered = await asked(socket, {"type": "request_queue_stats"}, "queue_stats")

    assert (1, 1) == (told["queue_length"], told["total_jobs"])
    assert {**answered, "type": "queue_stats_update"} == told


async def test_what_is_no_message_is_answered_and_the_socket_lives_on(
    server: Served, people: People, token_of: TokenOf
) -> None:
    async with legacy_socket(server, token_of(people[Role.USER])) as socket:
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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"job_id": "seven"}, "seven"),
        ({"job_id": 7}, None),
        ({"job_id": {"a": [None, True]}}, None),
        ({"job_id": None}, None),
        ({}, None),
    ],
    ids=["text", "number", "object", "null", "missing"],
)
async def test_what_is_no_id_of_a_job_is_told_as_it_was_written_or_not_at_all(
    server: Served, people: People, token_of: TokenOf, given: dict[str, Any], told: str | None
) -> None:
    async with legacy_socket(server, token_of(people[Role.USER])) as socket:
        answer = await asked(socket, {"type": "request_job_status", **given}, "invalid_job_id", "error")

    assert {"type": "invalid_job_id", "job_id": told} == answer


async def test_who_has_signed_in_may_wait_for_what_is_read_first(
    settings: Settings, services: Services, database: Database, people: People, token_of: TokenOf
) -> None:
    """Nobody is told that they have not signed in because the database is slow; who really has not is."""
    async with speaking(settings, services, init_s=0.3) as (server, _), contextlib.AsyncExitStack() as stack:
        async with database.system() as slow:
            await slow.execute(sa.text("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))
            user = token_of(people[Role.USER])
            known = await stack.enter_async_context(legacy_socket(server, user, greeted=False))
            nobody = await stack.enter_async_context(legacy_socket(server, greeted=False))
            code = await nobody.ended()
        told = await heard(known, "queue_stats")

    assert (4401, 0) == (code, told["queue_length"])


async def test_a_handshake_with_two_tokens_is_nobodys(server: Served, people: People, token_of: TokenOf) -> None:
    bearers = [("Authorization", f"Bearer {token_of(people[role])}") for role in (Role.USER, Role.ADMIN)]

    async with connect(f"ws://{server.host}:{server.port}/", additional_headers=bearers) as connection:
        code = await Socket(connection).ended()

    assert 4400 == code


async def test_a_slash_too_many_leads_nowhere(server: Served) -> None:
    answers = [await server.client.get(path, headers={"host": "evil.test"}) for path in ("/livez/", "/readyz/")]

    assert [(426, None)] * 2 == [(answer.status_code, answer.headers.get("location")) for answer in answers]


ENDINGS: dict[str, tuple[list[object], int]] = {
    "eleven messages in a row that are none": (["{"] * 11, 4400),
    "more than fifty messages in a second": ([{"type": "pong"}] * 120, 4429),
    "more than 64 KB": ([{"type": "ping", "x": "y" * 70_000}], 1009),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_who_sends_too_much_is_let_go(server: Served, people: People, token_of: TokenOf, name: str) -> None:
    messages, code = ENDINGS[name]
    async with legacy_socket(server, token_of(people[Role.USER])) as socket:
        for message in messages:
            with contextlib.suppress(Exception):
                await socket.say(message)

        assert code == await socket.ended()


async def test_questions_count_against_the_limits_of_the_user(
    server: Served, people: People, token_of: TokenOf
) -> None:
    """A hundred a minute, at most a third of them in ten seconds: 34, of which connecting was one."""
    async with legacy_socket(server, token_of(people[Role.USER])) as socket:
        for _ in range(35):
            await socket.say({"type": "request_queue_stats"})
        answers = [await heard(socket, "queue_stats", "error") for _ in range(35)]

    assert [*["queue_stats"] * 33, "error", "error"] == [answer["type"] for answer in answers]
    assert ("RATE_LIMITED", True) == (answers[-1]["code"], answers[-1]["retry_after"] > 0)


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


def short(services: Services, user: User, seconds: float = 2) -> str:
    """A token that runs out soon."""
    return services.tokens.issued(
        user_id=user.id,
        tenant=user.tenant_id,
        role=user.role,
        token_version=user.token_version,
        life=timedelta(seconds=seconds),
    )


async def test_a_socket_ends_with_its_token_unless_it_is_brought_a_fresh_one(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    user = people[Role.USER]
    async with (
        legacy_socket(server, short(services, user)) as kept,
        legacy_socket(server, short(services, user)) as lost,
    ):
        await kept.say({"type": "authenticate", "token": token_of(user)})
        assert 4403 == await lost.ended()
        assert {"type": "pong"} == await asked(kept, {"type": "ping"}, "pong")
        await kept.say({"type": "authenticate", "token": token_of(people[Role.ADMIN])})
        assert 4403 == await kept.ended()


@pytest.mark.slow
async def test_who_was_signed_out_or_locked_hears_nothing_more_within_five_seconds(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    out, locked = people[Role.OPERATOR], people[Role.USER]
    async with (
        legacy_socket(server, token_of(out)) as first,
        legacy_socket(server, token_of(locked)) as second,
        legacy_socket(server, token_of(people[Role.ADMIN])) as third,
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


async def test_a_client_that_hears_nothing_any_more_is_noticed(
    legacy: tuple[Served, LegacySockets], people: People, token_of: TokenOf
) -> None:
    """Its connection stands, and nobody reads from it: it answers no ping of the protocol. The other one does."""
    server, sockets = legacy
    server.server.config.ws_ping_interval = server.server.config.ws_ping_timeout = 0.3
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


async def test_connections_from_one_place_are_counted(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    """What is beyond the most a minute is turned away before there is a socket."""
    bucket = of_new_sockets("127.0.0.1")
    await services.rates.charge("", (replace(bucket, units=bucket.rate.limit - 1),))
    async with legacy_socket(server, token_of(people[Role.USER])):
        with pytest.raises(InvalidStatus, match="429") as refused:
            async with legacy_socket(server, token_of(people[Role.USER])):
                pass

    assert int(refused.value.response.headers["retry-after"]) > 0


async def test_a_socket_follows_so_many_jobs_and_no_more(
    legacy: tuple[Served, LegacySockets], database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    server, sockets = legacy
    sockets.most_jobs = 2
    first, second, third = [await queued(database, tenant, None) for _ in range(3)]
    async with legacy_socket(server, token_of(people[Role.ADMIN])) as socket:
        answers = [
            await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status", "error")
            for job in (first, second, second, third)
        ]
        await socket.say({"type": "unsubscribe_job", "job_id": str(first.id)})
        answers.append(await asked(socket, {"type": "subscribe_job", "job_id": str(third.id)}, "job_status", "error"))

    assert 100 == MOST_JOBS
    assert [*["job_status"] * 3, "error", "job_status"] == [answer["type"] for answer in answers]
    assert "QUOTA_EXCEEDED" == answers[3]["code"]


async def test_what_happens_to_the_system_is_told_to_who_may_see_it(
    server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """A user as well as everybody, and nobody what they may not: the answer to a later question comes first."""
    async with (
        legacy_socket(server, token_of(people[Role.READONLY])) as seeing,
        legacy_socket(server, token_of(people[Role.USER])) as user,
    ):
        async with database.transaction(tenant) as tx:
            await queues.announce(tx, tenant, paused=True, refusing=False)
            await events.record(tx, Kind.AGENT_CHANGED, "clipper", {"enabled": False, "revision": 2})
            await events.record(tx, Kind.SECURITY_ALERTED, "x", {})
            await events.record(tx, Kind.USER_CHANGED, "x", {"reason": "signed_out"})
        told = [plain(await heard(seeing, "system_event")) for _ in range(2)]
        theirs = [plain(await heard(user, "system_event")) for _ in range(2)]
        await asked(seeing, {"type": "ping"}, "pong", "system_event")
        unseen = await asked(user, {"type": "ping"}, "pong", "system_event")

    assert [
        {
            "type": "system_event",
            "event_type": "queue_changed",
            "event_data": {"id": tenant, "paused": True, "refusing": False},
        },
        {
            "type": "system_event",
            "event_type": "agent_changed",
            "event_data": {"id": "clipper", "enabled": False, "revision": 2},
        },
    ] == told
    assert told == theirs
    assert {"type": "pong"} == unseen


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


async def test_http_is_told_that_this_is_no_place_for_it(server: Served) -> None:
    answers = {path: (await server.client.get(path)).status_code for path in ("/livez", "/readyz", "/", "/api/jobs")}

    assert {"/livez": 200, "/readyz": 200, "/": 426, "/api/jobs": 426} == answers


async def test_a_process_says_how_many_sockets_it_has(
    legacy: tuple[Served, LegacySockets], services: Services, people: People, token_of: TokenOf
) -> None:
    server, _ = legacy
    async with legacy_socket(server, token_of(people[Role.USER])), legacy_socket(server, token_of(people[Role.USER])):
        told = await eventually(lambda: sockets.heard(services.redis), lambda heard: 2 in heard.values())

    assert ["websocket"] == [name.partition("-")[0] for name in told]
