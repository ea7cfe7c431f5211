"""Bringing files and rows back into agreement, from both sides, after crashes and expiries.

Everything here may run at any time, beside uploads and jobs at work, and any number of times; what is younger than an
hour is left alone unless a row says that it is done with.
"""

from collections.abc import Collection
from datetime import timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db import artifacts as made
from db import uploads
from db.database import Database, Transaction
from db.files import Files
from db.models.control import worker_assets
from db.models.work import artifacts, clips, upload_chunks
from db.models.work import uploads as uploads_table
from db.rows import Row
from db.uploads import CHUNK, OPEN, Chunk

GRACE: Final = timedelta(hours=1)
_STEP: Final = 500
_PATHS_AT_ONCE: Final = 10_000
_PATIENCE: Final = timedelta(seconds=30)


class Swept(Row, frozen=True, kw_only=True):
    """What was found out of order, and put right."""

    outdated: int
    """Files made for whoever asked, whose time is over; those that nothing else refers to are among the orphans."""

    expired: int
    """Uploads that stood still too long."""

    discarded: int
    """Folders of pieces whose upload is not open."""

    struck: int
    """Chunks on record without their bytes; they are asked for again."""

    lost: int
    """Completed uploads without their file; they have ended."""

    orphans: int
    """Files that no row refers to."""

    leftovers: int
    """Half-written files of writers that crashed."""


async def reconcile(database: Database, files: Files, *, now: float) -> Swept:
    """End stale uploads, and bring files and rows into agreement in both directions.

    Args:
        now: seconds since the epoch, from the caller's clock; must be that of the disk.
    """
    before = now - GRACE.total_seconds()
    return Swept(
        outdated=await _outdated(database),
        expired=await expire(database),
        discarded=await _discarded(database, files),
        struck=await _struck(database, files),
        lost=await _lost(database, files),
        orphans=await _orphans(database, files, before),
        leftovers=await files.clear_spool(before=before),
    )


async def _outdated(database: Database) -> int:
    count = 0
    while True:
        async with database.system() as tx:
            dropped = await made.drop_expired(tx, most=_STEP)
        count += dropped
        if dropped < _STEP:
            return count


async def expire(database: Database) -> int:
    """End uploads that stood still too long; how many those were."""
    count = 0
    while True:
        async with database.system() as tx:
            ended = await uploads.expire_stale(tx, most=_STEP)
        count += len(ended)
        if len(ended) < _STEP:
            return count


async def referred_to(tx: Transaction, paths: Collection[str]) -> set[str]:
    """Which of these stored files some upload, clip, artifact or worker asset names; for a system transaction."""
    asked = sa.func.unnest(sa.literal(list(paths), pg.ARRAY(sa.Text))).column_valued("asked")
    named = sa.union_all(
        sa.select(uploads_table.c.path),
        sa.select(clips.c.path),
        sa.select(clips.c.thumbnail_path),
        sa.select(artifacts.c.path),
        sa.select(worker_assets.c.path),
    ).subquery()
    found = await tx.rows(sa.select(asked).where(sa.exists().where(named.c.path == asked)))
    return {path for (path,) in found}


async def _discarded(database: Database, files: Files) -> int:
    # The disk is read first: an upload that begins in between is then not in question.
    on_disk = await files.uploads_on_disk()
    async with database.system() as tx:
        still_open = await uploads.open_ids(tx, on_disk)
    done_with = [upload_id for upload_id in on_disk if upload_id not in still_open]
    for upload_id in done_with:
        await files.discard(upload_id)
    return len(done_with)


async def _struck(database: Database, files: Files) -> int:
    async with database.system() as tx:
        c = upload_chunks.c
        recorded = await CHUNK.all(
            tx,
            CHUNK.select()
            .join(uploads_table, uploads_table.c.id == c.upload_id)
            .where(uploads_table.c.status.in_(OPEN)),
        )
    gone: dict[UUID, list[Chunk]] = {}
    for chunk in recorded:
        if not files.has_piece(chunk.upload_id, chunk.index, chunk.sha256, chunk.bytes):
            gone.setdefault(chunk.upload_id, []).append(chunk)
    for upload_id, chunks in gone.items():
        async with database.system() as tx:
            await uploads.lose_chunks(tx, upload_id, chunks)
    return sum(map(len, gone.values()))


async def _lost(database: Database, files: Files) -> int:
    lost: list[UUID] = []
    any_there, last = False, UUID(int=0)
    while True:
        async with database.system() as tx:
            step = await uploads.completed_after(tx, last, most=_STEP)
        for upload in step:
            if upload.path is not None and files.resolve(upload.path).is_file():
                any_there = True
            else:
                lost.append(upload.id)
        if len(step) < _STEP:
            break
        last = step[-1].id
    # Not one file there looks like a volume that is not mounted; ending every upload would make that permanent.
    if not any_there:
        return 0
    async with database.system() as tx:
        await uploads.mark_lost(tx, lost)
    return len(lost)


async def _orphans(database: Database, files: Files, before: float) -> int:
    old = iter(await files.stored_before(before))
    count = 0
    while step := list(islice(old, _PATHS_AT_ONCE)):
        async with database.system(timeout=_PATIENCE) as tx:
            named = await referred_to(tx, step)
        for path in step:
            if path not in named and await files.remove_stored(path, before=before):
                count += 1
    return count
