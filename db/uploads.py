"""Uploads: a file on its way in, piece by piece, and who holds how much.

A chunk is on record only after its bytes are safely on disk (`db.files`), and a record only ever grows at its end: the
first bytes at a place are the ones that count. So whatever crashes, an upload is either complete and verified or can
go on.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.models.work import UploadStatus, jobs, upload_chunks, uploads
from db.pages import Order, Page, Window, during, page, total
from db.rows import Row, Shape

SESSION_LIFE: Final = timedelta(hours=24)
"""How long an upload may stand still before it expires."""

OPEN: Final = (UploadStatus.INITIALIZED, UploadStatus.UPLOADING)


class StillNeeded(Exception):
    """Something that has not ended depends on it."""


class Upload(Row, frozen=True):
    """One file that somebody sends, or has sent."""

    id: UUID
    tenant_id: str
    user_id: UUID | None
    filename: str
    """What the client called it, cleaned; never part of a path."""

    size_bytes: int
    chunk_bytes: int
    """The length of every chunk but the last, which may be shorter."""

    received_bytes: int
    sha256: str | None
    """Hex digest of the whole: announced by the client until it is completed, measured from then on."""

    media_type: str | None
    """What its bytes say it is; None until it is completed."""

    status: UploadStatus
    path: str | None
    """Where its file is, relative to the file store; set when, and only when, it is completed."""

    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    """When it ends unless it is completed or goes on before; meaningless once completed."""

    completed_at: datetime | None

    @property
    def chunk_count(self) -> int:
        """Of how many chunks it consists."""
        return -(-self.size_bytes // self.chunk_bytes)

    @property
    def progress(self) -> int:
        """Received share in whole percent, rounded down."""
        return 100 * self.received_bytes // self.size_bytes

    def length_of(self, index: int) -> int:
        """How many bytes the chunk of that index has; 0 if there is no such chunk."""
        if not 0 <= index < self.chunk_count:
            return 0
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)


class NewUpload(Row, frozen=True, kw_only=True):
    """What is needed to begin an upload."""

    id: UUID
    """Random, because who knows it is half-way to guessing at it."""

    user_id: UUID
    filename: str
    size_bytes: int
    chunk_bytes: int
    sha256: str | None = None


class Chunk(Row, frozen=True):
    """A piece of an upload whose bytes are on disk."""

    upload_id: UUID
    index: int
    start: int
    bytes: int
    """As many as came; fewer than the chunk should have while it is sent bit by bit."""

    sha256: str


class Range(Row, frozen=True):
    """A stretch of bytes."""

    start: int
    end: int
    """Exclusive."""


class Filter(Row, frozen=True, kw_only=True):
    """Which uploads; every part that is set must hold."""

    statuses: Collection[UploadStatus] = ()
    user_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        c = uploads.c
        found = during(c.created_at, self.created_after, self.created_before)
        if self.statuses:
            found.append(c.status.in_(self.statuses))
        if self.user_id is not None:
            found.append(c.user_id == self.user_id)
        return found


UPLOAD = Shape(Upload, uploads)
CHUNK = Shape(Chunk, upload_chunks)


async def by_id(tx: Transaction, upload_id: UUID, *, owner: UUID | None = None) -> Upload | None:
    """One upload; with `owner`, only if it is theirs."""
    return await UPLOAD.first(tx, UPLOAD.select().where(uploads.c.id == upload_id, *_owned(owner)))


async def by_ids(tx: Transaction, ids: Collection[UUID], *, owner: UUID | None = None) -> list[Upload]:
    """The uploads of those ids that exist, in no order."""
    return await UPLOAD.all(tx, UPLOAD.select().where(uploads.c.id.in_(ids), *_owned(owner)))


async def kept(tx: Transaction, ids: Collection[UUID], *, owner: UUID | None = None) -> list[Upload]:
    """The uploads of those ids that exist, in the order of their ids; nobody ends one until this transaction ends."""
    wanted = UPLOAD.select().where(uploads.c.id.in_(ids), *_owned(owner)).order_by(uploads.c.id)
    return await UPLOAD.all(tx, wanted.with_for_update(read=True))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window, *, owner: UUID | None) -> Page[Upload]:
    """One page of uploads.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, UPLOAD, where=[*wanted.clauses(), *_owned(owner)], order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter, *, owner: UUID | None) -> int:
    """How many uploads a filter selects."""
    return await total(tx, UPLOAD, [*wanted.clauses(), *_owned(owner)])


async def held_bytes(tx: Transaction, user_id: UUID) -> int:
    """How much one user holds: what is completed, and what was announced and may still come."""
    held: int = await tx.scalar(sa.select(_held(user_id)))
    return held


async def add(tx: Transaction, new: NewUpload, *, quota_bytes: int) -> Upload | None:
    """Begin an upload and reserve its whole size; None if the user would hold more than `quota_bytes`.

    Reservations of one user wait for each other: two that fit one by one must not both be let in when they do not fit
    together.
    """
    await tx.hold(f"{tx.tenant}/uploads/{new.user_id}")
    values = {
        uploads.c.id: new.id,
        uploads.c.tenant_id: tx.tenant,
        uploads.c.user_id: new.user_id,
        uploads.c.filename: new.filename,
        uploads.c.size_bytes: new.size_bytes,
        uploads.c.chunk_bytes: new.chunk_bytes,
        uploads.c.sha256: new.sha256,
    }
    row = sa.select(*(sa.literal(value, column.type) for column, value in values.items()), _end()).where(
        _held(new.user_id) + new.size_bytes <= quota_bytes
    )
    statement = sa.insert(uploads).from_select([*values, uploads.c.expires_at], row, include_defaults=False)
    upload = await UPLOAD.first(tx, statement.returning(*UPLOAD.columns))
    if upload is not None:
        await _announce(tx, upload)
    return upload


async def awaits(tx: Transaction, upload_id: UUID, index: int, *, instead: Chunk | None) -> bool:
    """Whether a chunk may be put on record now in the place of `instead`; then nobody else does until this ends."""
    if not await tx.rows(sa.select(uploads.c.id).where(uploads.c.id == upload_id, *_open()).with_for_update()):
        return False
    return await chunk_at(tx, upload_id, index) == instead


async def add_chunk(tx: Transaction, chunk: Chunk) -> Upload | None:
    """Put a chunk on record whose bytes are on disk, and count it.

    None if nothing was changed: there is a chunk at that index already, or the upload is not open (any more).
    """
    row = (
        sa.select(
            uploads.c.id,
            sa.literal(chunk.index, sa.Integer),
            uploads.c.tenant_id,
            sa.literal(chunk.start, sa.BigInteger),
            sa.literal(chunk.bytes, sa.Integer),
            sa.literal(chunk.sha256, sa.Text),
        )
        .where(uploads.c.id == chunk.upload_id, *_open())
        .with_for_update()
    )
    statement = insert(upload_chunks).from_select(
        ["upload_id", "index", "tenant_id", "start", "bytes", "sha256"], row, include_defaults=False
    )
    if not await tx.rows(statement.on_conflict_do_nothing().returning(upload_chunks.c.index)):
        return None
    return await _counted(tx, chunk.upload_id, chunk.bytes)


async def grow_chunk(tx: Transaction, chunk: Chunk, *, beginning: Chunk) -> Upload | None:
    """Put a chunk on record in the place of its own beginning, and count what is new of it.

    None if nothing was changed: it is not that beginning that is there, or the upload is not open (any more).
    """
    if not await awaits(tx, chunk.upload_id, chunk.index, instead=beginning):
        return None
    c = upload_chunks.c
    await tx.execute(
        sa.update(upload_chunks)
        .where(c.upload_id == chunk.upload_id, c.index == chunk.index)
        .values(bytes=chunk.bytes, sha256=chunk.sha256)
    )
    return await _counted(tx, chunk.upload_id, chunk.bytes - beginning.bytes)


async def chunk_at(tx: Transaction, upload_id: UUID, index: int) -> Chunk | None:
    """The chunk on record at an index."""
    c = upload_chunks.c
    return await CHUNK.first(tx, CHUNK.select().where(c.upload_id == upload_id, c.index == index))


async def chunks_of(tx: Transaction, upload_id: UUID) -> list[Chunk]:
    """All chunks of an upload that are on record, in the order of the file."""
    c = upload_chunks.c
    return await CHUNK.all(tx, CHUNK.select().where(c.upload_id == upload_id).order_by(c.index))


async def chunks_of_many(tx: Transaction, ids: Collection[UUID], *, owner: UUID | None = None) -> list[Chunk]:
    """All chunks of these uploads that are on record, upload by upload in the order of the file."""
    c = upload_chunks.c
    whose = CHUNK.select().join(uploads, uploads.c.id == c.upload_id).where(c.upload_id.in_(ids), *_owned(owner))
    return await CHUNK.all(tx, whose.order_by(c.upload_id, c.index))


async def lose_chunks(tx: Transaction, upload_id: UUID, chunks: Collection[Chunk]) -> None:
    """Strike chunks whose bytes are gone from the record of an open upload, so that they are asked for again.

    One that has been replaced by a longer one meanwhile stays.
    """
    locked = await tx.rows(
        sa.select(uploads.c.id).where(uploads.c.id == upload_id, uploads.c.status.in_(OPEN)).with_for_update()
    )
    if not locked:
        return
    c = upload_chunks.c
    gone = [(chunk.index, chunk.sha256) for chunk in chunks]
    struck = await tx.rows(
        sa.delete(upload_chunks)
        .where(c.upload_id == upload_id, sa.tuple_(c.index, c.sha256).in_(gone))
        .returning(c.bytes)
    )
    await tx.execute(
        sa.update(uploads)
        .where(uploads.c.id == upload_id)
        .values(received_bytes=uploads.c.received_bytes - sum(size for (size,) in struck), updated_at=sa.func.now())
    )


async def mark_completed(tx: Transaction, upload_id: UUID, *, path: str, sha256: str, media_type: str) -> Upload | None:
    """Say that the whole file is verified and in its place; None if the upload is not open (any more)."""
    statement = (
        sa.update(uploads)
        .where(uploads.c.id == upload_id, uploads.c.status.in_(OPEN), uploads.c.received_bytes == uploads.c.size_bytes)
        .values(
            status=UploadStatus.COMPLETED,
            path=path,
            sha256=sha256,
            media_type=media_type,
            completed_at=sa.func.now(),
            updated_at=sa.func.now(),
        )
    )
    upload = await UPLOAD.first(tx, statement.returning(*UPLOAD.columns))
    if upload is not None:
        await _announce(tx, upload)
    return upload


async def expire_stale(tx: Transaction, *, most: int = 500) -> list[Upload]:
    """End uploads that stood still too long, passing over those just being sent; for a system transaction."""
    stale = (
        sa.select(uploads.c.id)
        .where(uploads.c.status.in_(OPEN), uploads.c.expires_at <= sa.func.now())
        .order_by(uploads.c.expires_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    statement = (
        sa.update(uploads)
        .where(uploads.c.id.in_(stale.scalar_subquery()))
        .values(status=UploadStatus.EXPIRED, received_bytes=0, updated_at=sa.func.now())
    )
    ended = await UPLOAD.all(tx, statement.returning(*UPLOAD.columns))
    await tx.execute(sa.delete(upload_chunks).where(upload_chunks.c.upload_id.in_([upload.id for upload in ended])))
    for upload in ended:
        await _announce(tx, upload)
    return ended


async def end(tx: Transaction, upload_id: UUID, *, owner: UUID) -> Upload | None:
    """End an upload that its owner wants no longer, complete or not; None if there is none that has not ended.

    Raises:
        StillNeeded: a job that has not finished is made from it.
    """
    mine = (uploads.c.id == upload_id, uploads.c.user_id == owner, uploads.c.status != UploadStatus.EXPIRED)
    if not await tx.rows(sa.select(uploads.c.id).where(*mine).with_for_update()):
        return None
    unfinished = (jobs.c.upload_id == upload_id, jobs.c.completed_at.is_(None))
    if await tx.rows(sa.select(jobs.c.id).where(*unfinished).limit(1)):
        raise StillNeeded("a job that has not finished is made from it")
    statement = (
        sa.update(uploads)
        .where(*mine)
        .values(status=UploadStatus.EXPIRED, received_bytes=0, path=None, updated_at=sa.func.now())
    )
    upload = await UPLOAD.first(tx, statement.returning(*UPLOAD.columns))
    await tx.execute(sa.delete(upload_chunks).where(upload_chunks.c.upload_id == upload_id))
    if upload is not None:
        await _announce(tx, upload)
    return upload


async def mark_lost(tx: Transaction, ids: Collection[UUID]) -> None:
    """End completed uploads whose file is not there any more; for a system transaction."""
    statement = (
        sa.update(uploads)
        .where(uploads.c.id.in_(ids), uploads.c.status == UploadStatus.COMPLETED)
        .values(status=UploadStatus.EXPIRED, path=None, updated_at=sa.func.now())
    )
    for upload in await UPLOAD.all(tx, statement.returning(*UPLOAD.columns)):
        await _announce(tx, upload)


async def completed_after(tx: Transaction, after: UUID, *, most: int) -> list[Upload]:
    """The next completed uploads in the order of their ids, for going through all of them in steps."""
    wanted = (uploads.c.status == UploadStatus.COMPLETED, uploads.c.id > after)
    return await UPLOAD.all(tx, UPLOAD.select().where(*wanted).order_by(uploads.c.id).limit(most))


async def open_ids(tx: Transaction, ids: Collection[UUID]) -> set[UUID]:
    """Which of these uploads can still receive."""
    found = await tx.rows(sa.select(uploads.c.id).where(uploads.c.id.in_(ids), uploads.c.status.in_(OPEN)))
    return {row for (row,) in found}


def received(chunks: Iterable[Chunk]) -> list[Range]:
    """What is there, neighbours merged; chunks in the order of the file."""
    merged: list[Range] = []
    for chunk in chunks:
        here = Range(chunk.start, chunk.start + chunk.bytes)
        if merged and merged[-1].end == here.start:
            here = Range(merged.pop().start, here.end)
        merged.append(here)
    return merged


def reached(chunks: Iterable[Chunk]) -> int:
    """Up to where everything is there, from the beginning on; chunks in the order of the file."""
    there = received(chunks)
    return there[0].end if there and there[0].start == 0 else 0


def missing(upload: Upload, there: Iterable[Range]) -> list[Range]:
    """What is not there yet; the complement of `received`."""
    edges = [Range(0, 0), *there, Range(upload.size_bytes, upload.size_bytes)]
    return [Range(left.end, right.start) for left, right in pairwise(edges) if left.end < right.start]


async def _counted(tx: Transaction, upload_id: UUID, came: int) -> Upload:
    counted = (
        sa.update(uploads)
        .where(uploads.c.id == upload_id)
        .values(
            received_bytes=uploads.c.received_bytes + came,
            status=UploadStatus.UPLOADING,
            updated_at=sa.func.now(),
            expires_at=_end(),
        )
    )
    upload = await UPLOAD.first(tx, counted.returning(*UPLOAD.columns))
    assert upload is not None
    # Ten thousand small chunks are ten thousand statements anyway, but they need not be ten thousand events.
    if upload.progress > 100 * (upload.received_bytes - came) // upload.size_bytes:
        await _announce(tx, upload)
    return upload


async def _announce(tx: Transaction, upload: Upload) -> None:
    await events.record(
        tx,
        Kind.UPLOAD_CHANGED,
        str(upload.id),
        {"status": upload.status, "received_bytes": upload.received_bytes, "size_bytes": upload.size_bytes},
        owner=upload.user_id,
        tenant=upload.tenant_id,
    )


def _held(user_id: UUID) -> sa.ScalarSelect[int]:
    # An unfinished upload past its time is dead even if the janitor has not been there yet.
    counts = sa.or_(uploads.c.status == UploadStatus.COMPLETED, sa.and_(*_open()))
    total_bytes = sa.cast(sa.func.coalesce(sa.func.sum(uploads.c.size_bytes), 0), sa.BigInteger)
    return sa.select(total_bytes).where(uploads.c.user_id == user_id, counts).scalar_subquery()


def _open() -> list[sa.ColumnElement[bool]]:
    return [uploads.c.status.in_(OPEN), uploads.c.expires_at > sa.func.now()]


def _end() -> sa.ColumnElement[datetime]:
    return sa.func.now() + sa.literal(SESSION_LIFE, sa.Interval)


def _owned(owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    return [] if owner is None else [uploads.c.user_id == owner]
