"""The way to Redis, which holds nothing that cannot be made again.

Every call has a timeout of its own, so Redis gone or hanging costs a caller 50 ms once and never a request. What to do
then is the caller's to say: they catch `REDIS_AWAY`.
"""

from typing import Final

from redis.asyncio import Redis as Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CONNECT_TIMEOUT_S: Final = 0.1
ANSWER_TIMEOUT_S: Final = 0.05

REDIS_AWAY: Final = (RedisError, OSError, TimeoutError)
"""What a call raises when Redis cannot be reached, does not answer in time, or answers with an error."""


def connect(url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> Redis:
    """A client for `url`; nothing is opened before the first call."""
    client: Redis = Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=answer_timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return client


def patience_s(client: Redis) -> float:
    """How long one call of a client takes at most, with a new connection; calls that open one wait for each other."""
    given = client.connection_pool.connection_kwargs
    return float(given["socket_connect_timeout"] + given["socket_timeout"])
