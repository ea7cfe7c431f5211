"""The house as a whole: whether it is being worked on, for all tenants at once.

Everybody may know; only a system transaction decides. A time that has run out ends it by itself.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.house import house
from db.rows import Row, Shape


class House(Row, frozen=True):
    """What was decided last."""

    maintenance: bool
    """Whether it is being worked on just now, so that no new work is taken."""

    message: str | None
    """What people are told meanwhile."""

    until: datetime | None
    """When it ends by itself; None when somebody has to end it."""

    changed_at: datetime
    changed_by: UUID | None


_NOW: Final = sa.and_(house.c.maintenance, sa.or_(house.c.until.is_(None), house.c.until > sa.func.now()))
HOUSE: Final = Shape(House, house, maintenance=_NOW)


async def state(tx: Transaction) -> House | None:
    """What was decided last; None when nothing ever was, and new work is taken."""
    return await HOUSE.first(tx, HOUSE.select())


async def in_maintenance(tx: Transaction) -> bool:
    """Whether it is being worked on just now."""
    found = await state(tx)
    return found is not None and found.maintenance


async def decided(tx: Transaction) -> bool:
    """The same for who is about to change it: nobody else does until this transaction ends."""
    await tx.hold("house")
    return await in_maintenance(tx)


async def mark_maintenance(
    tx: Transaction, *, enabled: bool, message: str | None, lasting: timedelta | None, by: UUID | None
) -> House:
    """Begin maintenance, or end it; for a system transaction.

    Args:
        lasting: after which it ends by itself; None waits for somebody to end it.
    """
    written = {
        "maintenance": enabled,
        "message": message if enabled else None,
        "until": sa.func.now() + lasting if enabled and lasting is not None else None,
        "changed_at": sa.func.now(),
        "changed_by": by,
    }
    statement = insert(house).values(id=1, **written).on_conflict_do_update(index_elements=[house.c.id], set_=written)
    changed = await HOUSE.first(tx, statement.returning(*HOUSE.columns))
    assert changed is not None
    return changed
