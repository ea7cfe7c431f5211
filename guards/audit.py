"""The audit trail: who did what, or was refused it, with nothing in it that should not be kept.

An entry of what was done is written in the transaction of its effect; one of what was refused in a transaction of its
own, and awaited. What outlives its call has an entry of its end as well. What an entry says is chosen field by field:
ids, numbers and words of ours; with it those who watch are told what was done or refused, to what, by which role. From
where the caller came is sealed beside the trail (`guards.seals`). PostgreSQL away: nothing runs that would have to be
on record.
"""

import asyncio
import hashlib
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from db import audit, events, subjects
from db.database import Database, Transaction
from db.events import Kind
from guards.errors import Forbidden, Refusal, Unauthenticated
from guards.seals import LONGEST_AGENT, Identity, Seals

SESSIONS: Final = "session."
"""Actions of signing in and out, which are on record and are not told: each user renews a session every few minutes."""

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Outcome(StrEnum):
    """How what was asked for ended."""

    DONE = "done"
    DENIED = "denied"
    """The caller may not."""

    REFUSED = "refused"
    """The caller may, but not so or not now."""

    FAILED = "failed"
    """Something went wrong on our side; nothing was done, unless by an operation, which may have come halfway."""

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

    trace_id: str | None
    address: str
    user_agent: str
    key: str | None = None
    """The idempotency key, if it came with one; on record only as its hash."""


def by_hand(
    tenant: str, action: str, target: str | None, *, trace_id: str, details: Mapping[str, Any] | None = None
) -> Entry:
    """What somebody at the machine itself does, on the command line: nobody who is signed in, and from nowhere."""
    return Entry(
        tenant=tenant,
        actor=None,
        role=None,
        action=action,
        target=target,
        details=dict(details or {}),
        trace_id=trace_id,
        address="",
        user_agent="",
    )


class Audit:
    """Writes the trail; one object for a process."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._writing: set[asyncio.Task[None]] = set()
        self.seals = seals

    async def done(self, tx: Transaction, entry: Entry, answer: bytes) -> None:
        """Put on record what this transaction does, if it commits.

        Args:
            answer: what the action answers, as JSON; ids and numbers of it are kept, nothing else.
        """
        await self._write(tx, entry, Outcome.DONE, None, outline(answer))

    async def refused(self, entry: Entry, outcome: Outcome, code: str) -> None:
        """Put on record what was not done, and why."""
        # A caller who hangs up at once must not thereby keep what they tried off the record.
        writing = asyncio.create_task(self._write_alone(entry, outcome, code))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await asyncio.shield(writing)

    async def failed(self, tx: Transaction, entry: Entry, outcome: Outcome, code: str) -> None:
        """Put on record, if this transaction commits, why what it marks as ended has not come to a good end."""
        await self._write(tx, entry, outcome, code, {})

    async def identities(self, tx: Transaction, commitments: Collection[bytes]) -> dict[bytes, Identity]:
        """From where some entries came, as far as that has not been erased."""
        known = await subjects.readable(tx, tx.tenant, commitments)
        opened = {each.commitment: self.seals.opened(tx.tenant, each) for each in known}
        return {commitment: identity for commitment, identity in opened.items() if identity is not None}

    async def erase(self, tenant: str, *, actor: UUID | None, address: str | None, trace_id: str) -> int:
        """Destroy the keys to a user's identities, or to everybody's at an address; how many those were.

        That it was done is on record, with the user's id but never with the address.
        """
        places = [] if address is None else self.seals.places(tenant, address)
        async with self._database.transaction(tenant) as tx:
            async with tx.everybody():
                erased = await subjects.erase(tx, tenant, actor=actor, places=places)
            target = None if actor is None else str(actor)
            done = by_hand(tenant, "audit.erase", target, trace_id=trace_id)
            await self.done(tx, done, msgspec.json.encode({"erased": erased}))
        return erased

    async def _write_alone(self, entry: Entry, outcome: Outcome, code: str) -> None:
        async with self._database.transaction(entry.tenant) as tx:
            await self._write(tx, entry, outcome, code, {})

    async def _write(
        self, tx: Transaction, entry: Entry, outcome: Outcome, code: str | None, result: Mapping[str, Any]
    ) -> None:
        commitment = await self._commitment(tx, entry)
        if not entry.action.startswith(SESSIONS):
            told = {
                "action": entry.action,
                "target": entry.target,
                "outcome": outcome,
                "code": code,
                "role": entry.role,
            }
            await events.record(tx, Kind.ACTION_EXECUTED, entry.target or entry.action, told, owner=entry.actor)
        await audit.add(
            tx,
            audit.NewEntry(
                actor_id=entry.actor,
                role=entry.role,
                action=entry.action,
                target=entry.target,
                outcome=outcome,
                code=code,
                trace_id=entry.trace_id,
                key_hash=None if entry.key is None else hashlib.sha256(entry.key.encode()).digest(),
                details=entry.details,
                result=result,
                commitment=commitment,
            ),
        )

    async def _commitment(self, tx: Transaction, entry: Entry) -> bytes | None:
        if not entry.address:
            return None
        identity = Identity(entry.address, entry.user_agent[:LONGEST_AGENT])
        handle = self.seals.handle(entry.tenant, entry.actor, identity)
        if (known := await subjects.found(tx, handle)) is not None:
            return known
        sealed = self.seals.sealed(entry.tenant, identity)
        return await subjects.keep(
            tx,
            subjects.NewSubject(
                commitment=sealed.commitment,
                actor_id=entry.actor,
                handle=handle,
                place=self.seals.place(entry.tenant, entry.address),
                key_id=sealed.key_id,
                wrapped=sealed.wrapped,
                sealed=sealed.sealed,
            ),
        )


def outline(answer: bytes) -> dict[str, Any]:
    """What of an answer may be put on record: numbers, flags and ids, of lists the length, of things within the id."""
    found = msgspec.json.decode(answer)
    if not isinstance(found, dict):
        return {}
    return {name: kept for name, value in found.items() if (kept := _outlined(value)) is not None}


def _outlined(value: Any) -> Any:
    match value:
        case bool() | int() | float():
            return value
        case str():
            return value if _ID.fullmatch(value) else None
        case list():
            return len(value)
        case {"id": inner}:
            return _outlined(inner)
    return None
