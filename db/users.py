"""Users and tenants: found by id or email, made, disabled."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import queues, refresh_tokens
from db.database import Transaction
from db.models.identity import Role, tenants, users
from db.rows import Row, Shape


class User(Row, frozen=True):
    """Somebody who can sign in."""

    id: UUID
    tenant_id: str
    email: str
    name: str
    role: Role
    token_version: int
    """Raised to revoke every token given out before."""

    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None


class Credentials(Row, frozen=True):
    """What signing in is checked against."""

    id: UUID
    tenant_id: str
    role: Role
    password_hash: str | None
    token_version: int
    disabled_at: datetime | None


USER = Shape(User, users)
CREDENTIALS = Shape(Credentials, users)


async def by_id(tx: Transaction, user_id: UUID) -> User | None:
    """One user, disabled or not."""
    return await USER.first(tx, USER.select().where(users.c.id == user_id))


async def by_ids(tx: Transaction, ids: Collection[UUID]) -> list[User]:
    """The users of those ids that exist, in no order."""
    return await USER.all(tx, USER.select().where(users.c.id.in_(ids)))


async def by_email(tx: Transaction, email: str) -> User | None:
    """The user of an email address, however it is capitalised."""
    return await USER.first(tx, USER.select().where(users.c.email == email.lower()))


async def everybody(tx: Transaction) -> list[User]:
    """All users, by email."""
    return await USER.all(tx, USER.select().order_by(users.c.tenant_id, users.c.email))


async def credentials(tx: Transaction, tenant: str, email: str) -> Credentials | None:
    """What a sign-in by email is checked against, or None when nobody has it."""
    wanted = CREDENTIALS.select().where(users.c.tenant_id == tenant, users.c.email == email.lower())
    return await CREDENTIALS.first(tx, wanted)


async def token_version(tx: Transaction, user_id: UUID) -> int | None:
    """The version a user's tokens must have, or None when the user is gone or disabled."""
    found: int | None = await tx.scalar(
        sa.select(users.c.token_version).where(users.c.id == user_id, users.c.disabled_at.is_(None))
    )
    return found


async def token_versions(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, int]:
    """The same of several; who is locked or gone is left out."""
    wanted = users.c.id.in_(ids), users.c.disabled_at.is_(None)
    rows = await tx.rows(sa.select(users.c.id, users.c.token_version).where(*wanted))
    return {user_id: version for user_id, version in rows}


async def add(
    tx: Transaction, *, tenant: str, email: str, name: str, role: Role, password_hash: str | None
) -> User | None:
    """A new user, or None when the tenant has one of that address already."""
    fresh = insert(users).values(
        tenant_id=tenant, email=email.lower(), name=name, role=role, password_hash=password_hash
    )
    return await USER.first(tx, fresh.on_conflict_do_nothing().returning(*USER.columns))


async def mark_signed_in(tx: Transaction, user_id: UUID) -> bool:
    """Note that a user signed in just now; False when they are gone or locked out."""
    statement = sa.update(users).where(users.c.id == user_id, users.c.disabled_at.is_(None))
    return await tx.changed(statement.values(last_login_at=sa.func.now())) == 1


async def signed_in_since(tx: Transaction, since: datetime) -> int:
    """How many users signed in at `since` or later."""
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(users).where(users.c.last_login_at >= since))
    return counted


async def revoke_tokens(tx: Transaction, user_id: UUID) -> None:
    """Make every access token that a user holds useless."""
    await tx.execute(sa.update(users).where(users.c.id == user_id).values(token_version=users.c.token_version + 1))


async def mark_disabled(tx: Transaction, user_id: UUID) -> bool:
    """Lock a user out for good, with every token of theirs; False when there is no such user or it is done already."""
    await refresh_tokens.hold_families(tx, user_id)
    statement = (
        sa.update(users)
        .where(users.c.id == user_id, users.c.disabled_at.is_(None))
        .values(disabled_at=sa.func.now(), token_version=users.c.token_version + 1)
    )
    done = await tx.changed(statement) == 1
    await refresh_tokens.revoke_all(tx, user_id)
    return done


async def is_tenant(tx: Transaction, tenant: str) -> bool:
    """Whether there is a tenant of that name."""
    return bool(await tx.scalar(sa.select(sa.exists().where(tenants.c.id == tenant))))


async def ensure_tenant(tx: Transaction, tenant: str, *, name: str | None = None) -> bool:
    """Make a tenant if it is not there; True when it is new. An emergency stop of the house is one of it, too."""
    statement = insert(tenants).values(id=tenant, name=name or tenant).on_conflict_do_nothing()
    new = await tx.changed(statement) == 1
    if new:
        await queues.inherit_stop(tx, tenant)
    return new


async def tenant_ids(tx: Transaction) -> list[str]:
    """Every tenant, for the work that is done for each."""
    return [row.id for row in await tx.execute(sa.select(tenants.c.id).order_by(tenants.c.id))]


async def anybody(tx: Transaction) -> bool:
    """Whether there is any user at all."""
    return bool(await tx.scalar(sa.select(sa.exists().select_from(users))))


async def prefer(tx: Transaction, user_id: UUID, preferences: Mapping[str, Any]) -> None:
    """Remember what a user likes, beside what was remembered before."""
    merged = users.c.preferences.concat(sa.cast(dict(preferences), users.c.preferences.type))
    await tx.execute(sa.update(users).where(users.c.id == user_id).values(preferences=merged))


async def preferences(tx: Transaction, user_id: UUID) -> dict[str, Any]:
    """What is remembered of a user's likings; empty for nobody."""
    found: dict[str, Any] | None = await tx.scalar(sa.select(users.c.preferences).where(users.c.id == user_id))
    return found or {}
