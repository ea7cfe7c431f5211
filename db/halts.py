"""Holding every queue of the house still while something is done that jobs must not run into.

A halt stands beside what people decide about their queues and changes nothing of it. It is a lease, renewed for as long
as whoever halts is at work: a process that is killed meanwhile leaves the queues standing for no longer than that.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import apart, events, queues
from db.database import Database, Transaction
from db.events import Kind
from db.health import DATABASE_FAILED
from db.models.house import halts
from db.models.identity import tenants
from db.models.work import queue_states
from db.tasks import going_on

LEASE: Final = timedelta(seconds=30)
"""After which the queues go on by themselves."""

RENEWED_EVERY_S: Final = 10.0

_KNOWN: Final = sa.text("SELECT to_regclass('public.halts') IS NOT NULL")

log = logging.getLogger(__name__)


class Held(Exception):
    """Somebody else holds the queues still just now."""


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
        if not await tx.scalar(_KNOWN):
            # Tables of before there were halts are being migrated: nobody can claim from them, either.
            yield
            return
        holder = uuid4()
        try:
            await _halt(database, holder, reason, refusing)
            renewing = asyncio.create_task(_renew(database, holder), name="halt")
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
        finally:
            # Shielded: a process that is told to stop a second time would leave the queues standing.
            await asyncio.shield(_lift(database, holder))


async def _halt(database: Database, holder: UUID, reason: str, refusing: bool) -> None:
    async with database.system() as tx:
        await queues.alone(tx)
        now = sa.func.clock_timestamp()
        written = {"holder": holder, "since": now, "until": now + LEASE, "refusing": refusing, "reason": reason}
        statement = insert(halts).values(id=1, **written)
        await tx.execute(statement.on_conflict_do_update(index_elements=[halts.c.id], set_=written))
        await _announce(tx, paused=True, refusing=refusing)


async def _renew(database: Database, holder: UUID) -> None:
    while going_on():
        await asyncio.sleep(RENEWED_EVERY_S)
        try:
            async with database.system() as tx:
                # Should it have run out, whoever claims just now is waited for.
                await queues.alone(tx)
                renewed = sa.update(halts).where(halts.c.holder == holder)
                await tx.execute(renewed.values(until=sa.func.clock_timestamp() + LEASE))
        except DATABASE_FAILED as error:
            log.warning("the halt of the queues is not renewed: %s", error)


async def _lift(database: Database, holder: UUID) -> None:
    try:
        async with database.system() as tx:
            if await tx.changed(sa.delete(halts).where(halts.c.holder == holder)):
                await _announce(tx, paused=False, refusing=False)
    except DATABASE_FAILED as error:
        log.warning("the halt of the queues is not lifted, and runs out by itself: %s", error)


async def _announce(tx: Transaction, *, paused: bool, refusing: bool) -> None:
    """Tell every tenant how its queue is now, of which a halt is only a part."""
    decided = sa.select(
        tenants.c.id,
        sa.func.coalesce(queues.PAUSED, sa.false()),
        sa.func.coalesce(queues.REFUSING, sa.false()),
    ).select_from(tenants.outerjoin(queue_states))
    for tenant, was_paused, was_refusing in await tx.rows(decided):
        told = {"paused": paused or was_paused, "refusing": refusing or was_refusing}
        await events.record(tx, Kind.QUEUE_CHANGED, tenant, told, tenant=tenant)
