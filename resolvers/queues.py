"""Pausing the queue and letting it go on."""

from datetime import timedelta
from typing import Final

from db import queues
from db.queues import QueueState
from guards.errors import BadInput
from resolvers.context import Context

LONGEST_PAUSE_MINUTES: Final = 7 * 24 * 60
LONGEST_REASON: Final = 500


async def pause(context: Context, duration_minutes: int | None = None, reason: str | None = None) -> QueueState:
    """Have no further job begun; those at work go on.

    Args:
        duration_minutes: after which it resumes by itself, at most a week; None waits for `resume`.

    Raises:
        BadInput: the duration or the reason is too long, or there is no duration in it.
    """
    if duration_minutes is not None and not 1 <= duration_minutes <= LONGEST_PAUSE_MINUTES:
        raise BadInput(f"duration_minutes: 1 to {LONGEST_PAUSE_MINUTES} are taken, not {duration_minutes}")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise BadInput(f"reason: at most {LONGEST_REASON} characters are taken")
    caller = context.caller
    lasting = None if duration_minutes is None else timedelta(minutes=duration_minutes)
    async with context.services.database.transaction(caller.tenant) as tx:
        state = await queues.mark_paused(tx, lasting=lasting, reason=reason, by=caller.user_id)
        tx.after_commit(context.services.hub.ring)
    return state


async def resume(context: Context) -> QueueState:
    """Have jobs begun again."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        state = await queues.mark_resumed(tx, by=caller.user_id)
        tx.after_commit(context.services.hub.ring)
    return state
