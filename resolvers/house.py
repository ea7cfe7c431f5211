"""The house as a whole: worked on, so that no new work is taken for anybody, or open."""

import math
from datetime import UTC, datetime, timedelta
from functools import partial

from db import house
from db.database import Transaction
from db.rows import Row
from guards.errors import Maintenance
from resolvers.context import Context


class Maintained(Row, frozen=True):
    """Whether the system is being worked on, and whether it was before."""

    maintenance_mode: bool
    previous: bool
    until: datetime | None
    """When it ends by itself; null when somebody has to end it."""

    message: str | None
    """What people are told meanwhile."""


async def require_open(tx: Transaction) -> None:
    """Make sure that new work is taken.

    Raises:
        Maintenance: the system is being worked on; when that ends by itself, the refusal says in how many seconds.
    """
    found = await house.state(tx)
    if found is None or not found.maintenance:
        return
    told = f": {found.message}" if found.message else ""
    seconds = None
    if found.until is not None:
        seconds = max(1, math.ceil((found.until - datetime.now(UTC)).total_seconds()))
    raise Maintenance(f"the system is being worked on and takes no new work{told}", retry_after=seconds)


async def maintain(
    context: Context, tx: Transaction, enable: bool | None, *, message: str | None, lasting: timedelta | None
) -> Maintained:
    """Begin maintenance, or end it; jobs that wait or run go on.

    Args:
        enable: None turns it to what it is not.
        lasting: after which it ends by itself; None waits for somebody to end it.
    """
    async with tx.everybody():
        before = await house.decided(tx)
        enabled = not before if enable is None else enable
        after = await house.mark_maintenance(
            tx, enabled=enabled, message=message or None, lasting=lasting, by=context.caller.user_id
        )
    tx.after_commit(partial(context.services.snapshots.expire, context.caller.tenant))
    return Maintained(after.maintenance, before, after.until, after.message)
