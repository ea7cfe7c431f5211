"""The engine of a worker: it takes jobs that are due, keeps hold of them, and lets go when told to.

Three loops share one table of holds. One claims whenever a place is free: at once when the bell rings, else every
second. One looks twice a second whether a held job was cancelled or lost, says that it knows what was decided about
queues, and renews the leases every ten seconds. One says that this worker is alive. PostgreSQL away or too slow:
nothing new is claimed, and a job whose lease could not be renewed in time is given up here before anybody else may take
it. Redis plays no part.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from db import leases, queues
from db.database import Database, Transaction
from db.health import DATABASE_FAILED
from db.jobs import DEFAULT_QUEUE
from db.leases import Claim
from db.tasks import going_on

LOOK_EVERY_S: Final = 0.5
IDLE_LOOK_S: Final = 1.0

log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """Why a job must be let go before it is done."""

    CANCELLED = "cancelled"
    """Somebody asked for it."""

    LOST = "lost"
    """Its lease ended or another worker has it: nothing may be written any more."""

    DRAINED = "drained"
    """This worker stops; another one goes on where this one was."""


@dataclass(slots=True)
class Hold:
    """A job in the hands of this worker."""

    claim: Claim
    since: float = field(default_factory=time.monotonic)
    """When it was taken."""

    verdict: Verdict | None = None
    decided: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def place(self) -> tuple[UUID, int]:
        """The job, and the fence it was taken with."""
        return self.claim.job.id, self.claim.fence

    def let_go(self, verdict: Verdict) -> None:
        """Have the job's turn end; the first verdict stands."""
        if self.verdict is None:
            self.verdict = verdict
            self.decided.set()


Turn = Callable[[Hold], Awaitable[None]]
"""Does one job; returns when the job is settled, whatever its verdict."""


class Engine:
    """Takes jobs and has them done, a few at a time, until it is drained."""

    def __init__(
        self,
        database: Database,
        turn: Turn,
        *,
        worker_id: str,
        concurrency: int,
        lease: timedelta = leases.LEASE,
        heartbeat: timedelta = leases.HEARTBEAT,
        queues: Sequence[str] = (DEFAULT_QUEUE,),
    ) -> None:
        self.worker_id = worker_id
        self.concurrency = concurrency
        self.queues = tuple(queues)
        """From which jobs are taken; changed, it holds from the next look on."""

        self.paused = False
        """True while this worker shall claim nothing more; what it holds goes on."""

        self.retiring = False
        """True once this worker does its last jobs."""

        self._database = database
        self._turn = turn
        self._lease = lease
        self._heartbeat = heartbeat
        self._seen: datetime | None = None
        """Up to when decisions about queues are known."""

        self._holds: dict[tuple[UUID, int], Hold] = {}
        """By job and fence: a job that was lost may be taken again before its first turn has ended."""

        self._bell = asyncio.Event()
        self._draining = False
        self._times_put_back = 0

    @property
    def held(self) -> list[UUID]:
        """The jobs this worker is at."""
        return list(dict.fromkeys(job_id for job_id, _ in self._holds))

    def ring(self) -> None:
        """Have the queue looked at now."""
        self._bell.set()

    def drain(self) -> None:
        """Claim nothing more and put back what is held; `run` returns when that is done."""
        self._draining = True
        self._bell.set()
        self.put_back()

    def retire(self) -> None:
        """Claim nothing more; `run` returns when all that is held is done."""
        self.retiring = True
        self._bell.set()

    def put_back(self) -> None:
        """Have all that is held put back, for whoever takes it next."""
        self._times_put_back += 1
        for hold in self._holds.values():
            hold.let_go(Verdict.DRAINED)

    async def run(self) -> None:
        """Work until drained or retired."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep_hold(), name="leases")
            async with asyncio.TaskGroup() as turns:
                await self._claim_into(turns)
            keeping.cancel()

    async def _claim_into(self, turns: asyncio.TaskGroup) -> None:
        while not self._draining and not self.retiring:
            if not going_on():
                # Its cancellation was lost. Ended quietly, the turns would be waited for to their end.
                raise asyncio.CancelledError
            self._bell.clear()
            free = 0 if self.paused else self.concurrency - len(self._holds)
            before = self._times_put_back
            for claim in await self._claimed(free):
                hold = Hold(claim)
                if self._times_put_back != before:
                    # Nobody saw that it was held; a worker that is to end would be at it until it is killed.
                    hold.let_go(Verdict.DRAINED)
                self._holds[hold.place] = hold
                turns.create_task(self._do(hold), name=f"job {claim.job.id}")
            if not self._draining and not self.retiring:
                await _rung(self._bell, IDLE_LOOK_S)

    async def _claimed(self, free: int) -> list[Claim]:
        if free <= 0:
            return []
        try:
            async with self._database.system() as tx:
                return await leases.claim(tx, self.worker_id, most=free, lease=self._lease, queues=self.queues)
        except DATABASE_FAILED as error:
            log.warning("cannot look at the queue: %s", error)
            # Spread out, so that a fleet does not come back to a database that has just come up all at once.
            await _rung(self._bell, random.uniform(IDLE_LOOK_S, 3 * IDLE_LOOK_S))
            return []

    async def _do(self, hold: Hold) -> None:
        try:
            await self._turn(hold)
        finally:
            del self._holds[hold.place]
            self._bell.set()

    async def _keep_hold(self) -> None:
        renewed = time.monotonic()
        while going_on():
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            due = now - renewed >= self._heartbeat.total_seconds()
            try:
                await self._look(renew=due)
                renewed = now if due or not self._holds else renewed
            except DATABASE_FAILED as error:
                log.warning("cannot look after what is held: %s", error)
                if not self._holds:
                    renewed = now
                elif now - renewed >= self._lease.total_seconds():
                    for hold in self._holds.values():
                        hold.let_go(Verdict.LOST)

    async def _look(self, *, renew: bool) -> None:
        held = {place: hold for place, hold in self._holds.items() if hold.verdict is None}
        async with self._database.system() as tx:
            await self._acknowledge(tx)
            if not held:
                return
            found = (
                await leases.keep(tx, self.worker_id, held.keys(), lease=self._lease)
                if renew
                else await leases.look(tx, self.worker_id, held.keys())
            )
        ours = {(state.job_id, state.fence): state for state in found}
        for place, hold in held.items():
            if place not in ours:
                # A turn that has just settled its job no longer has it either; then the verdict comes too late.
                hold.let_go(Verdict.LOST)
            elif ours[place].cancel_requested:
                hold.let_go(Verdict.CANCELLED)

    async def _acknowledge(self, tx: Transaction) -> None:
        """Say that what was decided about queues is known here, which claims nothing any more against it."""
        decided = await queues.last_decided(tx)
        if decided is None or decided == self._seen:
            return
        if await queues.acknowledge(tx, self.worker_id, decided):
            self._seen = decided


async def _rung(bell: asyncio.Event, longest_s: float) -> None:
    try:
        async with asyncio.timeout(longest_s):
            await bell.wait()
    except TimeoutError:
        return
