"""Limits as they are counted: all of a call's buckets or none, in Redis, in PostgreSQL, or alone."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest
import pytest_asyncio

from db.database import Database
from db.levels import Algorithm
from db.redis import Redis, connect
from guards.allowances import Bucket, Class, Rate, of_action, of_address, of_user
from guards.errors import RateLimited, Unavailable
from guards.rates import ASKED_AGAIN_S, Rates
from tests.relays import Relay, relayed
from tests.waiting import eventually

TENANT = "default"
WINDOW_S = 2


@pytest.fixture
def rates(redis: Redis, database: Database) -> Rates:
    return Rates(redis, database)


def bucket(limit: int, *, key: str = "it", units: int = 1, critical: bool = False, window_s: int = 60) -> Bucket:
    return Bucket(key, key, Rate(limit, window_s, critical=critical), units)


async def refused(rates: Rates, *buckets: Bucket) -> RateLimited:
    with pytest.raises(RateLimited) as error:
        await rates.charge(TENANT, buckets)
    return error.value


async def remaining(rates: Rates, *buckets: Bucket) -> list[int]:
    return [left.remaining for left in (await rates.left(TENANT, buckets)).left]


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_limit_is_a_limit(rates: Rates, algorithm: Algorithm) -> None:
    it = Bucket("it", "it", Rate(3, 3600, algorithm))

    left = [(await rates.charge(TENANT, [it])).left[0].remaining for _ in range(3)]
    refusal = await refused(rates, it)

    assert [2, 1, 0] == left
    assert "it" == refusal.policy
    assert refusal.retry_after is not None
    assert 1 <= refusal.retry_after <= 3600


async def test_both_limits_of_a_class_are_held(rates: Rates) -> None:
    buckets = Class.USER.buckets(of_user(uuid4()))

    for _ in range(34):
        await rates.charge(TENANT, buckets)

    assert "user-burst" == (await refused(rates, *buckets)).policy
    assert [66, 0] == await remaining(rates, *buckets)


@pytest.mark.parametrize("critical", [False, True])
async def test_what_is_refused_uses_nothing_up_anywhere(rates: Rates, critical: bool) -> None:
    wide, narrow = bucket(9, key="wide"), bucket(1, key="narrow", critical=critical)
    await rates.charge(TENANT, [wide, narrow])

    refusal = await refused(rates, wide, narrow)

    assert "narrow" == refusal.policy
    assert [8, 0] == await remaining(rates, wide, narrow)
    assert refusal.spent is not None
    assert [8, 0] == [left.remaining for left in refusal.spent.left]


async def test_an_ordinary_limit_that_is_full_leaves_the_critical_one_alone(rates: Rates) -> None:
    ordinary, critical = bucket(1, key="ordinary"), bucket(5, key="critical", critical=True)
    await rates.charge(TENANT, [ordinary, critical])

    await refused(rates, ordinary, critical)

    assert [0, 4] == await remaining(rates, ordinary, critical)


async def test_the_same_bucket_twice_in_one_call_counts_twice(rates: Rates) -> None:
    spent = await rates.charge(TENANT, [bucket(5, units=2), bucket(5, units=2)])

    assert [1] == [left.remaining for left in spent.left]
    assert "it" == (await refused(rates, bucket(5), bucket(5))).policy
    assert [1] == await remaining(rates, bucket(5))


async def test_more_at_once_than_there_ever_is_room_for_is_not_to_be_waited_for(rates: Rates) -> None:
    refusal = await refused(rates, bucket(10, units=100))

    assert refusal.retry_after is None
    assert [10] == await remaining(rates, bucket(10))


Charge = Callable[[str, int, int, int], Awaitable[int]]


@asynccontextmanager
async def replicas(database_url: str, redis_url: str) -> AsyncIterator[Charge]:
    """How many of so many calls are let through by three processes, one of which has a clock 90 s ahead."""
    key = uuid4().hex
    async with AsyncExitStack() as stack:
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.guards.replica",
                *(key, str(skew)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for skew in (0, 0, 90)
        ]
        for child in children:
            stack.push_async_callback(ended, child)
        await asyncio.gather(*(told(child, f"{database_url} {redis_url}") for child in children))

        async def charge(kind: str, limit: int, window_s: int, calls: int) -> int:
            line = f"{kind} {limit} {window_s} {calls // 3}"
            answers = await asyncio.gather(*(told(child, line) for child in children))
            return sum(map(int, answers))

        yield charge


async def told(child: asyncio.subprocess.Process, line: str) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{line}\n".encode())
    async with asyncio.timeout(60):
        return (await child.stdout.readline()).decode().strip()


async def ended(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await child.wait()


async def now(redis: Redis) -> float:
    """What time it is by the clock of Redis."""
    seconds, micros = await redis.time()
    return int(seconds) + int(micros) / 1e6


async def over(redis: Redis, window_s: int) -> None:
    """Wait until a window that begins now has gone by."""
    ends = await now(redis) + window_s
    await eventually(lambda: now(redis), lambda at: at > ends)


@pytest.mark.slow
async def test_three_servers_let_through_just_the_limit_in_every_window_whatever_their_clocks_say(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """Counting by one's own clock, and looking first, lets more through."""
    async with replicas(database_url, redis_url) as charge:

        async def full_windows(kind: str, limit: int, calls: int) -> bool:
            """Whether just the limit was let through, or what more than one window takes if it lasted that long."""
            began = await now(redis)
            through = await charge(kind, limit, WINDOW_S, calls)
            return limit <= through <= limit * (1 + (await now(redis) - began) // WINDOW_S)

        exact: list[bool] = []
        for _ in range(3):
            if exact:
                await over(redis, WINDOW_S)
            exact += [await full_windows("ordinary", 100, 600), await full_windows("critical", 10, 36)]
        control = await charge("naive", 100, 60, 600)

    assert [True] * 6 == exact
    assert control > 100


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def relay(redis_url: str, redis: Redis) -> AsyncIterator[Relay]:
    async with relayed(redis_url) as relay:
        yield relay


@pytest_asyncio.fixture
async def through(relay: Relay) -> AsyncIterator[Redis]:
    """A client behind the relay, ten times as patient as a server's: a machine that pauses is no Redis that hangs."""
    async with connect(relay.url, answer_timeout_s=0.5) as client:
        await client.ping()
        yield client


async def lose(relay: Relay, how: str) -> None:
    if how == "hangs":
        relay.hang()
    else:
        await relay.leave()


async def timed(calls: Iterable[Awaitable[object]]) -> list[float]:
    """How long each of several calls took, one after the other, in seconds."""
    clock = asyncio.get_running_loop().time
    took = []
    for call in calls:
        began = clock()
        await call
        took.append(clock() - began)
    return sorted(took)


@pytest.mark.parametrize("how", ["hangs", "is gone"])
async def test_without_redis_one_call_waits_a_moment_and_each_server_counts_its_share(
    how: str, relay: Relay, through: Redis, database: Database
) -> None:
    rates = Rates(through, database, replicas=3, monotonic=Clock())
    it, other = bucket(100), bucket(1000, key="other")
    assert not (await rates.charge(TENANT, [it])).degraded
    await lose(relay, how)

    took = await timed(rates.charge(TENANT, [other]) for _ in range(300))
    spent = [await rates.charge(TENANT, [it]) for _ in range(34)]

    assert "it" == (await refused(rates, it)).policy
    assert rates.degraded
    assert all(each.degraded for each in spent)
    assert spent[0].headers()["ratelimit-policy"] == '"it";q=100;w=60;degraded'
    # Half a second is waited once; three hundred times would be two and a half minutes.
    assert sum(took) < 15
    assert took[int(len(took) * 0.99)] < 0.1


class Patient(Rates):
    """Asks Redis every time."""

    def _worth_asking(self) -> bool:
        return True


async def test_control_asking_every_time_waits_every_time(relay: Relay, through: Redis, database: Database) -> None:
    rates = Patient(through, database)
    relay.hang()

    took = await timed(rates.charge(TENANT, [bucket(100)]) for _ in range(3))

    assert sum(took) > 1.2


async def test_calls_at_once_find_out_together_that_redis_hangs(
    relay: Relay, through: Redis, database: Database
) -> None:
    rates = Rates(through, database)
    relay.hang()
    clock = asyncio.get_running_loop().time
    began = clock()

    spent = await asyncio.gather(*(rates.charge(TENANT, [bucket(1000)]) for _ in range(200)))

    # One after the other would be a hundred seconds.
    assert clock() - began < 15
    assert {True} == {each.degraded for each in spent}


@pytest.mark.parametrize("how", ["hangs", "is gone"])
async def test_what_is_critical_is_counted_exactly_whatever_becomes_of_redis(
    how: str, relay: Relay, through: Redis, redis: Redis, database: Database
) -> None:
    rates = Rates(through, database, replicas=3)
    critical = bucket(5, key="system.restart", critical=True)
    both = [bucket(100), critical]
    await rates.charge(TENANT, both)
    await redis.flushall()
    await rates.charge(TENANT, both)
    await lose(relay, how)

    for _ in range(3):
        await rates.charge(TENANT, both)
    results = await asyncio.gather(*(rates.charge(TENANT, both) for _ in range(8)), return_exceptions=True)

    assert ["system.restart"] * 8 == [result.policy for result in results if isinstance(result, RateLimited)]


async def test_emptying_redis_makes_ordinary_limits_begin_anew(rates: Rates, redis: Redis) -> None:
    """That they do is the price of their speed, and why nothing critical is counted there."""
    await rates.charge(TENANT, [bucket(1)])

    await redis.flushall()

    assert [0] == [left.remaining for left in (await rates.charge(TENANT, [bucket(1)])).left]


async def test_when_redis_is_back_it_counts_again(relay: Relay, through: Redis, database: Database) -> None:
    clock = Clock()
    rates = Rates(through, database, monotonic=clock)
    await rates.charge(TENANT, [bucket(10)])
    await relay.leave()
    assert (await rates.charge(TENANT, [bucket(10)])).degraded
    await relay.listen()

    before = await rates.charge(TENANT, [bucket(10)])
    clock.now += ASKED_AGAIN_S
    after = await rates.charge(TENANT, [bucket(10)])

    assert (True, False) == (before.degraded, after.degraded)
    assert 8 == after.left[0].remaining
    assert not rates.degraded


async def test_without_the_database_nothing_critical_is_let_through_and_nothing_charged(
    redis: Redis, database: Database
) -> None:
    nowhere = Database.connect("postgresql://nobody@127.0.0.1:1/none", size=1)
    rates = Rates(redis, nowhere)

    with pytest.raises(Unavailable):
        await rates.charge(TENANT, [bucket(9), bucket(9, key="critical", critical=True)])

    assert [9] == await remaining(Rates(redis, database), bucket(9))
    assert [8] == [left.remaining for left in (await rates.charge(TENANT, [bucket(9)])).left]
    await nowhere.close()


async def test_a_client_that_does_as_it_is_told_is_never_refused(rates: Rates, redis: Redis) -> None:
    """It asks while something is left, and otherwise waits as long as `RateLimit` says."""

    async def obey(algorithm: Algorithm) -> None:
        limits = {"it": Rate(6, 1, algorithm), "burst": Rate(20, 2, algorithm)}
        buckets = [Bucket(f"{name} {algorithm}", name, rate) for name, rate in limits.items()]
        try:
            told = await rates.charge(TENANT, buckets)
            for _ in range(15):
                parsed = re.findall(r"r=(\d+);t=(\d+)", told.headers()["ratelimit"])
                await over(redis, max([int(reset) for left, reset in parsed if left == "0"], default=0))
                told = await rates.charge(TENANT, buckets)
        except Exception as error:
            error.add_note(f"while limits are counted by {algorithm}")
            raise

    async with asyncio.TaskGroup() as group:
        for algorithm in Algorithm:
            group.create_task(obey(algorithm))


async def test_control_a_client_that_does_not_is_refused(rates: Rates) -> None:
    calls = (rates.charge(TENANT, [bucket(6, window_s=1)]) for _ in range(30))

    assert any(isinstance(result, RateLimited) for result in await asyncio.gather(*calls, return_exceptions=True))


def test_no_address_is_in_the_name_of_a_counter() -> None:
    names = [bucket.key for bucket in Class.PUBLIC.buckets(of_address("203.0.113.7"))]

    assert not any("203" in name for name in names)
    assert names == [bucket.key for bucket in Class.PUBLIC.buckets(of_address("::ffff:203.0.113.7"))]
    assert of_address("2001:db8::1") == of_address("2001:db8::2") != of_address("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("name", "per_minute", "destructive", "critical"),
    [
        ("system.health_check", 50, False, True),
        ("queue.clear", 10, True, True),
        ("database.restore_backup", 5, True, True),
        ("job.delete", 50, True, False),
        ("job.cancel", 50, False, False),
        ("worker.restart_all", 5, False, False),
    ],
)
def test_what_counts_as_critical(name: str, per_minute: int, destructive: bool, critical: bool) -> None:
    assert critical is of_action(uuid4(), name, per_minute, destructive=destructive).rate.critical


async def test_what_everybody_has_together_is_counted_over_all_tenants(rates: Rates) -> None:
    public = Class.PUBLIC.buckets(of_address("203.0.113.7"))
    await rates.charge("", public)

    assert [8, 2] == [left.remaining for left in (await rates.charge("other", public)).left]


async def test_tenants_do_not_share_what_is_not(rates: Rates) -> None:
    await rates.charge(TENANT, [bucket(1)])

    assert [0] == [left.remaining for left in (await rates.charge("other", [bucket(1)])).left]
