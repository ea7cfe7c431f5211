"""What one process counts of the endpoints that it serves, and how that gets into the database.

Counting is a look-up and a few additions: no store, no lock, no waiting. Every few seconds, and once more at the end,
what was counted since goes into the rollups as one statement. What could not be written is kept and sent again as the
same batch, which counts once; while the database is away, minutes older than an hour are kept as hours, and no more
than is ever asked for is kept. So nothing is lost but what a process that is killed has not sent yet.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from db import traffic
from db.database import Database
from db.health import DATABASE_FAILED
from db.histograms import bucket_of
from db.tasks import going_on
from db.traffic import HOUR, KEPT, MINUTE, Entry, Key

FLUSH_EVERY_S: Final = 5.0

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600

log = logging.getLogger(__name__)

Place = tuple[int, int, Key]
"""When it began, in seconds since the epoch; of how many minutes it is; whose."""


class Tally:
    """What was counted of one endpoint in one minute, or hour."""

    __slots__ = ("answers", "first", "hits", "last", "legacy", "misses", "spread", "took_us")

    def __init__(self, first: float) -> None:
        self.answers = [0, 0, 0, 0]
        """2xx, 3xx, 4xx, 5xx."""

        self.legacy = self.hits = self.misses = self.took_us = 0
        self.spread: dict[int, int] = {}
        self.first = self.last = first

    def add(self, other: "Tally") -> None:
        """Count what another one has counted as well."""
        self.answers = [mine + theirs for mine, theirs in zip(self.answers, other.answers, strict=True)]
        self.legacy += other.legacy
        self.hits += other.hits
        self.misses += other.misses
        self.took_us += other.took_us
        for bucket, count in other.spread.items():
            self.spread[bucket] = self.spread.get(bucket, 0) + count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)

    def entry(self, began: int, minutes: int, key: Key) -> Entry:
        """As it is written down."""
        succeeded, redirected, refused, failed = self.answers
        buckets = sorted(self.spread)
        return Entry(
            method=key.method,
            path=key.path,
            began=_moment(began),
            minutes=minutes,
            succeeded=succeeded,
            redirected=redirected,
            refused=refused,
            failed=failed,
            legacy=self.legacy,
            hits=self.hits,
            misses=self.misses,
            took_us=self.took_us,
            buckets=buckets,
            counts=[self.spread[bucket] for bucket in buckets],
            first_at=_moment(self.first),
            last_at=_moment(self.last),
        )


class Recorder:
    """Counts in this process; one for it."""

    def __init__(self, database: Database, source: UUID, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            source: stands for this process, and for no other there ever was.
            clock: seconds since the epoch.
        """
        self._database = database
        self._source = source
        self._clock = clock
        self._open: dict[Place, Tally] = {}
        self._batch: list[Entry] = []
        self._number = 0
        self._writing = asyncio.Lock()

    def record(self, key: Key, status: int, seconds: float, *, legacy: bool, cached: bool | None = None) -> None:
        """Count an answer.

        Args:
            status: of HTTP, from 200.
            legacy: whether it was asked for below the prefix for clients from before.
            cached: whether it came from a cache; None where none was asked.
        """
        now = self._clock()
        place = int(now) // _MINUTE_S * _MINUTE_S, MINUTE, key
        tally = self._open.get(place)
        if tally is None:
            tally = self._open[place] = Tally(now)
        took_us = seconds * 1e6
        bucket = bucket_of(took_us)
        tally.spread[bucket] = tally.spread.get(bucket, 0) + 1
        tally.answers[min(max(status // 100 - 2, 0), 3)] += 1
        tally.took_us += round(took_us)
        tally.legacy += legacy
        tally.last = now
        if cached is not None:
            tally.hits += cached
            tally.misses += not cached

    async def run(self) -> None:
        """Write down every few seconds what was counted, until cancelled."""
        while going_on():
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> bool:
        """Write down what was counted and is not written down yet.

        Returns:
            Whether all of it is; False when the database did not take it, and it is kept for the next time.
        """
        async with self._writing:
            # Once for what did not get through before, once for what came since; what comes meanwhile can wait.
            for _ in range(2):
                if not self._close():
                    break
                try:
                    async with self._database.system() as tx:
                        await traffic.add(tx, self._source, self._number, self._batch)
                except DATABASE_FAILED as error:
                    log.warning("what endpoints were used for is kept until it can be written: %s", error)
                    self._thin()
                    return False
                self._batch = []
            return True

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return len(self._batch) + len(self._open)

    def _close(self) -> bool:
        """Make a batch of what was counted, unless the one before has not got through; whether there is one."""
        if not self._batch and self._open:
            self._number += 1
            self._batch = [tally.entry(*place) for place, tally in self._open.items()]
            self._open = {}
        return bool(self._batch)

    def _thin(self) -> None:
        """Keep older minutes as hours, and nothing that would be forgotten at once."""
        known = sorted({began for began, minutes, _ in self._open if minutes == MINUTE})
        whole = set(known[:-HOUR])
        oldest = self._clock() - KEPT.total_seconds()
        thinned: dict[Place, Tally] = {}
        for (began, minutes, key), tally in self._open.items():
            older = minutes == MINUTE and began in whole
            place = (began // _HOUR_S * _HOUR_S, HOUR, key) if older else (began, minutes, key)
            if place[0] < oldest:
                continue
            if place in thinned:
                thinned[place].add(tally)
            else:
                thinned[place] = tally
        self._open = thinned


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
