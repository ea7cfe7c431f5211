"""The line to Redis: calls that come together go together, and each gets its own answer, whatever the others get."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from db.lines import MOST_TOGETHER, Line, Script
from db.redis import REDIS_AWAY, Redis, connect
from tests.relays import Relay, relayed

ECHO = Script("return {KEYS[1], ARGV[1]}")
COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
FAIL = Script("return redis.call('INCRBY', KEYS[1], 'no number')")


async def messages(redis: Redis) -> int:
    """How many messages with commands Redis has read from its clients so far."""
    return int((await redis.info("stats"))["total_reads_processed"])


@pytest_asyncio.fixture
async def relay(redis_url: str, redis: Redis) -> AsyncIterator[Relay]:
    async with relayed(redis_url) as relay:
        yield relay


async def test_each_call_has_its_own_answer(redis: Redis) -> None:
    line = Line(redis)

    answers = await asyncio.gather(*(line.run(ECHO, [f"k{n}"], [n]) for n in range(3 * MOST_TOGETHER)))

    assert [[b"k%d" % n, b"%d" % n] for n in range(3 * MOST_TOGETHER)] == answers


async def test_those_at_once_go_in_one_message(redis: Redis) -> None:
    line = Line(redis)
    await line.run(COUNT, ["n"], [1])
    before = await messages(redis)

    await asyncio.gather(*(line.run(COUNT, ["n"], [1]) for _ in range(30)))

    # One more is the question itself.
    assert 2 == await messages(redis) - before
    assert 32 == await line.run(COUNT, ["n"], [1])


async def test_control_a_line_for_each_sends_as_many(redis: Redis) -> None:
    await Line(redis).run(COUNT, ["n"], [1])
    before = await messages(redis)

    await asyncio.gather(*(Line(redis).run(COUNT, ["n"], [1]) for _ in range(10)))

    assert 11 <= await messages(redis) - before


async def test_a_script_that_redis_has_forgotten_is_run_once_all_the_same(redis: Redis) -> None:
    line = Line(redis)
    await line.run(COUNT, ["n"], [1])
    await redis.script_flush()

    answers = await asyncio.gather(*(line.run(COUNT, ["n"], [1]) for _ in range(5)))

    assert [2, 3, 4, 5, 6] == sorted(answers)


async def test_one_that_fails_fails_alone(redis: Redis) -> None:
    line = Line(redis)

    answers = await asyncio.gather(
        line.run(COUNT, ["n"], [1]), line.run(FAIL, ["n"], []), line.run(COUNT, ["n"], [1]), return_exceptions=True
    )

    assert isinstance(answers[1], REDIS_AWAY)
    assert (1, 2) == (answers[0], answers[2])


async def test_who_gives_up_takes_nobodys_answer_along(redis: Redis) -> None:
    line = Line(redis)
    asking = [asyncio.create_task(line.run(ECHO, ["k"], [n])) for n in range(4)]
    await asyncio.sleep(0)
    asking[1].cancel()

    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(answers[1], asyncio.CancelledError)
    assert [[b"k", b"%d" % n] for n in (0, 2, 3)] == [answers[n] for n in (0, 2, 3)]


async def test_all_find_out_together_that_redis_hangs_and_no_late_answer_is_taken_for_another(relay: Relay) -> None:
    async with connect(relay.url, answer_timeout_s=1) as through:
        line = Line(through)
        await line.run(ECHO, ["k"], ["before"])
        relay.hang()
        clock = asyncio.get_running_loop().time
        began = clock()

        lost = await asyncio.gather(*(line.run(ECHO, ["k"], [n]) for n in range(200)), return_exceptions=True)
        took = clock() - began
        relay.flow()

        assert all(isinstance(each, REDIS_AWAY) for each in lost)
        # One after the other, they would have found out in two hundred seconds.
        assert took < 60
        assert [b"k", b"after"] == await line.run(ECHO, ["k"], ["after"])


@pytest.mark.parametrize("rounds", [1, 20], ids=["before it has begun", "while it is under way"])
async def test_a_line_that_is_closed_leaves_nobody_waiting_and_nothing_running(rounds: int, relay: Relay) -> None:
    # So patient that nobody gives up before the line is closed.
    async with connect(relay.url, answer_timeout_s=60) as through:
        line = Line(through)
        await line.run(ECHO, ["k"], ["before"])
        relay.hang()
        asking = [asyncio.create_task(line.run(ECHO, ["k"], [n])) for n in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)

        await line.close()

        lost = await asyncio.gather(*asking, return_exceptions=True)
        assert ["the call was given up"] * 3 == [str(each) for each in lost]
        assert all(isinstance(each, REDIS_AWAY) for each in lost)
        assert [] == [task for task in asyncio.all_tasks() if task.get_name() == "calls to Redis"]
        relay.flow()


async def test_without_redis_everybody_is_told(redis: Redis) -> None:
    async with connect("redis://127.0.0.1:1") as nowhere:
        line = Line(nowhere)
        with pytest.raises(REDIS_AWAY):
            await line.run(ECHO, ["k"], [1])
        with pytest.raises(REDIS_AWAY):
            await line.run(ECHO, ["k"], [1])
