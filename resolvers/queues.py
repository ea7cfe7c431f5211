"""Pausing the queue, draining it, letting it go on, and stopping all of them in an emergency."""

from datetime import timedelta
from typing import Final

from db import clearing, queues, tallies
from db.database import Transaction
from db.models.work import JobStatus
from db.queues import Acknowledged, QueueState
from db.rows import Row
from guards.errors import Conflict
from resolvers import snapshots, waiting
from resolvers.context import Context

PATIENCE_S: Final = 1.0
"""How long workers are given to say that they know of a decision; a worker looks twice as often."""

_DRAINED: Final = (JobStatus.QUEUED, JobStatus.PROCESSING)


class Stopped(Row, frozen=True):
    """What an emergency stops."""

    queues: int
    jobs: int
    """Those that ran."""


async def pause(context: Context, tx: Transaction, *, lasting: timedelta | None, reason: str | None) -> QueueState:
    """Have no further job begun; those at work go on.

    Args:
        lasting: after which it resumes by itself; None waits for `resume`.

    Raises:
        Conflict: it was stopped in an emergency, which a pause must not shorten.
    """
    before = await queues.decided(tx)
    if before is not None and before.stopped:
        raise Conflict("the queue was stopped in an emergency: resume it first")
    snapshots.changed(context, tx)
    return await queues.mark_paused(tx, lasting=lasting, reason=reason, by=context.caller.user_id)


async def resume(context: Context, tx: Transaction) -> QueueState:
    """Have jobs begun and taken on again, whatever had been decided before."""
    snapshots.changed(context, tx)
    return await queues.mark_resumed(tx, by=context.caller.user_id)


async def drain(context: Context, tx: Transaction, *, lasting: timedelta, reason: str | None) -> tuple[QueueState, int]:
    """Have new jobs turned away until the others are done, and the queue paused then; it, and how many are left.

    Args:
        lasting: after which new jobs are taken on again, should the others not be done.

    Raises:
        Conflict: it is paused, so that nothing in it would ever be done.
    """
    # Whoever is adding a job just now is waited for; whoever comes later finds the queue refusing.
    await queues.hold_places(tx)
    before = await queues.decided(tx)
    if before is not None and before.paused:
        raise Conflict("the queue is paused, so that nothing in it would be done: resume it first")
    state = await queues.mark_draining(tx, lasting=lasting, reason=reason, by=context.caller.user_id)
    settled = await queues.settle_drains(tx)
    snapshots.changed(context, tx)
    return settled.get(tx.tenant, state), await left(tx)


async def stop_all(context: Context, tx: Transaction, *, reason: str, dry_run: bool) -> Stopped:
    """Have no job begun and none taken on in any tenant, and every running one cancelled at once.

    Args:
        dry_run: change nothing; what would be stopped.
    """
    async with tx.everybody():
        if dry_run:
            counted = await tallies.counts(tx)
            return Stopped(await queues.how_many(tx), counted[JobStatus.PROCESSING])
        count = await queues.stop_all(tx, reason=reason, by=context.caller.user_id)
        jobs = await clearing.stop_running(tx)
    snapshots.changed(context, tx)
    return Stopped(count, len(jobs))


async def resume_stopped(context: Context, tx: Transaction, *, dry_run: bool) -> int:
    """Have the queues of all tenants go on that were stopped in an emergency; how many those were.

    Args:
        dry_run: change nothing; how many there are.
    """
    async with tx.everybody():
        if dry_run:
            return await queues.how_many_stopped(tx)
        count = await queues.resume_stopped(tx, by=context.caller.user_id)
    snapshots.changed(context, tx)
    return count


async def left(tx: Transaction) -> int:
    """How many of the tenant's jobs wait or run."""
    counted = await tallies.counts(tx)
    return sum(counted[status] for status in _DRAINED)


async def depth(tx: Transaction) -> int:
    """How many of the tenant's jobs wait."""
    return (await tallies.counts(tx))[JobStatus.QUEUED]


async def heard(context: Context, state: QueueState) -> Acknowledged:
    """How many workers know of a decision that is committed, once all do, or after a second."""

    async def look() -> Acknowledged:
        async with context.services.database.transaction(context.caller.tenant) as tx:
            return await queues.acknowledged(tx, state.changed_at)

    return await waiting.until(look, lambda found: found.of_them >= found.workers, within_s=PATIENCE_S)
