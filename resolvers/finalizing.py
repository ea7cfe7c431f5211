"""Finalizing an upload: its chunks put together, verified, and kept as a video.

It may be asked twice, also at once: an upload that is complete answers as it did the first time.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from db import uploads as rows
from db.database import Transaction
from db.files import FileKind, PiecesMissing
from db.models.work import UploadStatus
from db.rows import Row
from db.uploads import Chunk, Upload
from guards import containers
from guards.containers import Container
from guards.errors import BadInput, Conflict, Mismatch, Unsupported
from resolvers import house, uploads
from resolvers.context import Context


class Joined(Row, frozen=True):
    """An upload whose bytes are verified and in their place; its row does not say so yet."""

    upload: Upload
    path: str
    sha256: str
    media_type: str


async def joined(
    context: Context, upload_id: UUID, total_chunks: int | None = None, sha256: str | None = None
) -> Joined | Upload:
    """Verify the whole file, see that it is a video, and give it its place; an upload that is complete already as is.

    Args:
        total_chunks: how many chunks the client sent; compared when given.
        sha256: hex digest of the whole; compared when given, besides the one told at the beginning.

    Raises:
        NotFound: the caller has no such upload, or it has expired.
        BadInput: there are not that many chunks.
        Conflict: chunks are missing; it can go on.
        Mismatch: the bytes are not the ones that were announced.
        Unsupported: it is no video.
        Unavailable: the disk is full; the chunks are still there.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await house.require_open(tx)
        upload = await uploads.own(tx, context, upload_id)
        chunks = await rows.chunks_of(tx, upload_id)
    if total_chunks is not None and total_chunks != upload.chunk_count:
        raise BadInput(f"total_chunks: the upload has {upload.chunk_count} chunks, not {total_chunks}")
    if upload.status is UploadStatus.COMPLETED:
        _require_digest(upload.sha256 or "", uploads.digest_of(sha256))
        return upload
    whole_ones = {chunk.index for chunk in chunks if chunk.bytes == upload.length_of(chunk.index)}
    if len(whole_ones) < upload.chunk_count:
        raise Conflict(_still_missing(upload, whole_ones))
    try:
        return await _verified(context, upload, chunks, sha256)
    except PiecesMissing as error:
        upload = await _without(context, upload_id, [chunk for chunk in chunks if chunk.index in error.indexes])
        if upload.status is UploadStatus.COMPLETED:
            # Finalized twice at once: the other one was quicker, and put the pieces away.
            return upload
        raise Conflict(_still_missing(upload, whole_ones - set(error.indexes))) from error


async def completed(context: Context, tx: Transaction, found: Joined | Upload) -> Upload:
    """The upload, complete; its pieces are put away after the commit.

    Raises:
        Conflict: chunks were lost while the file was verified.
    """
    if isinstance(found, Upload):
        return found
    upload_id = found.upload.id
    await rows.mark_completed(tx, upload_id, path=found.path, sha256=found.sha256, media_type=found.media_type)
    upload = await uploads.own(tx, context, upload_id)
    if upload.status is not UploadStatus.COMPLETED:
        raise Conflict("chunks were lost meanwhile: ask which are missing")
    tx.after_commit(partial(context.services.files.discard, upload_id))
    return upload


async def _verified(context: Context, upload: Upload, chunks: Sequence[Chunk], sha256: str | None) -> Joined:
    files = context.services.files
    pieces = [(chunk.index, chunk.sha256, chunk.bytes) for chunk in chunks]
    with uploads.room():
        async with files.joined(upload.id, pieces) as whole:
            _require_digest(whole.sha256, upload.sha256, uploads.digest_of(sha256))
            container = await asyncio.to_thread(_container, whole.path)
            path = await files.settle(whole, context.caller.tenant, FileKind.UPLOADS, container.suffix)
    return Joined(upload, path, whole.sha256, container.media_type)


async def _without(context: Context, upload_id: UUID, lost: Sequence[Chunk]) -> Upload:
    """How the upload stands once chunks are asked for again whose bytes are not on disk."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await rows.lose_chunks(tx, upload_id, lost)
        return await uploads.own(tx, context, upload_id)


def _require_digest(found: str, *wanted: str | None) -> None:
    if any(digest is not None and digest != found for digest in wanted):
        raise Mismatch("the bytes of the whole file are not those of its digest")


def _container(path: Path) -> Container:
    with open(path, "rb") as file:
        head = file.read(containers.HEAD_BYTES)
    container = containers.container_of(head)
    if container is None:
        raise Unsupported(f"only videos are taken; this seems to be {containers.seems(head)}")
    return container


def _still_missing(upload: Upload, there: set[int]) -> str:
    gaps = [index for index in range(upload.chunk_count) if index not in there]
    named = ", ".join(str(index) for index in gaps[:10])
    count = "1 chunk is" if len(gaps) == 1 else f"{len(gaps)} chunks are"
    return f"{count} still missing: {named}{', …' if len(gaps) > 10 else ''}"
