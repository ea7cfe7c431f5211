"""Departures: whatever stays open for long, and how it goes before its process does.

Sockets and streams are asked to go one after the other, for all of them come back at once elsewhere. From then on no
socket is let in, and who was let in a moment before is asked to go as soon as they are there. So is a stream that
begins then: a browser comes back to one that ends, and never again to one that was refused.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from guards.errors import Unavailable

APART_S: Final = 0.05
"""The most between one that is asked to go and the next."""

WITHIN_S: Final = 5.0
"""For how long the asking goes on at most, however many there are."""

LAST_WORD_S: Final = 2.0
"""How long is waited for those that were asked, to say their last word; what is left then is closed without one."""

RETRY_S: Final = 1
GOING: Final = "this server is going down: connect again in a moment"

Part = Callable[[], None]
"""Has something end soon, with a word to its client; called once, and not allowed to wait."""


class Departures:
    """Everything that stays open in this process; one object for all kinds of it."""

    def __init__(self, *, within_s: float = WITHIN_S) -> None:
        """
        Args:
            within_s: for how long the asking goes on at most.
        """
        self._within_s = within_s
        self._staying: dict[object, Part] = {}
        self._gone = asyncio.Event()
        self._leaving = False

    @property
    def leaving(self) -> bool:
        """Whether this process is going down."""
        return self._leaving

    def admit(self) -> None:
        """Let something new begin.

        Raises:
            Unavailable: this process is going down.
        """
        if self._leaving:
            raise Unavailable(GOING, retry_after=RETRY_S)

    @contextmanager
    def staying(self, part: Part) -> Iterator[None]:
        """Count something as open until the block ends.

        Args:
            part: called when it is to go; the block should end soon after.
        """
        key = object()
        self._staying[key] = part
        if self._leaving:
            part()
        try:
            yield
        finally:
            del self._staying[key]
            if not self._staying:
                self._gone.set()

    async def leave(self) -> None:
        """Let nobody in any more, ask what is open to go, one after the other, and wait a little until it has."""
        self._leaving = True
        asked = list(self._staying)
        random.shuffle(asked)
        for key in asked:
            if part := self._staying.get(key):
                part()
                await asyncio.sleep(min(APART_S, self._within_s / len(asked)))
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                while self._staying:
                    self._gone.clear()
                    await self._gone.wait()
