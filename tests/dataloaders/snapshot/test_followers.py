"""Followers: a snapshot that somebody follows is kept warm, and no longer than that."""

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.followers import Followers
from db import keys
from db import snapshots as stored
from db.redis import Redis, connect
from db.snapshots import Slot
from tests.waiting import eventually, until

WEEK = slot_of("other", TimeRange.WEEK)
SLOTS = [slot_of("other", time_range) for time_range in TimeRange]


async def test_what_is_followed_is_noted_as_read_again_and_again(redis: Redis) -> None:
    followers = Followers(redis, every_s=0.01)

    async def read() -> list[Slot]:
        return await stored.read_lately(redis, SLOTS)

    async with followers.of(WEEK), followers.of(WEEK):
        assert [WEEK] == await eventually(read, bool)
        await redis.delete(keys.snapshot_read(WEEK.about))
        assert [WEEK] == await eventually(read, bool)


async def test_nothing_is_noted_once_the_last_has_left(redis: Redis) -> None:
    followers = Followers(redis, every_s=0.01)
    async with followers.of(WEEK):
        async with followers.of(WEEK):
            [task] = followers.tasks.values()
        still = task.cancelling()

    assert (0, {}) == (still, followers.tasks)
    await until(task.done)


async def test_a_process_that_closes_notes_nothing_more(redis: Redis) -> None:
    followers = Followers(redis, every_s=0.01)
    async with followers.of(WEEK):
        [task] = followers.tasks.values()
        await followers.close()

        assert task.cancelled()


async def test_with_redis_away_it_is_tried_again(redis: Redis) -> None:
    async with connect("redis://127.0.0.1:1/0") as nowhere:
        followers = Followers(nowhere, every_s=0.01)
        async with followers.of(WEEK):
            # A connection that could not be made is given back.
            await until(lambda: bool(nowhere.connection_pool._available_connections))
            followers._redis = redis

            async def read() -> list[Slot]:
                return await stored.read_lately(redis, SLOTS)

            assert [WEEK] == await eventually(read, bool)
