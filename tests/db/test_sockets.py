"""How many legacy sockets there are: what processes say, as long as they do."""

from db import keys, sockets
from db.redis import Redis


async def test_what_processes_say_is_heard_until_they_leave(redis: Redis) -> None:
    nobody = await sockets.heard(redis)
    await sockets.say(redis, "websocket-a-1", 2)
    await sockets.say(redis, "api-a-2", 0)
    await sockets.say(redis, "websocket-a-1", 3)
    both = await sockets.heard(redis)
    await sockets.unsay(redis, "api-a-2")

    assert {} == nobody
    assert {"api-a-2": 0, "websocket-a-1": 3} == both
    assert {"websocket-a-1": 3} == await sockets.heard(redis)


async def test_a_process_that_fell_silent_has_none_and_is_forgotten(redis: Redis) -> None:
    await sockets.say(redis, "websocket-a-1", 2)
    lasts_ms = await redis.pttl(keys.sockets("websocket-a-1"))
    await redis.delete(keys.sockets("websocket-a-1"))

    assert {} == await sockets.heard(redis)
    assert 0 == await redis.exists(keys.SOCKETS)
    assert 0 < lasts_ms <= 10_000
