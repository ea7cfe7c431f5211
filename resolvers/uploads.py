"""Uploads: begun, and filled chunk by chunk in any order.

Sending is for the owner alone; anybody else's upload looks missing, also to an administrator. A chunk may be sent
twice: one that is there already is answered as it was the first time.
"""

import logging
import re
import unicodedata
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import msgspec

from db import configuration, tunables, uploads
from db.configuration import Configuration
from db.database import Transaction
from db.files import MB, DiskFull, PiecesMissing, Spooled, TooLong
from db.models.identity import DEFAULT_TENANT
from db.models.work import UploadStatus
from db.uploads import Chunk, NewUpload, Upload
from guards.errors import BadInput, Conflict, Mismatch, NotFound, QuotaExceeded, TooLarge, Unavailable
from resolvers import house
from resolvers.context import Context

LARGEST_FILE: Final[int] = tunables.MAX_UPLOAD_SIZE_MB.default * MB
"""Bytes of a file, unless the configuration says otherwise."""

LARGEST_CHUNK: Final = 8 * MB
MOST_CHUNKS: Final = 10_000
CHUNK: Final = "upload.chunk"
"""Under what bytes that arrive are on record."""

LONGEST_NAME: Final = 255
RETRY_FULL_S: Final = 60
EXPIRED: Final = "the upload has expired: begin it again"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

log = logging.getLogger(__name__)


async def init(
    context: Context,
    tx: Transaction,
    filename: str,
    size_bytes: int,
    chunk_bytes: int | None = None,
    sha256: str | None = None,
) -> Upload:
    """Begin an upload and reserve room for all of it.

    Args:
        filename: only shown again, after it was cleaned.
        size_bytes: of the whole file, at most 100 MB unless the configuration says otherwise.
        chunk_bytes: length of every chunk but the last, at most 8 MB, which is also the default.
        sha256: hex digest the whole file must have in the end, if it is known already.

    Raises:
        Maintenance: the system is being worked on.
        BadInput: a size is not positive, there would be over 10,000 chunks, or the digest is none.
        TooLarge: the file or the chunks are larger than taken.
        QuotaExceeded: the caller's uploads would take more room than one may hold.
    """
    await house.require_open(tx)
    caller, files = context.caller, context.services.files
    new = NewUpload(
        id=uuid4(),
        user_id=caller.user_id,
        filename=plain_name(filename),
        size_bytes=size_bytes,
        chunk_bytes=LARGEST_CHUNK if chunk_bytes is None else chunk_bytes,
        sha256=digest_of(sha256),
    )
    settings = await configuration.in_force(tx)
    _require_sizes(new, largest=_largest(settings))
    quota_mb = tunables.value(settings, tunables.UPLOAD_QUOTA_MB)
    quota_bytes = files.quota_bytes if quota_mb is None else quota_mb * MB
    upload = await uploads.add(tx, new, quota_bytes=quota_bytes)
    if upload is None:
        held = await uploads.held_bytes(tx, caller.user_id)
        raise QuotaExceeded(f"{held} of {quota_bytes} bytes are taken: {size_bytes} more do not fit")
    return upload


async def largest(context: Context) -> int:
    """Bytes that one file may have; for somebody who is not signed in, what holds unless a tenant says otherwise."""
    tenant = context.viewer.tenant if context.viewer else DEFAULT_TENANT
    async with context.services.database.transaction(tenant) as tx:
        return _largest(await configuration.in_force(tx))


async def receive(
    context: Context, upload_id: UUID, index: int, stream: AsyncIterator[bytes], sha256: str | None = None
) -> Upload:
    """Take one chunk as it streams in; see `keep` for what is refused.

    An upload that is not there or not open is refused before a byte is read.
    """
    await sendable(context, upload_id)
    async with spooled(context, stream) as whole:
        return await keep(context, upload_id, index, whole, sha256)


async def sendable(context: Context, upload_id: UUID) -> Upload:
    """The caller's own upload, if chunks of it may be sent.

    Raises:
        Maintenance: the system is being worked on; the upload can go on afterwards.
        NotFound: the caller has no such upload, or it has expired.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await house.require_open(tx)
        return await own(tx, context, upload_id)


@asynccontextmanager
async def spooled(context: Context, stream: AsyncIterator[bytes]) -> AsyncIterator[Spooled]:
    """The bytes of one chunk on disk, for as long as the block lasts, and no longer unless they are kept.

    Raises:
        TooLarge: there are more than a chunk may have.
        Unavailable: the disk is full.
    """
    try:
        with room():
            async with context.services.files.spooled(stream, most=LARGEST_CHUNK) as whole:
                yield whole
    except TooLong as error:
        raise TooLarge(f"a chunk has at most {LARGEST_CHUNK} bytes") from error


async def keep(context: Context, upload_id: UUID, index: int, whole: Spooled, sha256: str | None = None) -> Upload:
    """Make spooled bytes the chunk at `index` (from 0) of the caller's upload.

    Args:
        sha256: hex digest the chunk must have, if the client told one.

    Returns:
        How the upload stands; unchanged if just this chunk was there already.

    Raises:
        NotFound: the caller has no such upload, or it has expired.
        BadInput: the upload has no chunk of that index, or it has another length than it should; it was thrown away.
        Mismatch: the chunk has another digest than it should; it was thrown away.
        Conflict: other bytes are at that place already; they stay.
        Unavailable: the disk is full.
    """
    tenant = context.caller.tenant
    async with context.services.database.transaction(tenant) as tx:
        await house.require_open(tx)
        upload = await own(tx, context, upload_id)
        _require_chunk(upload, index, whole, digest_of(sha256))
        beginning = await uploads.chunk_at(tx, upload_id, index)
        if beginning is not None and beginning.bytes == whole.size_bytes:
            # Read again: it may have been counted between the two statements above.
            return _same(await own(tx, context, upload_id), beginning, whole)
    if beginning is not None and not await agrees(context, upload, beginning, whole):
        raise Conflict(f"the beginning of chunk {index} was received with other bytes; it stays as it is")
    if upload.status is UploadStatus.COMPLETED:
        raise Conflict("the upload is complete")
    counted = await placed(context, upload, index, whole, beginning=beginning)
    if counted is not None:
        return counted
    async with context.services.database.transaction(tenant) as tx:
        upload, there = await own(tx, context, upload_id), await uploads.chunk_at(tx, upload_id, index)
    if there is None and beginning is None:
        raise NotFound(EXPIRED)
    if there is None or there.bytes < whole.size_bytes:
        raise Conflict(f"chunk {index} is being sent by somebody else: send it again")
    return _same(upload, there, whole)


async def agrees(context: Context, upload: Upload, there: Chunk, whole: Spooled) -> bool:
    """Whether spooled bytes are those of a chunk on record, as far as both go.

    Raises:
        Conflict: the chunk's bytes are gone; it has to be sent again.
    """
    files = context.services.files
    try:
        return await files.begins_alike(upload.id, there.index, there.sha256, whole)
    except PiecesMissing as error:
        await lost(context, upload.id, [there])
        raise Conflict(f"chunk {there.index} has changed meanwhile: ask which bytes are there") from error


async def lost(context: Context, upload_id: UUID, chunks: Collection[Chunk]) -> None:
    """Have chunks asked for again whose bytes are not on disk."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await uploads.lose_chunks(tx, upload_id, chunks)


async def placed(
    context: Context, upload: Upload, index: int, whole: Spooled, *, beginning: Chunk | None
) -> Upload | None:
    """Make spooled bytes the chunk at an index, in the place of its beginning; None if that is not what is there now.

    Raises:
        Unavailable: the disk is full.
    """
    files = context.services.files
    chunk = Chunk(upload.id, index, index * upload.chunk_bytes, whole.size_bytes, whole.sha256)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        if not await uploads.awaits(tx, upload.id, index, instead=beginning):
            return None
        # The row stays locked while the file gets its name. Otherwise, of two who send the same bytes, the one who
        # comes too late would have to clear away a file that the other's record may mean.
        with room():
            await files.keep_piece(upload.id, index, whole)
        if beginning is None:
            counted = await uploads.add_chunk(tx, chunk)
        else:
            tx.after_commit(partial(files.drop_piece, upload.id, index, beginning.sha256))
            counted = await uploads.grow_chunk(tx, chunk, beginning=beginning)
        if counted is not None:
            received = msgspec.json.encode({"received_bytes": counted.received_bytes})
            await context.services.chain.audit.done(tx, context.entry(CHUNK, upload.id), received)
        return counted


def plain_name(filename: str) -> str:
    """A client's file name as it may be shown: no folders, nothing invisible or turning the text around, ≤ 255 long."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    seen = "".join(letter for letter in last if unicodedata.category(letter) not in _UNSEEN)
    name = " ".join(seen.split()).strip(". ")
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    stem, dot, suffix = name.rpartition(".")
    if len(name) > LONGEST_NAME and dot and len(suffix) <= 16:
        name = f"{stem[: LONGEST_NAME - len(suffix) - 1]}.{suffix}"
    return name[:LONGEST_NAME] or "upload"


@contextmanager
def room() -> Iterator[None]:
    """Refuse what the disk has no room for.

    Raises:
        Unavailable: it is full.
    """
    try:
        yield
    except DiskFull as error:
        log.error("the disk that files are kept on is full: uploads are refused")
        raise Unavailable("the server's disk is full; nothing of this was kept", retry_after=RETRY_FULL_S) from error


async def own(tx: Transaction, context: Context, upload_id: UUID) -> Upload:
    """The caller's own upload.

    Raises:
        NotFound: the caller has no such upload, or it has expired.
    """
    upload = await uploads.by_id(tx, upload_id, owner=context.caller.user_id)
    if upload is None:
        raise NotFound(f"there is no upload {upload_id}")
    dead = upload.status in uploads.OPEN and upload.expires_at <= datetime.now(UTC)
    if dead or upload.status is UploadStatus.EXPIRED:
        raise NotFound(EXPIRED)
    return upload


async def completed(tx: Transaction, upload_id: UUID, *, owner: UUID | None) -> Upload:
    """A completed upload, which nobody gives up until this transaction ends.

    Raises:
        NotFound: there is none, or it is somebody else's than `owner`.
        Conflict: it is not complete, or was given up.
    """
    found = await uploads.kept(tx, (upload_id,), owner=owner)
    if not found:
        raise NotFound(f"there is no upload {upload_id}")
    if found[0].status is UploadStatus.EXPIRED:
        raise Conflict(f"upload {upload_id} is gone: send the file again")
    if found[0].status is not UploadStatus.COMPLETED:
        raise Conflict(f"upload {upload_id} is {found[0].status}: finalize it first")
    return found[0]


async def there(tx: Transaction, ids: Collection[UUID]) -> set[UUID]:
    """Which of these uploads are completed; nobody gives up one of them until this transaction ends."""
    return {upload.id for upload in await uploads.kept(tx, ids) if upload.status is UploadStatus.COMPLETED}


def digest_of(sha256: str | None) -> str | None:
    """A digest that a client told, in the letters that ours have; None when it told none.

    Raises:
        BadInput: it is none.
    """
    if sha256 is None:
        return None
    if not _SHA256.fullmatch(sha256.lower()):
        raise BadInput("sha256: 64 hexadecimal digits are needed")
    return sha256.lower()


def _largest(settings: Configuration | None) -> int:
    most_mb: int = tunables.value(settings, tunables.MAX_UPLOAD_SIZE_MB)
    return most_mb * MB


def _require_sizes(new: NewUpload, *, largest: int) -> None:
    if new.size_bytes <= 0:
        raise BadInput("size_bytes: more than 0 is needed")
    if new.size_bytes > largest:
        raise TooLarge(f"size_bytes: a file has at most {largest} bytes")
    if new.chunk_bytes <= 0:
        raise BadInput("chunk_bytes: more than 0 is needed")
    if new.chunk_bytes > LARGEST_CHUNK:
        raise TooLarge(f"chunk_bytes: a chunk has at most {LARGEST_CHUNK} bytes")
    if new.chunk_bytes * MOST_CHUNKS < new.size_bytes:
        raise BadInput(f"chunk_bytes: that would be more than {MOST_CHUNKS} chunks")


def _require_chunk(upload: Upload, index: int, whole: Spooled, sha256: str | None) -> None:
    length = upload.length_of(index)
    if not length:
        raise BadInput(f"chunk_index: 0 to {upload.chunk_count - 1} are there, not {index}")
    if whole.size_bytes != length:
        raise BadInput(f"file: chunk {index} must have exactly {length} bytes, {whole.size_bytes} arrived")
    if sha256 is not None and whole.sha256 != sha256:
        raise Mismatch(f"the bytes of chunk {index} are not those of its digest")


def _same(upload: Upload, there: Chunk, whole: Spooled) -> Upload:
    if there.sha256 != whole.sha256:
        raise Conflict(f"chunk {there.index} was received with other bytes; it stays as it is")
    return upload
