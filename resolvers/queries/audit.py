"""The audit trail as those may read it who may: administrators all of it, others what is about jobs."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from db import audit
from db.audit import Entry, Filter
from db.pages import Order, Page, Window
from db.rows import Row
from guards.audit import Outcome
from guards.permissions import Permission
from guards.seals import Identity
from resolvers.context import Context

ABOUT: Final = "job"
"""What the entries are about that may be read without being an administrator."""


class AuditEntry(Row, frozen=True, kw_only=True):
    """What somebody did, or was refused."""

    seq: int
    """Its number in the tenant's trail; the first is 1, and none is left out."""

    at: datetime
    actor_id: UUID | None
    """Who it was; null when it was not a person."""

    role: str | None
    """What they were at the time."""

    action: str
    target: str | None
    """The id of what it was about."""

    outcome: Outcome
    code: str | None
    """Why it was not done; null when it was."""

    trace_id: str | None
    key_hash: str | None
    """SHA-256 of the idempotency key in hexadecimal; null when there was none."""

    details: dict[str, Any]
    """What was asked for, as far as it may be kept."""

    result: dict[str, Any]
    """What came of it: ids and numbers."""

    address: str | None
    """From where; null when it was erased, or the reader is no administrator."""

    user_agent: str | None
    """What the client said it was; null as the address is."""

    hash: str
    """SHA-256 of the entry and the one before it, in hexadecimal."""


async def listed(context: Context, wanted: Filter, order: Order, window: Window) -> Page[AuditEntry]:
    """One page of the trail."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        page = await audit.listed(tx, _permitted(context, wanted), order, window)
        known: dict[bytes, Identity] = {}
        if context.caller.may(Permission.ADMIN):
            commitments = {entry.commitment for entry in page.items if entry.commitment is not None}
            known = await context.services.chain.audit.identities(tx, commitments)
    return Page(
        items=[_shown(entry, known.get(entry.commitment or b"")) for entry in page.items],
        cursors=page.cursors,
        more_after=page.more_after,
        more_before=page.more_before,
    )


async def how_many(context: Context, wanted: Filter) -> int:
    """How many entries a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await audit.how_many(tx, _permitted(context, wanted))


def _permitted(context: Context, wanted: Filter) -> Filter:
    return wanted if context.caller.may(Permission.ADMIN) else msgspec.structs.replace(wanted, about=ABOUT)


def _shown(entry: Entry, identity: Identity | None) -> AuditEntry:
    return AuditEntry(
        seq=entry.seq,
        at=entry.at,
        actor_id=entry.actor_id,
        role=entry.role,
        action=entry.action,
        target=entry.target,
        outcome=Outcome(entry.outcome),
        code=entry.code,
        trace_id=entry.trace_id,
        key_hash=None if entry.key_hash is None else entry.key_hash.hex(),
        details=entry.details,
        result=entry.result,
        address=None if identity is None else identity.address,
        user_agent=None if identity is None else identity.user_agent,
        hash=entry.hash.hex(),
    )
