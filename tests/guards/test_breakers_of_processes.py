"""The breakers of a process: what they count against whom, what people decide, and that they need no store for it."""

import asyncio
from uuid import uuid4

import pytest
import sqlalchemy as sa
from redis.exceptions import RedisError
from sqlalchemy.exc import IntegrityError

from db import breakers as rows
from db.database import Database, DatabaseUnavailable
from db.models.guards import replays
from db.redis import REDIS_AWAY, Redis, connect
from guards.breakers import (
    LOOK_EVERY_S,
    RULES,
    Breakers,
    BreakerState,
    Dependency,
    Outcome,
    at_fault,
)
from guards.errors import CircuitOpen, Conflict, NotFound, Unavailable
from tests.guards.breaking import SMALL, Clock, half


async def test_a_try_that_is_cancelled_makes_room_for_the_next(database: Database) -> None:
    clock, rules = Clock(), {**RULES, Dependency.WORKERS: SMALL}
    breakers = Breakers(database, rules=rules, clock=clock, chance=half)
    breaker, begun = breakers.of[Dependency.WORKERS], asyncio.Event()
    for _ in range(SMALL.least_calls):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    clock.now += SMALL.longest_s

    async def hang() -> None:
        async with breakers.through(Dependency.WORKERS):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await begun.wait()
    with pytest.raises(CircuitOpen):
        breaker.enter()
    task.cancel()
    await asyncio.wait([task])

    assert BreakerState.HALF_OPEN is breaker.state
    assert BreakerState.CLOSED is await tried(breakers, Dependency.WORKERS)


async def tried(breakers: Breakers, dependency: Dependency) -> BreakerState:
    """How a breaker stands after a call that went well."""
    async with breakers.through(dependency):
        pass
    return breakers.of[dependency].state


@pytest.mark.parametrize(("lasting", "state"), [(False, BreakerState.OPEN), (True, BreakerState.CLOSED)])
async def test_slowness_counts_unless_it_is_expected(database: Database, lasting: bool, state: BreakerState) -> None:
    clock = Clock()
    breakers = Breakers(database, rules={**RULES, Dependency.FILES: SMALL}, clock=clock, chance=half)
    for _ in range(4):
        async with breakers.through(Dependency.FILES, lasting=lasting):
            clock.now += 2.1

    assert state is breakers.of[Dependency.FILES].state


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        OSError(28, "no space left"),
        TimeoutError(),
        RedisError(),
        Unavailable("the supervisor does not answer"),
        ExceptionGroup("", [NotFound(""), ConnectionResetError()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_its_fault(error: Exception) -> None:
    assert at_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("job"),
        Conflict("job 7 has already finished"),
        CircuitOpen("another"),
        FileNotFoundError(),
        KeyError(),
        asyncio.CancelledError(),
        DatabaseUnavailable(),
        caused(Unavailable(""), DatabaseUnavailable()),
        ExceptionGroup("", [NotFound("")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_its_fault(error: BaseException) -> None:
    assert not at_fault(error)


async def test_what_the_database_refuses_opens_nothing(database: Database, tenant: str) -> None:
    breakers = Breakers(database)
    broken = sa.insert(replays).values(
        tenant_id=tenant, principal=uuid4(), key="k", action="a", fingerprint=b"short", answer=b""
    )
    for _ in range(20):
        with pytest.raises(IntegrityError):
            async with breakers.through(Dependency.FILES), database.transaction(tenant) as tx:
                await tx.execute(broken)

    assert BreakerState.CLOSED is breakers.of[Dependency.FILES].state
    assert {Outcome.NEITHER: 20} == breakers.of[Dependency.FILES].totals


async def test_a_failure_that_somebody_caught_counts_when_they_say_so(database: Database) -> None:
    breakers = Breakers(database)
    async with breakers.through(Dependency.SUPERVISOR) as permit:
        permit.failed = True

    assert {Outcome.FAILED: 1} == breakers.of[Dependency.SUPERVISOR].totals


async def decide(database: Database, dependency: Dependency, *, isolated: bool) -> None:
    async with database.system() as tx:
        await rows.decide(tx, dependency, isolated=isolated, reason="the disk is being changed", by=None)


async def test_every_process_obeys_what_was_decided_by_hand(database: Database) -> None:
    clock = Clock()
    processes = [Breakers(database, clock=clock) for _ in range(2)]
    for process in processes:
        await process.require(Dependency.FILES)
    await decide(database, Dependency.FILES, isolated=True)
    clock.now += LOOK_EVERY_S

    for process in processes:
        with pytest.raises(CircuitOpen) as refused:
            await process.require(Dependency.FILES)
        assert refused.value.retry_after is None
        await process.require(Dependency.REDIS)

    await decide(database, Dependency.FILES, isolated=False)
    clock.now += LOOK_EVERY_S
    for process in processes:
        await process.require(Dependency.FILES)


async def test_closing_by_hand_also_closes_what_had_opened_by_itself(database: Database) -> None:
    clock = Clock()
    breakers = Breakers(database, clock=clock)
    breaker = breakers.of[Dependency.REDIS]
    for _ in range(10):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    await decide(database, Dependency.REDIS, isolated=False)

    await breakers.look(again=True)

    assert (BreakerState.CLOSED, 0) == (breaker.state, breaker.calls)


async def test_without_the_database_what_was_decided_last_holds(database_url: str) -> None:
    clock, database = Clock(), Database.connect(database_url)
    breakers = Breakers(database, clock=clock)
    await decide(database, Dependency.FILES, isolated=True)
    await breakers.look()
    await database.close()
    breakers._database = Database.connect("postgresql://nobody@127.0.0.1:1/none")
    clock.now += LOOK_EVERY_S

    with pytest.raises(CircuitOpen):
        await breakers.require(Dependency.FILES)
    await breakers.require(Dependency.WORKERS)


class KeptInRedis:
    """A breaker whose state is in Redis, as libraries have it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def through(self) -> None:
        if await self._redis.get("breaker:workers") == b"open":
            raise CircuitOpen("open")


async def test_with_redis_away_no_healthy_call_fails(database: Database) -> None:
    breakers = Breakers(database)
    async with connect("redis://127.0.0.1:1") as away:
        for _ in range(50):
            async with breakers.through(Dependency.WORKERS):
                pass
        with pytest.raises(REDIS_AWAY):
            await KeptInRedis(away).through()

    assert {Outcome.DONE: 50} == breakers.of[Dependency.WORKERS].totals


async def test_how_they_stand_is_told_with_what_was_measured(database: Database) -> None:
    breakers = Breakers(database, clock=Clock(), chance=half)
    for outcome in (Outcome.FAILED, *[Outcome.DONE] * 3):
        breaker = breakers.of[Dependency.REDIS]
        breaker.leave(breaker.enter(), outcome)
    await decide(database, Dependency.FILES, isolated=True)

    standings = {each.dependency: each for each in await breakers.standings()}

    redis, files, workers = (standings[each] for each in (Dependency.REDIS, Dependency.FILES, Dependency.WORKERS))
    assert (4, 0.25, 0.0, None, False) == (
        redis.calls,
        redis.failure_rate,
        redis.slow_rate,
        redis.open_until,
        redis.isolated,
    )
    assert (BreakerState.ISOLATED, True, "the disk is being changed") == (files.state, files.isolated, files.reason)
    assert (BreakerState.CLOSED, 0, None, None) == (
        workers.state,
        workers.calls,
        workers.failure_rate,
        workers.decided_at,
    )
