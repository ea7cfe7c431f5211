"""The guards around every action, in the only order they are ever run.

    authorization → rate limit → idempotency → circuit breaker → dispatch → audit

The first two stand before the whole operation (`schema.plan`), for they decide about all of its fields at once; so a
caller who may no longer do a thing is not told the answer of then either. The others stand here, around each action.
What a key is known under is answered without its dependency being asked, and without a word on the record, where the
first call has its entry. Effect, audit entry and idempotency row are one transaction: what ran is on record, and what
is not on record did not run. PostgreSQL away: nothing runs. Redis away: nothing changes here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from db.database import Database, DatabaseBusy, DatabaseUnavailable, Transaction
from db.health import DATABASE_FAILED
from db.redis import REDIS_AWAY
from guards.audit import Audit, Entry, Outcome
from guards.breakers import Breakers, Dependency, Permit, at_fault
from guards.errors import Refusal, Unavailable, unanswered
from guards.replays import SETTLED, Key, Known, Replays

FINISHED_WITHIN_S: Final = 8.0
"""How long an action may take to complete its answer; less than other calls wait for it (`replays.SETTLING_FOR`)."""

NOTHING_DONE: Final = "the database does not answer: nothing was done"
UNDECIDED: Final = (
    "the database went away at the last moment: ask again under the same idempotency key, "
    "or look whether it was done before you ask without one"
)

Finish = Callable[[], Awaitable[bytes]]

log = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True):
    """How an action answers, inside its transaction."""

    answer: bytes
    """The result, as JSON."""

    finish: Finish | None = None
    """Completes the answer once the transaction is committed, such as by waiting for workers to obey."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How an action that ran has answered."""

    answer: bytes
    """The result, as JSON."""

    refusal: Refusal | None = None
    """What it was answered with instead, when it is told again."""

    replayed: bool = False
    """Whether it ran before, and this is what it answered then."""


Effect = Callable[[Transaction], Awaitable[Answered]]
"""What an action does, inside the transaction it is given."""


class _Undecided(DatabaseUnavailable):
    """PostgreSQL went away while it was told to commit."""


class Chain:
    """Runs actions; one object for a process."""

    def __init__(self, database: Database, replays: Replays, audit: Audit, breakers: Breakers) -> None:
        self._database = database
        self._replays = replays
        self._breakers = breakers
        self.audit = audit

    async def admit(
        self,
        entry: Entry,
        effect: Effect,
        *,
        key: Key | None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        depends_on: Dependency | None = None,
    ) -> Done:
        """Run an action once, and put on record how it went.

        Args:
            key: under which a second call gets the answer of the first; None for an action that may run again.
            prepare: what has to be done before the transaction; done for nothing when the action is then refused.

        Raises:
            Refusal: a guard, or the action itself, said no; the record says which.
            DatabaseUnavailable: nothing was done, and that cannot be put on record.
        """
        async with AsyncExitStack() as passing:
            async with self._on_record(entry):
                # What was answered before needs neither its dependency nor a preparation whose work is long done.
                if key is not None and (prepare is not None or depends_on is not None):
                    known = await self._recalled(entry.tenant, key)
                    if known is not None:
                        return _again(known)
                permit = await passing.enter_async_context(self._breakers.through(depends_on))
                if prepare is not None:
                    await prepare()
                outcome = await self._carried_out(entry, effect, key)
                if isinstance(outcome, Refusal):
                    raise outcome
            if isinstance(outcome, Known):
                return _again(outcome)
            return Done(answer=await self._completed(entry, outcome, key, permit))

    async def refuse(self, entry: Entry, refusal: Refusal) -> None:
        """Put on record that an action was asked for and refused."""
        await self.audit.refused(entry, Outcome.of(refusal), refusal.code)

    @asynccontextmanager
    async def _on_record(self, entry: Entry) -> AsyncIterator[None]:
        """Put on record why what is done in the block was not done, if so."""
        try:
            yield
        except Refusal as refusal:
            await self.refuse(entry, refusal)
            raise
        except DatabaseBusy as error:
            busy = unanswered(error)
            await self.refuse(entry, busy)
            raise busy from error
        except DatabaseUnavailable as error:
            told = UNDECIDED if isinstance(error, _Undecided) else NOTHING_DONE
            raise Unavailable(told, retry_after=1) from error
        except Exception:
            await self.audit.refused(entry, Outcome.FAILED, "INTERNAL_ERROR")
            raise

    async def _recalled(self, tenant: str, key: Key) -> Known | None:
        async with self._database.transaction(tenant) as tx:
            return await self._replays.recalled(tx, key)

    async def _carried_out(self, entry: Entry, effect: Effect, key: Key | None) -> Answered | Known | Refusal:
        """The one transaction; a refusal that is kept is handed back, for raised it would undo the keeping."""
        ran = False
        try:
            async with self._database.transaction(entry.tenant) as tx:
                if key is None:
                    outcome: Answered | Known | Refusal = await effect(tx)
                else:
                    outcome = await self._once(tx, effect, key)
                if isinstance(outcome, Answered):
                    # Last: what holds the trail's head holds it only until the commit.
                    await self.audit.done(tx, entry, outcome.answer)
                    ran = True
        except DatabaseUnavailable as error:
            if ran and not isinstance(error, DatabaseBusy):
                raise _Undecided(str(error)) from error
            raise
        return outcome

    async def _once(self, tx: Transaction, effect: Effect, key: Key) -> Answered | Known | Refusal:
        known = await self._replays.begin(tx, key)
        if known is not None:
            return known
        try:
            async with tx.savepoint():
                answered = await effect(tx)
        except SETTLED as refusal:
            await self._replays.keep_refusal(tx, key, refusal)
            return refusal
        await self._replays.keep(tx, key, answered.answer, whole=answered.finish is None)
        return answered

    async def _completed(self, entry: Entry, answered: Answered, key: Key | None, permit: Permit) -> bytes:
        """The answer as it is once the effect is committed; should that fail, the action is done all the same."""
        if answered.finish is None:
            return answered.answer
        answer = answered.answer
        try:
            async with asyncio.timeout(FINISHED_WITHIN_S):
                answer = await answered.finish()
        except (Refusal, *DATABASE_FAILED, *REDIS_AWAY) as error:
            permit.failed = at_fault(error)
            log.warning("%s is done, but its answer is not complete: %s", entry.action, error)
        if key is not None:
            await self._settle(entry, key, answer)
        return answer

    async def _settle(self, entry: Entry, key: Key, answer: bytes) -> None:
        try:
            async with self._database.transaction(entry.tenant) as tx:
                await self._replays.settle(tx, key, answer)
        except DATABASE_FAILED as error:
            log.warning("the answer of %s is kept as it was before it was complete: %s", entry.action, error)


def _again(known: Known) -> Done:
    return Done(answer=known.answer, refusal=known.refusal, replayed=True)
