"""Refresh tokens as stored: a digest, its family, and the sealed token that followed it."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.identity import refresh_tokens as table
from db.rows import Row, Shape


class RefreshToken(Row, frozen=True):
    """One link of a family; only the newest may be exchanged."""

    id: UUID
    tenant_id: str
    user_id: UUID
    family: UUID
    sealed_successor: bytes | None
    """The token that replaced it, readable only by who holds this one; None until it was exchanged."""

    expires_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None


SHAPE = Shape(RefreshToken, table)


async def add(
    tx: Transaction, *, tenant: str, user_id: UUID, family: UUID, digest: bytes, expires_at: datetime
) -> None:
    """Store a new token's digest."""
    await tx.execute(
        sa.insert(table).values(tenant_id=tenant, user_id=user_id, family=family, digest=digest, expires_at=expires_at)
    )


async def tenant_of(tx: Transaction, digest: bytes) -> str | None:
    """Whose a token is, over all tenants; None when there is no such token."""
    tenant: str | None = await tx.scalar(sa.select(table.c.tenant_id).where(table.c.digest == digest))
    return tenant


async def locked(tx: Transaction, digest: bytes) -> RefreshToken | None:
    """The token of a digest, its family held until the transaction ends, so that two exchanges cannot both be first."""
    family = await tx.scalar(sa.select(table.c.family).where(table.c.digest == digest))
    if family is None:
        return None
    # The family and not the row alone: while its newest token is being exchanged, revoking it would not see the
    # successor that is not committed yet, and a thief would keep that one.
    await _hold(tx, family)
    return await SHAPE.first(tx, SHAPE.select().where(table.c.digest == digest))


async def mark_rotated(tx: Transaction, token_id: UUID, *, sealed_successor: bytes) -> None:
    """Note by what a token was replaced."""
    await tx.execute(
        sa.update(table)
        .where(table.c.id == token_id)
        .values(rotated_at=sa.func.clock_timestamp(), sealed_successor=sealed_successor)
    )


async def successor_rotated(tx: Transaction, token: RefreshToken) -> bool:
    """Whether the token after this one has been exchanged already, so that this one is a grandparent."""
    newer = sa.select(sa.func.count()).where(
        table.c.family == token.family, table.c.rotated_at > token.rotated_at, table.c.id != token.id
    )
    return bool(await tx.scalar(newer))


async def revoke_family(tx: Transaction, family: UUID) -> None:
    """End a family: none of its tokens may be exchanged any more."""
    await tx.execute(
        sa.update(table).where(table.c.family == family, table.c.revoked_at.is_(None)).values(revoked_at=sa.func.now())
    )


async def hold_families(tx: Transaction, user_id: UUID) -> None:
    """Have nobody exchange a token of a user until this transaction ends."""
    families = sa.select(table.c.family).distinct().where(table.c.user_id == user_id, table.c.revoked_at.is_(None))
    for (family,) in await tx.rows(families.order_by(table.c.family)):
        await _hold(tx, family)


async def revoke_all(tx: Transaction, user_id: UUID) -> None:
    """End every family of a user."""
    theirs = sa.update(table).where(table.c.user_id == user_id, table.c.revoked_at.is_(None))
    await tx.execute(theirs.values(revoked_at=sa.func.now()))


async def now(tx: Transaction) -> datetime:
    """The database's clock, which all servers share."""
    moment: datetime = await tx.scalar(sa.select(sa.func.clock_timestamp()))
    return moment


async def _hold(tx: Transaction, family: UUID) -> None:
    await tx.hold(f"refresh/{family}")
