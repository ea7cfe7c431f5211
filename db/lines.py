"""A process's line to Redis for scripts that many callers run at the same time.

What is asked while an answer is under way goes together the next time, in one message over one connection, so that
under load a call costs Redis's time and little of ours. Each call has its own answer, in the order of the calls, and
Redis runs one after the other: nothing is shared but the way. Whoever goes together with others waits for them no
longer than one call to Redis may take.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import hiredis
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from db.redis import REDIS_AWAY, patience_s

MOST_TOGETHER: Final = 64
"""Calls in one message: few enough for Redis to be through with them in a few milliseconds."""


class Script:
    """A script, under the name that Redis keeps it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Call:
    """One run of a script that somebody waits for."""

    __slots__ = ("answer", "packed", "repeated", "script")

    def __init__(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> None:
        command: Any = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        self.script = script
        self.packed: bytes = hiredis.pack_command(command)
        self.repeated = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Any) -> None:
        """Tell who waits, if somebody still does."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Line:
    """The line of one process; it takes a connection of the client's while somebody asks."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._patience_s = patience_s(redis)
        self._waiting: deque[_Call] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """What a script answers.

        Raises one of `REDIS_AWAY` when Redis does not answer in time, or says that the script has failed.
        """
        call = _Call(script, keys, arguments)
        self._waiting.append(call)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="calls to Redis")
        return await call.answer

    async def close(self) -> None:
        """Ask nothing more; who waits for an answer is told that there will be none."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        # A task that is cancelled before it has begun tells nobody.
        self._give_up(RedisError("the call was given up"))

    async def _send(self) -> None:
        while self._waiting:
            calls = list(islice(self._waiting, MOST_TOGETHER))
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._settle(calls)
            except REDIS_AWAY as error:
                # Who came meanwhile would only find out the same, one after the other.
                self._give_up(error)
            except BaseException:
                self._give_up(RedisError("the call was given up"))
                raise
            else:
                for _ in calls:
                    self._waiting.popleft()

    async def _settle(self, calls: Sequence[_Call]) -> None:
        """Have every call answered."""
        unknown: list[_Call] = []
        for call, answer in zip(calls, await self._asked(calls), strict=True):
            # Such a call was not run at all, so it is safe to repeat.
            if isinstance(answer, NoScriptError) and not call.repeated:
                call.repeated = True
                unknown.append(call)
            else:
                call.settle(answer)
        if unknown:
            for script in {call.script for call in unknown}:
                await self._redis.script_load(script.text)
            await self._settle(unknown)

    def _give_up(self, error: Exception) -> None:
        for call in self._waiting:
            call.settle(error)
        self._waiting.clear()

    async def _asked(self, calls: Sequence[_Call]) -> list[Any]:
        pool = self._redis.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command([b"".join(call.packed for call in calls)])
            return [await _answer(connection) for _ in calls]
        except BaseException:
            # An answer that was not read would be taken for that to the next call.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
