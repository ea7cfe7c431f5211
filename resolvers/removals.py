"""Removing jobs: one with all that came of it, or many that nobody needs any more.

Rows go in the transaction; files only once it is committed, and only those that no other row names: the same bytes are
stored once, however many made them. What is left on disk for any reason is taken by the sweeps within hours.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from db import clearing, jobs, leases, sweeps
from db.clearing import Found, Removed, Wanted
from db.database import Transaction
from db.files import Files, OutsideStore
from db.models.work import JobStatus
from db.rows import Row
from guards.errors import Conflict, NotFound
from resolvers import snapshots
from resolvers.context import Context


class Loose(Row, frozen=True):
    """Files that no row names any more, once the transaction is committed."""

    paths: list[str]
    bytes: int
    before: float
    """Seconds since the epoch; what was written later may be about to be named by somebody else."""


class _Rehearsed(Exception):
    """All of it was only to see what would happen."""


NOTHING: Final = Loose([], 0, 0.0)


async def family(context: Context, tx: Transaction, job_id: UUID, *, cascade: bool) -> list[UUID]:
    """The job, and with `cascade` all that were made of it; nobody else changes them until the transaction ends.

    Raises:
        NotFound: there is no such job.
        Conflict: one of them is at work.
    """
    owner = context.caller.owner_filter
    job = await jobs.for_change(tx, job_id, owner=owner)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    found = [job, *(await jobs.descendants(tx, job_id, owner=owner) if cascade else [])]
    for each in found:
        if each.status is JobStatus.PROCESSING:
            raise Conflict(f"job {each.id} is at work: cancel it first")
    return [each.id for each in found]


async def remove(
    context: Context, tx: Transaction, ids: Sequence[UUID], *, outputs: bool, dry_run: bool
) -> tuple[Removed, Loose]:
    """Remove jobs that are locked, with their steps, clips and other files' rows; what went, and which files are loose.

    Args:
        outputs: look for loose files.
        dry_run: do it all and undo it again.
    """
    found: list[tuple[Removed, Loose]] = []
    with suppress(_Rehearsed):
        async with tx.savepoint():
            removed = await clearing.remove_ids(tx, ids)
            for job in removed.jobs:
                tx.after_commit(partial(context.services.files.drop_work, job.tenant_id, job.id))
            found.append((removed, await loose(context, tx, removed) if outputs else NOTHING))
            if dry_run:
                raise _Rehearsed
            snapshots.changed(context, tx)
    return found[0]


async def loose(context: Context, tx: Transaction, removed: Removed) -> Loose:
    """Which files of removed jobs nobody else names, and how large they are."""
    files, now = context.services.files, time.time()
    # Whoever is at work may have stored the same bytes already and name them only when it is done.
    begun = await leases.oldest_at_work(tx)
    before = now if begun is None else min(now, begun.timestamp())
    named = await sweeps.referred_to(tx, removed.files)
    paths = [path for path in removed.files if path not in named]
    sizes = await asyncio.to_thread(_sizes, files, paths, before)
    return Loose(list(sizes), sum(sizes.values()), before)


async def unlink(files: Files, found: Loose) -> Loose:
    """Take loose files off the disk; those that went, and how large they were."""
    sizes = await asyncio.to_thread(_sizes, files, found.paths, found.before)
    gone = [path for path in sizes if await files.remove_stored(path, before=found.before)]
    return Loose(gone, sum(sizes[path] for path in gone), found.before)


async def clear(context: Context, tx: Transaction, wanted: Wanted, *, dry_run: bool) -> tuple[Found, Found]:
    """Cancel those of them that wait and remove those that failed or were cancelled; what went, and what is left.

    Args:
        dry_run: change nothing; what would go, and nothing as left.
    """
    found = await clearing.found(tx, wanted)
    if dry_run:
        return found, Found({}, [])
    # First, or what is cancelled now would be removed as cancelled a moment later.
    ended = [status for status in wanted.statuses if status is not JobStatus.QUEUED]
    removed = await clearing.remove(tx, _only(wanted, ended)) if ended else Removed([], 0, 0, [])
    waiting = JobStatus.QUEUED in wanted.statuses
    cancelled = await clearing.cancel(tx, _only(wanted, [JobStatus.QUEUED])) if waiting else []
    snapshots.changed(context, tx)
    counts = Counter(job.status for job in removed.jobs) + Counter({JobStatus.QUEUED: len(cancelled)})
    ids = sorted(job.id for job in [*removed.jobs, *cancelled])
    # What a Counter subtracts never falls below nothing.
    left = Counter(found.by_status) - counts
    return Found(dict(counts), ids[: clearing.SAMPLE]), Found(dict(left), [])


async def purge(context: Context, tx: Transaction, wanted: Wanted, *, dry_run: bool) -> tuple[Found, Removed]:
    """Remove failed and cancelled jobs with their steps and clips; how many of which status, and what went.

    Args:
        dry_run: do it all and undo it again.
    """
    found: list[Removed] = []
    with suppress(_Rehearsed):
        async with tx.savepoint():
            found.append(await clearing.remove(tx, wanted))
            if dry_run:
                raise _Rehearsed
            snapshots.changed(context, tx)
    removed = found[0]
    sample = sorted(job.id for job in removed.jobs)[: clearing.SAMPLE]
    return Found(dict(Counter(job.status for job in removed.jobs)), sample), removed


def older_than(hours: int | None) -> timedelta | None:
    """So many hours as a stretch of time."""
    return None if hours is None else timedelta(hours=hours)


def _only(wanted: Wanted, statuses: Sequence[JobStatus]) -> Wanted:
    return Wanted(statuses=statuses, older_than=wanted.older_than, user=wanted.user, turn_of=wanted.turn_of)


def _sizes(files: Files, paths: Sequence[str], before: float) -> dict[str, int]:
    """The bytes of those that are there and may go."""
    found: dict[str, int] = {}
    for path in paths:
        try:
            stat = files.resolve(path).stat()
        except (OutsideStore, FileNotFoundError):
            continue
        if stat.st_mtime < before:
            found[path] = stat.st_size
    return found
