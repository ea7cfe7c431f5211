"""Holding every queue of the house still while something is done that jobs must not run into.

The pause ends by itself after a while, so that a process that is killed meanwhile leaves no queue paused for good. What
people had decided about a queue before is in force again afterwards, unless somebody decided anew meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import apart, queues
from db.database import Database
from db.models.identity import tenants
from db.models.work import queue_states

LONGEST: Final = timedelta(minutes=15)
"""After which the queues go on by themselves."""


class Held(Exception):
    """Somebody else holds the queues still just now."""


_DECIDED: Final = ("paused", "paused_until", "refusing", "draining_until", "reason", "changed_at")
"""What is put back. A drain with its end: should that come meanwhile, it is over, and turns nobody away for good."""


@asynccontextmanager
async def halted(database: Database, reason: str, *, refusing: bool = False) -> AsyncIterator[None]:
    """Have no job begun in any tenant while the block lasts.

    Args:
        refusing: no job is taken on, either.

    Raises:
        Held: somebody else does the same.
    """
    # The lock goes with the connection: who is killed leaves it to the next one.
    async with apart.change(database) as tx:
        if not await tx.try_hold("halt"):
            raise Held("a backup is being restored, or the tables are being migrated: try again when that is done")
        before, since = await _halt(database, reason, refusing)
        try:
            yield
        finally:
            await _resume(database, before, since)


async def _halt(database: Database, reason: str, refusing: bool) -> tuple[dict[str, dict[str, Any]], datetime]:
    async with database.system() as tx:
        await queues.alone(tx)
        rows = (await tx.execute(sa.select(queue_states).with_for_update())).mappings().all()
        # Who decided it stays in the row, and may be gone when the rest is put back.
        before = {row["tenant_id"]: {name: row[name] for name in _DECIDED} for row in rows}
        now = sa.func.now()
        told = {"paused": True, "paused_until": now + LONGEST, "reason": reason, "changed_at": now}
        chosen = sa.select(
            tenants.c.id, sa.true(), now + LONGEST, sa.literal(refusing), sa.literal(reason, sa.Text()), now
        )
        columns = ["tenant_id", "paused", "paused_until", "refusing", "reason", "changed_at"]
        statement = insert(queue_states).from_select(columns, chosen)
        # Who turned new jobs away before goes on doing so.
        told["refusing"] = sa.or_(queue_states.c.refusing, statement.excluded.refusing)
        halted = await tx.rows(
            statement.on_conflict_do_update(index_elements=[queue_states.c.tenant_id], set_=told).returning(
                queue_states.c.tenant_id, queue_states.c.refusing
            )
        )
        for tenant, refuses in halted:
            await queues.announce(tx, tenant, paused=True, refusing=refuses)
        since: datetime = await tx.scalar(sa.select(now))
    return before, since


async def _resume(database: Database, before: dict[str, dict[str, Any]], since: datetime) -> None:
    async with database.system() as tx:
        await queues.alone(tx)
        ours = queue_states.c.changed_at == since
        resumed = [tenant for (tenant,) in await tx.rows(sa.select(queue_states.c.tenant_id).where(ours))]
        for tenant in resumed:
            whose = queue_states.c.tenant_id == tenant
            if tenant in before:
                await tx.execute(sa.update(queue_states).where(whose, ours).values(**before[tenant]))
            else:
                await tx.execute(sa.delete(queue_states).where(whose, ours))
            paused, refusing = (before.get(tenant, {}).get(name, False) for name in ("paused", "refusing"))
            await queues.announce(tx, tenant, paused=paused, refusing=refusing)
