"""Who may stay: whatever is open for long ends with the token it was opened with, or the newest it was brought.

It also ends within five seconds of its user being signed out, locked or given another role. The two are looked after
apart: that a token has run out needs no store to know, so it shows within a second even while PostgreSQL hangs. The
rest is asked of PostgreSQL, for all who stay in one question; without an answer they stay, as nobody can be signed out
meanwhile either, and it follows as soon as there is one.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from agentos.transports.callers import Callers
from db.health import DATABASE_FAILED
from db.tasks import going_on
from guards.callers import Caller
from guards.errors import Unauthenticated, Unavailable

WATCH_S: Final = 0.5
LOOK_S: Final = 2.0
"""How often is asked whether somebody still is who they were, with many others in one question."""

ANSWER_S: Final = 6.0
"""How long an answer is waited for: longer than a statement may take, so that only dead connections are given up."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stay:
    """Somebody who stays for as long as they are who they were."""

    present: Callable[[], Caller]
    looked_at: float = -math.inf


class Stays:
    """All who stay in a process; one object for it."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._staying: dict[asyncio.Future[NoReturn], _Stay] = {}
        self._rounds: set[asyncio.Task[None]] = set()

    def require_lasting(self, caller: Caller) -> None:
        """Make sure that what a caller opens need not end at once.

        Calls are answered for some seconds after a token has run out, as clocks differ; who opened a stream with such a
        token would be sent away from it, and told by no status why they should not come back with the same.

        Raises:
            Unauthenticated: it has run out.
        """
        if self._callers.expired(caller):
            raise Unauthenticated("the access token has expired")

    async def lapse(self, present: Callable[[], Caller]) -> NoReturn:
        """Wait until a token has run out or its user is no longer who they were.

        Args:
            present: who stays, by the newest token that was brought.

        Raises:
            Unauthenticated: that is so.
        """
        lapsed = asyncio.get_running_loop().create_future()
        self._staying[lapsed] = _Stay(present)
        if not self._rounds:
            self._begin()
        try:
            await lapsed
        finally:
            del self._staying[lapsed]
            if lapsed.done() and not lapsed.cancelled():
                # Whoever goes in the same moment for another reason has no use for it.
                lapsed.exception()
            if not self._staying:
                self._stop()
        raise AssertionError("who has not lapsed stays")

    def _begin(self) -> None:
        # Two tasks and no group: a group would wait for the one that hangs before it said that the other has failed.
        self._rounds = {
            asyncio.create_task(self._end_expired(), name="stays expired"),
            asyncio.create_task(self._end_fallen(), name="stays fallen"),
        }
        for each in self._rounds:
            each.add_done_callback(self._abandoned)

    def _stop(self) -> None:
        for each in self._rounds:
            each.cancel()
        self._rounds = set()

    async def _end_expired(self) -> None:
        """End whose token has run out, for as long as somebody stays."""
        while going_on():
            for lapsed, stay in self._staying.items():
                if self._callers.expired(stay.present()):
                    _end(lapsed, Unauthenticated("the access token has expired"))
            await asyncio.sleep(WATCH_S)

    async def _end_fallen(self) -> None:
        """End who is no longer who they were, for as long as somebody stays."""
        while going_on():
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._look(time.monotonic())
            except (Unavailable, *DATABASE_FAILED) as error:
                log.debug("whether users still are who they were cannot be told just now: %s", error)
            await asyncio.sleep(WATCH_S)

    async def _look(self, now: float) -> None:
        """Ask for those who were not asked for lately, all at once.

        Raises:
            Unavailable: it cannot be told just now.
        """
        due = {lapsed: stay for lapsed, stay in self._staying.items() if now - stay.looked_at >= LOOK_S}
        callers = {lapsed: stay.present() for lapsed, stay in due.items()}
        for stay in due.values():
            stay.looked_at = now
        fallen = {id(caller) for caller in await self._callers.fallen(callers.values())}
        for lapsed, caller in callers.items():
            # Who was renewed meanwhile is looked at in another round.
            if id(caller) in fallen and due[lapsed].present() is caller:
                _end(lapsed, Unauthenticated("the access token was revoked: sign in again"))

    def _abandoned(self, rounds: asyncio.Task[None]) -> None:
        """Have nobody stay whom nobody looks after any more."""
        if rounds.cancelled() or (error := rounds.exception()) is None or rounds not in self._rounds:
            return
        self._stop()
        for lapsed in self._staying:
            _end(lapsed, error)


def _end(lapsed: "asyncio.Future[NoReturn]", error: BaseException) -> None:
    if not lapsed.done():
        lapsed.set_exception(error)
