"""The way to Redis, which holds nothing that cannot be made again.

Every call has a timeout of its own, so Redis gone or hanging costs a caller 50 ms once and never a request. What to do
then is the caller's to say: they catch `REDIS_AWAY`.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio import Redis as Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as AnswerTimeout

CONNECT_TIMEOUT_S: Final = 0.1
ANSWER_TIMEOUT_S: Final = 0.05

REDIS_AWAY: Final = (RedisError, OSError, TimeoutError)
"""What a call raises when Redis cannot be reached, does not answer in time, or answers with an error."""


class _Cancellable(AbstractConnection):
    """Writes that can be cancelled.

    redis-py waits for its writes with `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes
    just as a write ends (python/cpython#86296): deadlines around a call would now and then not be kept.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call] # so in the library
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        parts = [command.encode()] if isinstance(command, str) else [command] if isinstance(command, bytes) else command
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(parts)
        except BaseException as error:
            # Half a command may be on its way; nothing can follow it.
            await self.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise AnswerTimeout("Timeout writing to socket") from None
            if isinstance(error, OSError):
                raise Disconnected(f"Error while writing to socket: {error}") from error
            raise


class _Tcp(_Cancellable, Connection):
    pass


class _Tls(_Cancellable, SSLConnection):
    pass


class _Unix(_Cancellable, UnixDomainSocketConnection):
    pass


_CANCELLABLE: Final = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}


def connect(url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> Redis:
    """A client for `url`; nothing is opened before the first call.

    Args:
        answer_timeout_s: who has more patience for an answer has as much for the connection that brings it.
    """
    client: Redis = Redis.from_url(
        url,
        socket_connect_timeout=max(CONNECT_TIMEOUT_S, answer_timeout_s),
        socket_timeout=answer_timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool = client.connection_pool
    pool.connection_class = _CANCELLABLE[pool.connection_class]
    return client


def patience_s(client: Redis) -> float:
    """How long one call of a client takes at most, with a new connection; calls that open one wait for each other."""
    given = client.connection_pool.connection_kwargs
    return float(given["socket_connect_timeout"] + given["socket_timeout"])
