"""The dashboard after a change: whoever watches is told, and what was collected before counts no longer."""

from functools import partial

from db import users
from db.database import Transaction
from resolvers.context import Context, Services


def changed(context: Context, tx: Transaction) -> None:
    """Have the change of this transaction seen at once by those who watch the caller's tenant, if it commits."""
    tx.after_commit(partial(context.services.snapshots.expire, context.caller.tenant))


async def collected_anew(services: Services, tenant: str) -> None:
    """Have every tenant's snapshot collected again: that of `tenant` now, the others' when they are asked for."""
    async with services.database.system() as tx:
        tenants = await users.tenant_ids(tx)
    for each in tenants:
        await services.snapshots.expire(each)
    await services.snapshots.rebuild(tenant)
