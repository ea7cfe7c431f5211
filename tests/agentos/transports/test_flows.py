"""What holds for every answer that goes on: whose it is, how many they have, and how it ends.

Over server-sent events, and in parts where it is not the same.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import NoReturn

import httpx
import pytest
import pytest_asyncio
import structlog
from structlog.testing import capture_logs

from agentos import services as opening
from agentos.app import create_app
from agentos.connections import Limits
from agentos.settings import Settings
from agentos.transports import access
from agentos.transports.stays import Stays
from agentos.transports.streams import RETRY_MOST_MS, RETRY_MS
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from guards.callers import Caller
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.dismissing import SOON, Clock, given_another_role, locked, short_token, signed_out, timed
from tests.agentos.transports.streaming import (
    EVENTS,
    PARTS,
    WATCH,
    Block,
    bearer,
    beating,
    events,
    flows_of,
    parts,
    queued,
)
from tests.conftest import People
from tests.serving import Served, served
from tests.waiting import until

HASTY = Limits(head_s=0.2, body_window_s=0.2, taking_window_s=0.2, leftover_s=0.2)
COMPLETE = Block(event="complete", data="")


@pytest_asyncio.fixture
async def real(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema that is ours."""
    async with served(create_app(settings, services)) as running:
        yield running


class Trusting(Stays):
    """The control: nobody has to go."""

    def __init__(self) -> None:
        """Know nobody."""

    def require_lasting(self, caller: Caller) -> None:
        """Let in whoever can say who they are."""

    async def lapse(self, present: Callable[[], Caller]) -> NoReturn:
        """Wait for nothing."""
        await asyncio.Event().wait()
        raise asyncio.CancelledError


async def test_a_flow_ends_with_its_token(settings: Settings, services: Services, people: People) -> None:
    """It says so; where nobody looks, the token has run out as well and the heart still beats."""
    guarded, twin = (beating(stage.staged(settings, services), 0.1) for _ in range(2))
    clock = Clock()
    flows_of(guarded).stays, flows_of(twin).stays = timed(clock, services), Trusting()
    token = short_token(services, people[Role.USER])
    async with (
        served(guarded) as server,
        served(twin) as careless,
        events(server, token, WATCH) as stream,
        parts(server, token, WATCH) as answer,
        events(careless, token, WATCH) as open_still,
    ):
        assert {"jobs": "listening"} == (await stream.event()).body["data"]
        assert {"data": {"jobs": "listening"}} == (await answer.part() or {})["payload"]
        assert {"jobs": "listening"} == (await open_still.event()).body["data"]
        clock.ahead = SOON
        last, end = await stream.event(), await stream.event()
        assert None is await stream.block()
        part = await answer.part()
        assert None is await answer.part()
        beats = [await open_still.block() for _ in range(10)]

    assert ("UNAUTHENTICATED", COMPLETE) == (last.code, end)
    assert part is not None
    assert (None, "UNAUTHENTICATED") == (part["payload"], part["errors"][0]["extensions"]["code"])
    assert [Block(comments=[""])] * 10 == beats
    assert {} == flows_of(guarded).held


async def test_nothing_is_opened_with_a_token_that_has_just_run_out(
    settings: Settings, services: Services, people: People
) -> None:
    """A question is answered all the same, as clocks differ. Where nobody looks, a stream begins that ends at once."""
    guarded, twin = (stage.staged(settings, services) for _ in range(2))
    flows_of(twin).stays = Trusting()
    token = short_token(services, people[Role.USER], now=time.time() - SOON.total_seconds() - 1)
    async with served(guarded) as server, served(twin) as careless, server.socket(greet=False) as socket:
        asked = await server.graphql("{ me }", token)
        opened = [
            await server.client.post(path, json={"query": WATCH}, headers={**headers, **bearer(token)})
            for path, headers in (("/graphql/stream", EVENTS), ("/graphql", PARTS))
        ]
        await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        closed = await socket.ended()
        async with events(careless, token, WATCH) as stream:
            begun = await stream.event()

    assert {"me": str(people[Role.USER].id)} == asked.json()["data"]
    assert [401, 401] == [answer.status_code for answer in opened]
    assert 4403 == closed
    assert {"jobs": "listening"} == begun.body["data"]


@pytest.mark.slow
async def test_flows_end_within_five_seconds_of_their_user_being_somebody_else(
    settings: Settings, services: Services, database: Database, people: People, token_of: TokenOf
) -> None:
    """Signed out, locked, of another role; somebody else's go on, and so do those that nobody looks after."""
    ends = {Role.OPERATOR: signed_out, Role.SUPERVISOR: locked, Role.USER: given_another_role}
    guarded, twin = (beating(stage.staged(settings, services), 0.1) for _ in range(2))
    flows_of(twin).stays = Trusting()
    async with AsyncExitStack() as stack:
        server, careless = [await stack.enter_async_context(served(each)) for each in (guarded, twin)]
        token = {role: token_of(people[role]) for role in (*ends, Role.ADMIN)}
        heard = [await stack.enter_async_context(events(server, token[role], WATCH)) for role in ends]
        answers = [await stack.enter_async_context(parts(server, token[role], WATCH)) for role in ends]
        kept = [await stack.enter_async_context(events(careless, token[role], WATCH)) for role in ends]
        kept.append(await stack.enter_async_context(events(server, token[Role.ADMIN], WATCH)))
        for stream in (*heard, *kept):
            await stream.event()
        for answer in answers:
            await answer.part()
        for role, end in ends.items():
            await end(database, people[role])
        async with asyncio.timeout(5):
            codes = [(await stream.event()).code for stream in heard]
            last = [await answer.part() or {} for answer in answers]
        job = await queued(database, DEFAULT_TENANT, people[Role.USER].id)
        told = [(await stream.event()).body["data"]["jobs"] for stream in kept]

    assert ["UNAUTHENTICATED"] * 3 == codes
    assert ["UNAUTHENTICATED"] * 3 == [each["errors"][0]["extensions"]["code"] for each in last]
    assert [str(job.id)] * 4 == told


async def test_the_eleventh_flow_of_a_user_is_refused_until_one_has_ended(
    server: Served, people: People, token_of: TokenOf
) -> None:
    mine, other = token_of(people[Role.USER]), token_of(people[Role.ADMIN])
    asked = {"query": WATCH}
    async with AsyncExitStack() as stack, AsyncExitStack() as first:
        await first.enter_async_context(events(server, mine, WATCH))
        for _ in range(4):
            await stack.enter_async_context(events(server, mine, WATCH))
        for _ in range(5):
            await stack.enter_async_context(parts(server, mine, WATCH))
        refused = [
            await server.client.post(path, json=asked, headers={**accept, **bearer(mine)})
            for path, accept in (("/graphql/stream", EVENTS), ("/graphql", PARTS))
        ]
        async with events(server, other, WATCH) as theirs:
            assert {"jobs": "listening"} == (await theirs.event()).body["data"]
        await first.aclose()
        await until(lambda: flows_of(server.app).held[people[Role.USER].id] == 9)
        async with events(server, mine, WATCH) as again:
            assert {"jobs": "listening"} == (await again.event()).body["data"]

    assert [(429, "5", "RATE_LIMITED", "streams")] * 2 == [
        (each.status_code, each.headers["retry-after"], extensions["code"], extensions["policy"])
        for each in refused
        for extensions in [each.json()["errors"][0]["extensions"]]
    ]


async def test_flows_leave_room_for_questions(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    small = settings.model_copy(update={"connections": 3})
    token = token_of(people[Role.ADMIN])
    async with served(stage.staged(small, services)) as server, events(server, token, WATCH) as stream:
        await stream.event()
        refused = await server.client.post(
            "/graphql/stream", json={"query": WATCH}, headers={**EVENTS, **bearer(token_of(people[Role.USER]))}
        )
        answered = await server.graphql("{ open }", token)

    assert (503, "5", 200) == (refused.status_code, refused.headers["retry-after"], answered.status_code)
    assert "UNAVAILABLE" == refused.json()["errors"][0]["extensions"]["code"]


async def test_who_goes_is_not_listened_for_any_more(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    token = token_of(people[Role.USER])
    async with events(server, token, WATCH) as stream, parts(server, token, WATCH) as answer:
        await stream.event()
        await answer.part()
        assert (2, 2) == (services.hub.listeners, flows_of(server.app).held.total())
    await until(lambda: services.hub.listeners == 0)

    await until(lambda: not flows_of(server.app).held)


async def test_a_process_that_goes_sends_its_clients_on_with_what_they_heard_last(
    settings: Settings, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Without `complete`: who has seen that does not come back. Another process tells the rest."""
    token = token_of(people[Role.ADMIN])
    async with (
        served(create_app(settings, services)) as going,
        opening.opened(settings) as others,
        served(create_app(settings, others)) as staying,
        events(going, token) as stream,
        parts(going, token) as answer,
    ):
        await stream.place()
        await until(lambda: services.hub.listeners == 2)
        await queued(database, tenant)
        heard, part = await stream.event(), await answer.part() or {}
        await going.app.state.departures.leave()
        rest, error = await stream.rest(), (await answer.part() or {})
        assert None is await answer.part()
        async with events(going, token) as late:
            sent_on = await late.rest()
        missed = await queued(database, tenant)
        async with events(staying, token, last=stream.last_id) as again:
            next_one = await again.event()

    assert [None] * len(rest) == [block.event for block in rest]
    assert "UNAVAILABLE: this server is going down: connect again in a moment" in rest[-1].comments[-1]
    assert RETRY_MS <= int(rest[-1].retry or 0) <= RETRY_MOST_MS
    assert heard.id == part["payload"]["extensions"]["cursor"] == stream.last_id
    assert (None, "UNAVAILABLE", 1, heard.id) == (
        error["payload"],
        *(error["errors"][0]["extensions"][name] for name in ("code", "retryAfter", "cursor")),
    )
    assert [None] * len(sent_on) == [block.event for block in sent_on]
    assert str(missed.id) == next_one.body["data"]["jobChanged"]["job"]["id"]


async def test_a_flow_outlives_every_deadline_of_a_request(
    settings: Settings, services: Services, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """Twenty heartbeats are five times as long as anything else may take here."""
    token = token_of(people[Role.ADMIN])
    app = beating(create_app(settings, services), 0.05)
    async with (
        served(app, limits=HASTY) as server,
        events(server, token) as stream,
        parts(server, token) as answer,
    ):
        await stream.place()
        blocks = [await stream.block() for _ in range(20)]
        empty = [await answer.any_part() for _ in range(20)]
        job = await queued(database, tenant)
        heard, part = await stream.event(), await answer.part() or {}

    assert [Block(comments=[""])] * 20 == blocks
    assert [{}] * 20 == empty
    shown = [each["data"]["jobChanged"]["job"]["id"] for each in (heard.body, part["payload"])]
    assert [str(job.id)] * 2 == shown


async def test_who_was_too_slow_is_to_come_back_for_the_rest(server: Served, people: People, token_of: TokenOf) -> None:
    token = token_of(people[Role.USER])
    async with (
        events(server, token, "subscription { lags }") as stream,
        parts(server, token, "subscription { lags }") as answer,
    ):
        blocks = await stream.rest()
        heard = [await answer.part() for _ in range(3)]

    assert [None, "next", None] == [each.event for each in blocks]
    assert ["SLOW_CONSUMER: events were not taken for too long: listen again after 7-1"] == blocks[-1].comments
    assert [{"payload": {"data": {"lags": 1}}}, None] == [heard[0], heard[2]]
    extensions = (heard[1] or {})["errors"][0]["extensions"]
    assert ("SLOW_CONSUMER", "7-1") == (extensions["code"], extensions["cursor"])


async def test_a_flow_that_fails_breaks_off_and_says_nothing_of_the_inside(
    server: Served, people: People, token_of: TokenOf, caplog: pytest.LogCaptureFixture
) -> None:
    user = people[Role.USER]
    async with events(server, token_of(user), "subscription { fails }") as stream:
        first = await stream.event()
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.rest()
    await until(lambda: not flows_of(server.app).held)

    assert {"data": {"fails": 1}} == first.body
    assert ["POST /graphql/stream failed"] == [each.message for each in caplog.records if "failed" in each.message]


async def test_a_flow_is_one_line_of_the_log_and_one_request_that_was_answered_at_once(
    settings: Settings, services: Services, people: People, token_of: TokenOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "log", structlog.get_logger("agentos.access"))
    app, token = beating(stage.staged(settings, services), 0.05), token_of(people[Role.USER])
    with capture_logs() as lines:
        async with served(app) as server:
            async with events(server, token, WATCH) as stream:
                await stream.event()
                for _ in range(20):
                    await stream.block()
                during = await server.client.get("/metrics")
            await until(lambda: not flows_of(app).held)
            after = await server.client.get("/metrics")

    [line] = [each for each in lines if each.get("path") == "/graphql/stream"]
    assert (200, "POST") == (line["status"], line["method"])
    assert line["lasted_s"] >= 0.9
    assert line["ms"] < 1000 * line["lasted_s"]
    assert 'agentos_streams{kind="sse"} 1.0' in during.text
    assert {'agentos_streams{kind="sse"} 0.0', "agentos_subscriptions 0.0"} <= set(after.text.splitlines())
    labels = 'method="POST",route="/graphql/stream",status="200"'
    assert f"agentos_http_request_seconds_count{{{labels}}} 1.0" in after.text
    assert 'agentos_graphql_operations_total{field="jobs",outcome="ok",type="subscription"} 1.0' in after.text
    [measured] = [
        each for each in after.text.splitlines() if each.startswith(f"agentos_http_request_seconds_sum{{{labels}")
    ]
    assert float(measured.split()[-1]) < line["lasted_s"]
