"""Who the entries of the audit trail are about: sealed, findable, and gone for good once erased."""

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.audit import pii_subjects as table
from db.rows import Row, Shape


class NewSubject(Row, frozen=True, kw_only=True):
    """Somebody at some place, as they are kept."""

    commitment: bytes
    actor_id: UUID | None
    handle: bytes
    """Under what the same one is found again."""

    place: bytes
    """Under what everybody at that address is found."""

    key_id: str
    wrapped: bytes
    sealed: bytes


class Subject(Row, frozen=True):
    """Somebody at some place, to be read only as long as the key is there."""

    commitment: bytes
    """What the trail has of it; says nothing without the key, and with it fits nothing else."""

    key_id: str
    """Which of our keys wraps its own."""

    wrapped: bytes
    """Its own key."""

    sealed: bytes
    """Who and where it is."""


SUBJECT = Shape(Subject, table)

_FOUND = sa.select(table.c.commitment).where(
    table.c.tenant_id == sa.bindparam("tenant"), table.c.handle == sa.bindparam("handle")
)


async def found(tx: Transaction, handle: bytes) -> bytes | None:
    """The commitment to somebody known, or None."""
    commitment: bytes | None = await tx.scalar(_FOUND, {"tenant": tx.tenant, "handle": handle})
    return commitment


async def keep(tx: Transaction, subject: NewSubject) -> bytes:
    """Keep somebody, unless another call has just done so; the commitment to whom it is either way."""
    values = {name: getattr(subject, name) for name in NewSubject.__struct_fields__}
    statement = (
        insert(table).values(tenant_id=tx.tenant, **values).on_conflict_do_nothing().returning(table.c.commitment)
    )
    kept: bytes | None = await tx.scalar(statement)
    if kept is None:
        # Whoever was there first has committed, else this would still wait for them.
        kept = await found(tx, subject.handle)
        assert kept is not None
    return kept


async def readable(tx: Transaction, tenant: str, commitments: Collection[bytes]) -> list[Subject]:
    """Those of some commitments whose key is still there."""
    where = [table.c.tenant_id == tenant, table.c.commitment.in_(commitments), table.c.sealed.is_not(None)]
    return await SUBJECT.all(tx, SUBJECT.select().where(*where))


async def erase(tx: Transaction, tenant: str, *, actor: UUID | None = None, places: Collection[bytes] = ()) -> int:
    """Destroy the keys of all that belong to a user or were at an address; how many those were.

    For the system alone. What the trail says of them stays true, and says no longer who they were.
    """
    nobody = dict.fromkeys(("actor_id", "handle", "place", "key_id", "wrapped", "sealed"))
    whose = table.c.place.in_(places) if actor is None else table.c.actor_id == actor
    return await tx.changed(
        sa.update(table)
        .where(table.c.tenant_id == tenant, table.c.erased_at.is_(None), whose)
        .values(**nobody, erased_at=sa.func.now())
    )
