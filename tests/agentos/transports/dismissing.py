"""How users become somebody else than their tokens say, and tokens end."""

import time
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from agentos.transports.callers import Callers
from agentos.transports.stays import Stays
from db import users
from db.database import Database
from db.models.identity import Role
from db.models.identity import users as accounts
from db.users import User
from resolvers.context import Services

SOON: Final = timedelta(minutes=5)
"""Late enough for any machine to connect before; nobody waits for it who has a clock to put forward."""


class Clock:
    """The time of day, which a test puts forward."""

    ahead = timedelta()

    def __call__(self) -> float:
        return time.time() + self.ahead.total_seconds()


def timed(clock: Clock, services: Services) -> Stays:
    """Those who stay by that clock for as long as their tokens last."""
    return Stays(Callers(services.tokens, services.database, clock=clock))


async def signed_out(database: Database, user: User) -> None:
    """Every token of theirs is revoked."""
    async with database.transaction(user.tenant_id) as tx:
        await users.revoke_tokens(tx, user.id)


async def locked(database: Database, user: User) -> None:
    """They may not come in any more."""
    async with database.transaction(user.tenant_id) as tx:
        await users.mark_disabled(tx, user.id)


async def given_another_role(database: Database, user: User) -> None:
    """They may do less than they could."""
    async with database.transaction(user.tenant_id) as tx:
        await tx.execute(sa.update(accounts).where(accounts.c.id == user.id).values(role=Role.READONLY))


def short_token(services: Services, user: User, *, life: timedelta = SOON, now: float | None = None) -> str:
    """One that ends soon."""
    return services.tokens.issued(
        user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version, life=life, now=now
    )
