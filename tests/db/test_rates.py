"""Counting in stores: what is admitted is just what an exact reckoning of the same moments would admit."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from agentos.embedded import Addresses
from db import rates
from db.database import Database
from db.levels import Algorithm, Counter
from db.lines import Line
from db.redis import Redis, connect
from tests import reckoning
from tests.reckoning import EXACT, Admits, Taken
from tests.waiting import PATIENCE_S

MODEL = settings(
    max_examples=40,
    database=None,
    derandomize=True,
)
CALLS = st.lists(st.integers(1, 4), min_size=1, max_size=60)
"""How many units each of a row of calls wants."""

WINDOWS_US = st.sampled_from([2_000, 5_000, 20_000])
"""So short that several go by while the calls are made."""


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop for examples, which Hypothesis makes outside of any."""
    with asyncio.Runner() as running:
        yield running


def counter(algorithm: Algorithm, limit: int, window_us: int, units: int = 1, key: str | None = None) -> Counter:
    return Counter(key or f"tests:{uuid4().hex}", algorithm, limit, window_us, units)


async def replayed(redis: Redis, it: Counter, calls: list[int], admits: Admits) -> tuple[list[bool], list[bool]]:
    """What Redis said of calls, and what the oracle says of the same moments."""
    taken: Taken = []
    said, expected = [], []
    for units in calls:
        wanted = Counter(it.key, it.algorithm, it.limit, it.window_us, units)
        reading = await rates.charge(Line(redis), uuid4().hex, [wanted])
        said.append(reading.taken)
        expected.append(admits(taken, reading.at_us, units, it.limit, it.window_us))
        if reading.taken:
            taken.append((reading.at_us, units))
    return said, expected


@pytest.mark.parametrize("algorithm", Algorithm)
def test_redis_admits_what_an_exact_reckoning_admits(
    pair: Addresses, runner: asyncio.Runner, algorithm: Algorithm
) -> None:
    @MODEL
    @given(calls=CALLS, limit=st.integers(1, 12), window_us=WINDOWS_US)
    def hold(calls: list[int], limit: int, window_us: int) -> None:
        async def run() -> tuple[list[bool], list[bool]]:
            async with connect(pair.redis_url, answer_timeout_s=PATIENCE_S) as redis:
                return await replayed(redis, counter(algorithm, limit, window_us), calls, EXACT[algorithm])

        said, expected = runner.run(run())
        assert expected == said

    hold()


def test_control_the_reckonings_are_not_the_same(pair: Addresses, runner: asyncio.Runner) -> None:
    """Held against the wrong one, each algorithm is seen to differ: the model would notice."""

    async def differs(algorithm: Algorithm, oracle: Admits) -> bool:
        async with connect(pair.redis_url, answer_timeout_s=PATIENCE_S) as redis:
            # On a machine that is busy elsewhere, too few calls fall into a short window for any to be refused.
            for window_us in (10_000, 100_000, 1_000_000):
                said, expected = await replayed(redis, counter(algorithm, 5, window_us), [1] * 400, oracle)
                if said != expected:
                    return True
        return False

    assert runner.run(differs(Algorithm.SLIDING_WINDOW, reckoning.fixed))
    assert runner.run(differs(Algorithm.TOKEN_BUCKET, reckoning.sliding))
    assert runner.run(differs(Algorithm.FIXED_WINDOW, reckoning.sliding))


async def admitted_at(redis: Redis, it: Counter, calls: int) -> list[int]:
    found = []
    for _ in range(calls):
        reading = await rates.charge(Line(redis), uuid4().hex, [it])
        if reading.taken:
            found.append(reading.at_us)
    return found


def most_within(moments: list[int], window_us: int) -> int:
    """The most of them in any stretch of that length."""
    return max(sum(start <= at < start + window_us for at in moments) for start in moments)


async def test_no_stretch_of_a_sliding_window_admits_more_than_its_limit(redis: Redis) -> None:
    it, moments = counter(Algorithm.SLIDING_WINDOW, 20, 100_000), list[int]()
    while len(moments) <= 40:
        moments += await admitted_at(redis, it, 500)

    assert 20 == most_within(moments, 100_000)


async def test_control_a_fixed_window_admits_more_around_its_border(redis: Redis) -> None:
    most = 0
    for attempt in range(20):
        moments = await admitted_at(redis, counter(Algorithm.FIXED_WINDOW, 20, 10_000 + attempt), 1_500)
        # On a machine that is busy elsewhere, few calls fall into one window at all.
        most = max(most, most_within(moments, 10_000))
        if most > 20:
            break

    assert most > 20


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_what_waits_as_long_as_it_was_told_is_admitted(redis: Redis, algorithm: Algorithm) -> None:
    it = counter(algorithm, 5, 40_000, units=2)
    refusals = 0
    for _ in range(30):
        reading = await rates.charge(Line(redis), uuid4().hex, [it])
        if reading.taken:
            continue
        refusals += 1
        [level] = reading.levels
        assert level.wait_us is not None
        while (now := (await rates.look(Line(redis), [it])).at_us) < reading.at_us + level.wait_us:
            assert now > 0
        assert (await rates.charge(Line(redis), uuid4().hex, [it])).taken

    assert refusals > 3


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_calls_at_once_get_just_the_limit(redis: Redis, algorithm: Algorithm) -> None:
    it = counter(algorithm, 25, 3_600_000_000)

    readings = await asyncio.gather(*(rates.charge(Line(redis), uuid4().hex, [it]) for _ in range(80)))

    assert 25 == sum(reading.taken for reading in readings)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_of_several_counters_one_that_is_full_keeps_all_from_being_charged(
    redis: Redis, algorithm: Algorithm
) -> None:
    full, free = counter(algorithm, 1, 3_600_000_000), counter(algorithm, 9, 3_600_000_000)
    await rates.charge(Line(redis), "first", [full])

    reading = await rates.charge(Line(redis), "second", [free, full])

    assert (False, [True, False]) == (reading.taken, [level.fits for level in reading.levels])
    assert 9 == (await rates.look(Line(redis), [free])).levels[0].remaining


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_what_is_given_back_is_there_again(redis: Redis, algorithm: Algorithm) -> None:
    it = counter(algorithm, 5, 3_600_000_000, units=3)
    await rates.charge(Line(redis), "mine", [it])

    after = await rates.give_back(Line(redis), "mine", [it])

    assert 5 == after.levels[0].remaining
    assert (await rates.charge(Line(redis), "next", [it])).taken


async def test_one_can_give_back_only_what_one_took(redis: Redis) -> None:
    it = counter(Algorithm.SLIDING_WINDOW, 5, 3_600_000_000, units=3)
    await rates.charge(Line(redis), "mine", [it])

    await rates.give_back(Line(redis), "somebody else's", [it])

    assert 2 == (await rates.look(Line(redis), [it])).levels[0].remaining


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_no_counter_stays_for_ever(redis: Redis, algorithm: Algorithm) -> None:
    it = counter(algorithm, 5, 60_000_000)

    await rates.charge(Line(redis), "mine", [it])

    assert 0 < await redis.pttl(it.key) <= 60_002


CRITICAL = [counter(Algorithm.SLIDING_WINDOW, 3, 3_600_000_000, key="one")]


async def charged(database: Database, counters: list[Counter], tenant: str = "default") -> bool:
    async with database.transaction(tenant) as tx:
        return (await rates.charge_critical(tx, counters)).taken


async def test_rows_count_as_exactly_as_redis_at_once(roomy: Database) -> None:
    taken = await asyncio.gather(*(charged(roomy, CRITICAL) for _ in range(20)))

    assert 3 == sum(taken)


async def naively(database: Database, rendezvous: asyncio.Barrier) -> bool:
    """As it is often done: looked at in one statement, counted in the next."""
    async with database.transaction("default") as tx:
        fits = (await rates.look_critical(tx, CRITICAL)).levels[0].fits
        await rendezvous.wait()
        if fits:
            await tx.execute(
                sa.text(
                    "INSERT INTO calls (tenant_id, key, taken) VALUES ('default', 'one', ARRAY[1]) "
                    "ON CONFLICT (tenant_id, key) DO UPDATE SET taken = calls.taken || 1::bigint"
                )
            )
        return fits


async def test_control_looking_first_admits_all_that_come_at_once(roomy: Database) -> None:
    rendezvous = asyncio.Barrier(6)

    taken = await asyncio.gather(*(naively(roomy, rendezvous) for _ in range(6)))

    assert 6 == sum(taken)


async def test_rows_are_counted_for_each_tenant_apart(database: Database) -> None:
    for _ in range(3):
        await charged(database, CRITICAL)

    assert not await charged(database, CRITICAL)
    assert await charged(database, CRITICAL, "other")


async def test_of_several_rows_one_that_is_full_keeps_all_from_being_charged(database: Database) -> None:
    free = counter(Algorithm.SLIDING_WINDOW, 9, 3_600_000_000, key="a free one")
    for _ in range(3):
        await charged(database, CRITICAL)

    assert not await charged(database, [free, *CRITICAL])
    async with database.transaction("default") as tx:
        assert [9, 0] == [level.remaining for level in (await rates.look_critical(tx, [free, *CRITICAL])).levels]


async def test_a_row_keeps_no_more_moments_than_its_window_has(database: Database) -> None:
    it = counter(Algorithm.SLIDING_WINDOW, 50, 1, key="short")
    for _ in range(10):
        await charged(database, [it])

    async with database.system() as tx:
        kept: Any = await tx.scalar(sa.text("SELECT taken FROM calls WHERE key = 'short'"))
    assert 1 == len(kept)
