"""Limits as they are counted: all of a call's buckets or none, in Redis, in PostgreSQL, or alone."""

from uuid import uuid4

import pytest

from db.database import Database
from db.redis import Redis
from guards.errors import RateLimited
from guards.rates import Algorithm, Bucket, Class, Rate, Rates, of_user

TENANT = "default"


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
