"""Sending an upload from an offset on, in stretches of any length, as standard clients do.

What comes is cut where the chunks of the upload begin and end, so it is the same upload whichever way its bytes come.
The chunk that a stretch ends in is kept as far as it came, and grows with the next stretch. Up to the offset everything
is on disk before the offset says so: killed at any moment, a server never promises a byte that it does not have.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from db import uploads as rows
from db.database import Transaction
from db.files import MB, PiecesMissing, Spooled, TooLong, blocks
from db.models.work import UploadStatus
from db.rows import Row
from db.uploads import Chunk, StillNeeded, Upload
from guards.chain import Answered
from guards.errors import Conflict, Mismatch, NotFound, TooLarge
from resolvers import house, uploads
from resolvers.context import Context

CHUNK_BYTES: Final = 4 * MB
"""Length of the chunks of an upload that is begun this way.

So much is lost at most when a server is killed, and so much is written again at most to keep a single byte more.
"""

TERMINATED: Final = "upload.terminate"
"""What the audit trail calls it when somebody gives up an upload."""

ALGORITHMS: Final = ("sha1", "sha256")
"""What the bytes of a stretch may be checked with."""


class Checksum(Row, frozen=True):
    """What the bytes of a stretch must add up to."""

    algorithm: str
    digest: bytes


class Reached(Row, frozen=True):
    """How far an upload has come."""

    upload: Upload
    offset: int
    """Up to where all of its bytes are there."""

    @property
    def unverified(self) -> bool:
        """Whether every byte is there, and nobody has looked yet at what they are."""
        return self.offset == self.upload.size_bytes and self.upload.status is not UploadStatus.COMPLETED


async def reached(context: Context, upload_id: UUID) -> Reached:
    """How far the caller's own upload has come.

    Raises:
        NotFound: the caller has no such upload, or it has expired.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return (await _seen(tx, context, upload_id))[0]


async def append(
    context: Context,
    upload_id: UUID,
    offset: int,
    stream: AsyncIterator[bytes],
    *,
    announced: int | None = None,
    checksum: Checksum | None = None,
    again: bool = False,
) -> Reached:
    """Take what a stream brings, from an offset on, as far as it comes.

    Args:
        offset: of its first byte.
        stream: ends early when the connection breaks; what it brought is kept, unless it was to be checked.
        announced: how many bytes it should bring, if that was said.
        checksum: of all that it brings; nothing of it is kept unless it is right.
        again: whether it may begin at 0 whatever is there, and bring once more what is there.

    Raises:
        Maintenance: the system is being worked on; the upload can go on afterwards.
        NotFound: the caller has no such upload, or it has expired.
        Conflict: the upload has not come just so far, or somebody else sends to it, or other bytes are there.
        TooLarge: more is announced, or comes, than is missing; of what is announced too long nothing is kept.
        Mismatch: the bytes are not the ones that were announced; nothing of them is kept.
        Unavailable: the disk is full.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await house.require_open(tx)
        here, chunks = await _seen(tx, context, upload_id)
    if offset != here.offset and not (again and offset == 0):
        raise Conflict(f"the upload goes on at {here.offset}, not at {offset}")
    wanted = here.upload.size_bytes - offset
    if announced is not None and announced > wanted:
        raise TooLarge(f"{wanted} bytes of the upload are left from {offset} on, not {announced}")
    appending = _Appending(context, here.upload, offset, chunks)
    if checksum is None:
        await appending.take(stream)
    else:
        await _checked(context, appending, stream, checksum, most=wanted)
    return await reached(context, upload_id)


async def terminate(context: Context, upload_id: UUID) -> None:
    """Give up the caller's own upload, complete or not, and the room it takes; that it was done is on record.

    Raises:
        NotFound: the caller has no such upload, or it has ended already.
        Conflict: a job that has not finished is made from it.
        Unavailable: the database does not answer; nothing was done.
    """
    caller, services = context.caller, context.services

    async def effect(tx: Transaction) -> Answered:
        try:
            ended = await rows.end(tx, upload_id, owner=caller.user_id)
        except StillNeeded as error:
            raise Conflict(f"{error}: cancel the job first") from error
        if ended is None:
            raise NotFound(f"there is no upload {upload_id}")
        tx.after_commit(partial(services.files.discard, upload_id))
        return Answered(msgspec.json.encode({"upload_id": upload_id}))

    entry = context.entry(TERMINATED, upload_id)
    await services.chain.admit(entry, effect, key=None)


class _Appending:
    """One stretch on its way into the chunks of an upload."""

    def __init__(self, context: Context, upload: Upload, offset: int, chunks: list[Chunk]) -> None:
        self._context = context
        self._upload = upload
        self._offset = offset
        self._chunks = {chunk.index: chunk for chunk in chunks}

    async def take(self, stream: AsyncIterator[bytes]) -> None:
        """Keep what comes, chunk by chunk."""
        source, upload = _Source(stream), self._upload
        while await source.more():
            index = self._offset // upload.chunk_bytes
            start = index * upload.chunk_bytes
            came = self._up_to(source, start + upload.length_of(index))
            there = self._chunks.get(index)
            if there is not None and self._offset > start:
                await self._continue(there, came)
            else:
                await self._begin(index, there, came)

    async def _up_to(self, source: "_Source", end: int) -> AsyncIterator[bytes]:
        """What comes up to the end of a chunk; if that is the end of the upload, nothing may come after it.

        Raises:
            TooLarge: something does; what came of the chunk is not kept.
        """
        async for part in source.up_to(end - self._offset):
            yield part
        if end == self._upload.size_bytes and await source.more():
            raise TooLarge(f"the upload has {end} bytes, and more came")

    async def _continue(self, beginning: Chunk, came: AsyncIterator[bytes]) -> None:
        """Put what comes behind the beginning of its chunk."""
        files = self._context.services.files
        kept = files.piece(self._upload.id, beginning.index, beginning.sha256)
        try:
            async with uploads.spooled(self._context, _one_by_one(kept, came)) as whole:
                await self._place(beginning.index, whole, beginning)
                self._offset = beginning.start + whole.size_bytes
        except PiecesMissing as error:
            await uploads.lost(self._context, self._upload.id, [beginning])
            raise Conflict("somebody else sends to the upload: ask how far it has come") from error

    async def _begin(self, index: int, there: Chunk | None, came: AsyncIterator[bytes]) -> None:
        """Take a chunk from its first byte on, even if it is there, or its beginning."""
        async with uploads.spooled(self._context, came) as whole:
            if there is None or not await self._repeats(there, whole):
                await self._place(index, whole, there)
            self._offset += whole.size_bytes

    async def _repeats(self, there: Chunk, whole: Spooled) -> bool:
        """Whether what came is there already.

        Raises:
            Conflict: it is, with other bytes.
        """
        if there.bytes == whole.size_bytes:
            # The digests are known also when the upload is complete and its pieces are gone.
            alike = there.sha256 == whole.sha256
        else:
            alike = await uploads.agrees(self._context, self._upload, there, whole)
        if not alike:
            raise Conflict(f"other bytes are there already from {there.start} on; they stay as they are")
        return whole.size_bytes <= there.bytes

    async def _place(self, index: int, whole: Spooled, beginning: Chunk | None) -> None:
        if await uploads.placed(self._context, self._upload, index, whole, beginning=beginning) is None:
            # Gone or expired meanwhile, it is not there; otherwise somebody else was quicker.
            await reached(self._context, self._upload.id)
            raise Conflict("somebody else sends to the upload: ask how far it has come")


class _Source:
    """A stream that is taken in parts of chosen lengths."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._held = memoryview(b"")

    async def more(self) -> bool:
        """Whether there is another byte; waits until that is known."""
        while not self._held:
            try:
                self._held = memoryview(await anext(self._stream))
            except StopAsyncIteration:
                return False
        return True

    async def up_to(self, most: int) -> AsyncIterator[bytes]:
        """The next bytes, so many at most."""
        while most and await self.more():
            part, self._held = self._held[:most], self._held[most:]
            most -= len(part)
            yield bytes(part)


async def _checked(
    context: Context, appending: _Appending, stream: AsyncIterator[bytes], checksum: Checksum, *, most: int
) -> None:
    """Keep all that comes, once it is sure that it is what it should be."""
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    try:
        with uploads.room():
            async with context.services.files.spooled(_counted(stream, digest), most=most) as whole:
                if digest.digest() != checksum.digest:
                    raise Mismatch("the bytes are not those of the checksum; nothing of them was kept")
                await appending.take(blocks(whole.path))
    except TooLong as error:
        raise TooLarge(f"{most} bytes of the upload are left, and more came") from error


async def _counted(stream: AsyncIterator[bytes], digest: Any) -> AsyncIterator[bytes]:
    async for block in stream:
        await asyncio.to_thread(digest.update, block)
        yield block


async def _one_by_one(*streams: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for stream in streams:
        async for block in stream:
            yield block


async def _seen(tx: Transaction, context: Context, upload_id: UUID) -> tuple[Reached, list[Chunk]]:
    upload = await uploads.own(tx, context, upload_id)
    chunks = await rows.chunks_of(tx, upload_id)
    done = upload.status is UploadStatus.COMPLETED
    return Reached(upload, upload.size_bytes if done else rows.reached(chunks)), chunks
