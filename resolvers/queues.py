"""Pausing the queue and letting it go on."""

from datetime import timedelta

from db import queues
from db.database import Transaction
from db.queues import QueueState
from resolvers.context import Context


async def pause(context: Context, tx: Transaction, *, lasting: timedelta | None, reason: str | None) -> QueueState:
    """Have no further job begun; those at work go on.

    Args:
        lasting: after which it resumes by itself; None waits for `resume`.
    """
    tx.after_commit(context.services.hub.ring)
    return await queues.mark_paused(tx, lasting=lasting, reason=reason, by=context.caller.user_id)


async def resume(context: Context, tx: Transaction) -> QueueState:
    """Have jobs begun again."""
    tx.after_commit(context.services.hub.ring)
    return await queues.mark_resumed(tx, by=context.caller.user_id)
