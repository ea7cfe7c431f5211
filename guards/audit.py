"""The audit trail: who did what, or was refused it, with nothing in it that should not be kept.

An entry of what was done is written in the transaction of its effect; one of what was refused in a transaction of its
own, and awaited. PostgreSQL away: nothing runs that would have to be on record.
"""

from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from db import audit
from db.database import Database, Transaction
from guards.errors import Forbidden, Refusal, Unauthenticated


class Outcome(StrEnum):
    """How what was asked for ended."""

    DONE = "done"
    DENIED = "denied"
    """The caller may not."""

    REFUSED = "refused"
    """The caller may, but not so or not now."""

    FAILED = "failed"
    """Something went wrong on our side; nothing was done."""

    @classmethod
    def of(cls, refusal: Refusal) -> "Outcome":
        """How a refusal is put on record."""
        return cls.DENIED if isinstance(refusal, Unauthenticated | Forbidden) else cls.REFUSED


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, by whom; complete before it is tried."""

    tenant: str
    actor: UUID | None
    role: str | None
    action: str
    target: str | None
    """What it was about: an id, never a name."""

    details: dict[str, Any]
    """The fields of the payload that may be kept, and no others."""

    trace_id: str
    address: str
    user_agent: str
    key: str | None = None
    """The idempotency key, if it came with one; on record only as its hash."""


class Audit:
    """Writes the trail; one object for a process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def done(self, tx: Transaction, entry: Entry, answer: bytes) -> None:
        """Put on record what this transaction does, if it commits.

        Args:
            answer: what the action answers, as JSON; ids and numbers of it are kept, nothing else.
        """
        await audit.add(tx, _row(entry, Outcome.DONE, None))

    async def refused(self, entry: Entry, outcome: Outcome, code: str) -> None:
        """Put on record what was not done, and why."""
        async with self._database.transaction(entry.tenant) as tx:
            await audit.add(tx, _row(entry, outcome, code))


def _row(entry: Entry, outcome: Outcome, code: str | None) -> audit.NewEntry:
    return audit.NewEntry(
        actor_id=entry.actor,
        action=entry.action,
        target=entry.target,
        outcome=outcome if code is None else code,
        trace_id=entry.trace_id,
        details=entry.details,
    )
