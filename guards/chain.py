"""The guards around every action, in the only order they are ever run.

    authorization → rate limit → idempotency → circuit breaker → dispatch → audit

The first two stand before the whole operation (`schema.plan`), for they decide about all of its fields at once; the
others stand here, around each action. Effect, audit entry and idempotency row are one transaction: what ran is on
record, and what is not on record did not run. PostgreSQL away: nothing runs. Redis away: nothing changes here.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from db.database import Database, DatabaseUnavailable, Transaction
from guards.audit import Audit, Entry, Outcome
from guards.breakers import Dependency
from guards.errors import Refusal, Unavailable
from guards.replays import Key, Replays

R = TypeVar("R")


class Done(msgspec.Struct, frozen=True):
    """How an action that ran has answered."""

    answer: bytes
    """As it is kept for the next call under the same key: the result, as JSON."""

    replayed: bool = False
    """Whether it ran before, and this is what it answered then."""


Effect = Callable[[Transaction], Awaitable[bytes]]
"""What an action does, inside the transaction it is given; returns its answer as JSON."""


class Chain:
    """Runs actions; one object for a process."""

    def __init__(self, database: Database, replays: Replays, audit: Audit) -> None:
        self._database = database
        self._replays = replays
        self.audit = audit

    async def admit(
        self, entry: Entry, effect: Effect, *, key: Key | None, depends_on: Dependency | None = None
    ) -> Done:
        """Run an action once, and put on record how it went.

        Args:
            key: under which a second call gets the answer of the first; None for an action that may run again.

        Raises:
            Refusal: a guard, or the action itself, said no; the record says which.
        """
        try:
            async with self._database.transaction(entry.tenant) as tx:
                if key is not None and (stored := await self._replays.begin(tx, key)) is not None:
                    return Done(stored, replayed=True)
                answer = await effect(tx)
                if key is not None:
                    await self._replays.keep(tx, key, answer)
                # Last: what holds the trail's head holds it only until the commit.
                await self.audit.done(tx, entry, answer)
        except Refusal as refusal:
            await self.refuse(entry, refusal)
            raise
        except DatabaseUnavailable as error:
            raise Unavailable("the database does not answer: nothing was done", retry_after=1) from error
        except Exception:
            await self.audit.refused(entry, Outcome.FAILED, "INTERNAL_ERROR")
            raise
        return Done(answer)

    async def refuse(self, entry: Entry, refusal: Refusal) -> None:
        """Put on record that an action was asked for and refused."""
        await self.audit.refused(entry, Outcome.of(refusal), refusal.code)

    async def settle(self, tenant: str, key: Key, answer: bytes) -> None:
        """Replace the stored answer of an action by the one that was known only after its commit."""
        async with self._database.transaction(tenant) as tx:
            await self._replays.keep(tx, key, answer)
