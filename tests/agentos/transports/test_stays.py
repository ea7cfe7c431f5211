"""Who stays, and for how long: each for a reason of their own, whatever the database does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from urllib.parse import quote, urlsplit

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from starlette.applications import Starlette

from agentos import services as opening
from agentos.settings import Settings
from agentos.transports import stays
from agentos.transports.callers import Callers
from agentos.transports.graphql import GraphQLOverHTTP
from agentos.transports.sockets import GraphQLOverWebSocket
from agentos.transports.stays import Stays
from agentos.transports.streams import GraphQLOverSSE
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from db.tasks import going_on
from guards.callers import Caller
from guards.errors import Unauthenticated, Unavailable
from resolvers.context import Services
from tests.agentos import stage
from tests.agentos.transports.dismissing import SOON, Clock, short_token, signed_out, timed
from tests.agentos.transports.streaming import Events, Parts, events, parts
from tests.conftest import CallerOf, People
from tests.relays import Relay, relayed
from tests.serving import Served, Socket, served
from tests.waiting import PATIENCE_S, until


class Counting(Callers):
    """Says how many were asked for at once, and fails as often as it is to."""

    def __init__(
        self, services: Services, failures: Sequence[Exception] = (), *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(services.tokens, services.database, clock=clock)
        self.asked: list[int] = []
        self.failures = list(failures)

    async def fallen(self, callers: Collection[Caller]) -> list[Caller]:
        self.asked.append(len(callers))
        if self.failures:
            raise self.failures.pop()
        return await super().fallen(callers)


async def test_all_who_stay_are_asked_for_together(
    services: Services, database: Database, people: People, caller_of: CallerOf
) -> None:
    """And each is let go for a reason of their own."""
    callers = Counting(services)
    mine = Stays(callers)
    staying = [caller_of(user) for user in people.values()]
    await signed_out(database, people[Role.USER])
    async with asyncio.TaskGroup() as group:
        lapsing = [group.create_task(lapse(mine, caller)) for caller in staying * 4]
        await until(lambda: any(each.done() for each in lapsing))
        for each in lapsing:
            each.cancel()

    assert [4 * len(people)] == callers.asked
    assert ["the access token was revoked: sign in again"] * 4 == [e.result() for e in lapsing if not e.cancelled()]


async def lapse(mine: Stays, caller: Caller) -> str:
    """Stay until that is over, and say why it is."""
    try:
        await mine.lapse(lambda: caller)
    except (Unauthenticated, RuntimeError) as error:
        return str(error)


async def test_nobody_stays_whom_nobody_looks_after_any_more(
    services: Services, people: People, caller_of: CallerOf
) -> None:
    """A fault of ours in the rounds ends who waited for them; who comes next is looked after again."""
    callers = Counting(services, [RuntimeError("a fault of ours")])
    mine = Stays(callers)
    first, second = caller_of(people[Role.USER]), caller_of(people[Role.ADMIN])
    async with asyncio.timeout(PATIENCE_S):
        reasons = [*await asyncio.gather(lapse(mine, first), lapse(mine, second))]
        reasons.append(await lapse(mine, msgspec.structs.replace(first, expires_at=0)))

    assert ["a fault of ours", "a fault of ours", "the access token has expired"] == reasons


async def test_without_the_database_everybody_stays_and_is_asked_for_later(
    services: Services, database: Database, people: People, caller_of: CallerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stays, "LOOK_S", 0.0)
    callers = Counting(services, [Unavailable("away")])
    mine = Stays(callers)
    await signed_out(database, people[Role.USER])
    reason = await lapse(mine, caller_of(people[Role.USER]))

    assert ("the access token was revoked: sign in again", [1, 1]) == (reason, callers.asked)


@pytest.mark.slow
async def test_a_question_that_is_refused_ends_nobody(
    settings: Settings, database: Database, people: People, caller_of: CallerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is locked for longer than one waits for it is no reason to send everybody away."""
    monkeypatch.setattr(stays, "LOOK_S", 0.0)
    monkeypatch.setattr("db.database.LOCK_TIMEOUT", timedelta(milliseconds=200))
    async with opening.opened(settings, application="agentos tests") as services:
        callers = Counting(services)
        async with database.transaction(DEFAULT_TENANT) as tx:
            await tx.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            staying = asyncio.create_task(lapse(Stays(callers), caller_of(people[Role.USER])))
            await until(lambda: staying.done() or len(callers.asked) > 1)
            kept = not staying.done()
        await signed_out(database, people[Role.USER])
        reason = await staying

    assert (True, "the access token was revoked: sign in again") == (kept, reason)


class Unanswered(Callers):
    """Has the first question never answered."""

    def __init__(self, services: Services, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(services.tokens, services.database, clock=clock)
        self.asked = 0

    async def fallen(self, callers: Collection[Caller]) -> list[Caller]:
        self.asked += 1
        if self.asked == 1:
            await asyncio.Event().wait()
        return await super().fallen(callers)


async def test_a_token_runs_out_without_an_answer(services: Services, people: People, caller_of: CallerOf) -> None:
    """The control waits for the answer before it looks at the clock again."""
    caller, clock = caller_of(people[Role.USER]), Clock()
    first, second = Unanswered(services, clock=clock), Unanswered(services, clock=clock)
    careless = asyncio.create_task(lapse(Together(first), caller))
    staying = asyncio.create_task(lapse(Stays(second), caller))
    await until(lambda: first.asked + second.asked == 2)
    began = time.monotonic()
    clock.ahead = timedelta(seconds=caller.expires_at - time.time())
    reason = await staying
    late = time.monotonic() - began
    done, waiting = await asyncio.wait([careless], timeout=2 * stays.WATCH_S)
    careless.cancel()

    assert ("the access token has expired", True) == (reason, late < 5)
    assert (set(), {careless}) == (done, waiting)


async def test_a_question_that_is_lost_is_asked_again(
    services: Services, database: Database, people: People, caller_of: CallerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may be dead without a word; where nobody gives it up, nobody is signed out any more."""
    monkeypatch.setattr(stays, "LOOK_S", 0.0)
    monkeypatch.setattr(stays, "ANSWER_S", 60.0)
    patient = Unanswered(services)
    await signed_out(database, people[Role.USER])
    waiting = asyncio.create_task(lapse(Stays(patient), caller_of(people[Role.USER])))
    await until(lambda: patient.asked == 1)
    monkeypatch.setattr(stays, "ANSWER_S", 0.5)
    callers = Unanswered(services)
    reason = await lapse(Stays(callers), caller_of(people[Role.USER]))
    kept = not waiting.done()
    waiting.cancel()

    # A database that is slow itself is asked once more.
    assert ("the access token was revoked: sign in again", True) == (reason, callers.asked >= 2)
    assert (True, 1) == (kept, patient.asked)


class Together(Stays):
    """The control: one round for both, in which the clock waits for the database."""

    async def _end_expired(self) -> None:
        while going_on():
            for lapsed, stay in self._staying.items():
                if self._callers.expired(stay.present()) and not lapsed.done():
                    lapsed.set_exception(Unauthenticated("the access token has expired"))
            await self._look(time.monotonic())
            await asyncio.sleep(stays.WATCH_S)

    async def _end_fallen(self) -> None:
        await asyncio.Event().wait()


def looked_after(app: Starlette, by: Stays) -> Starlette:
    """An application in which somebody else looks after those who stay."""
    for route in app.routes:
        match getattr(route, "endpoint", None):
            case GraphQLOverWebSocket() as sockets:
                sockets.seats.stays = by
            case (GraphQLOverSSE() | GraphQLOverHTTP()) as flowing:
                flowing.flows.stays = by
    return app


@asynccontextmanager
async def three(server: Served, token: str) -> AsyncIterator[tuple[Socket, Events, Parts]]:
    """The same subscription over a socket, in events and in parts, each of which has begun."""
    query = "subscription { jobs }"
    async with (
        server.socket(token) as socket,
        events(server, token, query) as stream,
        parts(server, token, query) as answer,
    ):
        await socket.say({"id": "1", "type": "subscribe", "payload": {"query": query}})
        assert {"jobs": "listening"} == (await socket.hear())["payload"]["data"]
        assert {"jobs": "listening"} == (await stream.event()).body["data"]
        assert {"data": {"jobs": "listening"}} == (await answer.part() or {})["payload"]
        yield socket, stream, answer


async def endings(socket: Socket, stream: Events, answer: Parts) -> tuple[int, str, str]:
    """With which codes three end."""
    closed, event, part = await asyncio.gather(socket.ended(), stream.event(), answer.part())
    return closed, event.code, (part or {})["errors"][0]["extensions"]["code"]


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[tuple[Relay, str]]:
    """A way to a database that can be blocked, and its address over that."""
    there = make_url(url)
    folder, port = there.query.get("host"), there.query.get("port", there.port or 5432)
    plain = f"tcp://{there.host}:{there.port or 5432}"
    async with relayed(plain if there.host else f"unix://{quote(f'{folder}/.s.PGSQL.{port}')}") as relay:
        query = {name: value for name, value in there.query.items() if name not in ("host", "port")}
        here = there.set(host="127.0.0.1", port=urlsplit(relay.url).port, query=query)
        yield relay, here.render_as_string(hide_password=False)


@pytest.mark.slow
async def test_while_postgresql_hangs_tokens_run_out_over_every_transport(
    settings: Settings, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the control go on, until it answers again."""
    monkeypatch.setattr(stays, "LOOK_S", 0.0)
    user = people[Role.USER]
    async with AsyncExitStack() as stack:
        wire, url = await stack.enter_async_context(wired(settings.database_url or ""))
        far = settings.model_copy(update={"database_url": url})
        services = await stack.enter_async_context(opening.opened(far, application="agentos tests"))
        stack.callback(wire.flow)
        clock = Clock()
        guarded = looked_after(stage.staged(far, services), timed(clock, services))
        careless = Counting(services, clock=clock)
        server = await stack.enter_async_context(served(guarded))
        other = await stack.enter_async_context(served(looked_after(stage.staged(far, services), Together(careless))))
        token = short_token(services, user)
        mine = await stack.enter_async_context(three(server, token))
        theirs = await stack.enter_async_context(three(other, token))
        wire.hang()
        asked = len(careless.asked)
        await until(lambda: len(careless.asked) > asked)
        began = time.monotonic()
        clock.ahead = SOON
        ended = await endings(*mine)
        late = time.monotonic() - began
        kept = asyncio.create_task(endings(*theirs))
        done, _ = await asyncio.wait([kept], timeout=2 * stays.WATCH_S)
        wire.flow()
        afterwards = await kept

    codes = (4403, "UNAUTHENTICATED", "UNAUTHENTICATED")
    assert (codes, codes, set(), True) == (ended, afterwards, done, late < 5)
