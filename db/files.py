"""Files on disk: uploads in the making, finished files under the hash of their bytes, and work folders of jobs.

Every name is generated here; nothing a client sends becomes part of a path. A finished file is `<tenant>/<kind>/<aa>/
<sha256>[.ext]`, so the same bytes are stored once per tenant and never change. A file is made durable before anything
may refer to it: written, fsynced, renamed, and the folder fsynced, in this order. Folders that begin with a dot cannot
be a tenant's: `.partial/<upload id>` holds the pieces of an upload, `.spool` what is being written, `.work` the jobs.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from db.rows import Row

MB: Final = 1024 * 1024
"""What people mean by a megabyte when they speak of uploads here."""

QUOTA_BYTES: Final = 2_000 * MB
BLOCK: Final = 256 * 1024
"""How many bytes are in memory at once while a file is written or read."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SUFFIX: Final = re.compile(r"(\.[a-z0-9]{1,8})?")
_STORED: Final = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?")


class FileKind(StrEnum):
    """What a finished file is; the second folder of its path."""

    UPLOADS = "uploads"
    CLIPS = "clips"
    THUMBNAILS = "thumbnails"
    ARTIFACTS = "artifacts"
    REPORTS = "reports"


class OutsideStore(ValueError):
    """The path does not lead to a place inside the store, or goes through a link."""


class TooLong(Exception):
    """More bytes came than were to be taken; what was written of them is gone."""


class DiskFull(OSError):
    """There is no room for what was to be written; what was written of it is gone."""


class PiecesMissing(Exception):
    """Pieces that are on record are not on disk, or not whole."""

    def __init__(self, indexes: Sequence[int]) -> None:
        super().__init__(f"{len(indexes)} pieces are not on disk")
        self.indexes = indexes


class Spooled(Row, frozen=True):
    """Bytes that are safely on disk and belong to nothing yet."""

    path: Path
    size_bytes: int
    sha256: str


class Stored(Row, frozen=True):
    """A finished file at its final place."""

    path: str
    """Relative to the store."""

    size_bytes: int
    sha256: str


class Files:
    """One folder that holds all files of this installation; every process may use it at once."""

    def __init__(self, root: Path, *, quota_bytes: int = QUOTA_BYTES) -> None:
        self.root = Path(os.path.realpath(root))
        self.quota_bytes = quota_bytes
        """How many bytes of uploads one user may hold at once."""

        self._partial = self.root / ".partial"
        self._spool = self.root / ".spool"
        self._work = self.root / ".work"
        for folder in (self._partial, self._spool, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def resolve(self, relative: str) -> Path:
        """Where a stored path is on this disk; the file itself may be gone.

        Raises:
            OutsideStore: it is absolute, climbs out, goes through a symbolic link or names no file.
        """
        if not relative or "\0" in relative or relative != os.path.normpath(relative) or os.path.isabs(relative):
            raise OutsideStore("not a path of the file store")
        place = os.path.join(self.root, relative)
        if not place.startswith(f"{self.root}{os.sep}") or os.path.realpath(place) != place:
            raise OutsideStore("not a path of the file store")
        return Path(place)

    def work(self, tenant: str, job_id: UUID) -> Path:
        """The folder in which a job's agents write; made if it is not there, private to this server."""
        folder = self._work / _checked(tenant) / str(job_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    async def drop_work(self, tenant: str, job_id: UUID) -> None:
        """Remove what a job's agents left behind, if anything."""
        await asyncio.to_thread(shutil.rmtree, self._work / _checked(tenant) / str(job_id), True)

    async def work_on_disk(self) -> list[tuple[str, UUID]]:
        """The tenants and jobs that have a work folder."""
        return await asyncio.to_thread(
            lambda: [(place.parent.name, UUID(place.name)) for place in self._work.glob("*/*")]
        )

    async def adopt(self, path: Path, tenant: str, kind: FileKind) -> Stored:
        """Give a file of a work folder its place in the store, too; it also stays where it is.

        So a worker that is killed before it can say what it made leaves everything as it was for the next one. The
        suffix is kept if it is a plain one.
        """
        suffix = path.suffix.lower()
        linked = self._spool / secrets.token_hex(16)
        os.link(path, linked)
        size, digest = await asyncio.to_thread(_measured, linked)
        kept = suffix if _SUFFIX.fullmatch(suffix) else ""
        return Stored(await self.settle(Spooled(linked, size, digest), tenant, kind, kept), size, digest)

    async def settle(self, spooled: Spooled, tenant: str, kind: FileKind, suffix: str) -> str:
        """Move measured bytes to their final path, durably; twice the same bytes is once the same path.

        Raises:
            DiskFull: not even a folder fits any more.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ValueError(f"not a plain suffix: {suffix!r}")
        digest = spooled.sha256
        relative = f"{_checked(tenant)}/{kind}/{digest[:2]}/{digest}{suffix}"
        with room():
            await asyncio.to_thread(_moved, spooled.path, self.root / relative, self.root)
        return relative

    @asynccontextmanager
    async def spooled(self, stream: AsyncIterator[bytes], *, most: int) -> AsyncIterator[Spooled]:
        """Write a stream to disk, at most `most` bytes, with a block of it in memory at a time.

        What the block does not settle or keep is removed when it ends, also when the stream breaks off.

        Raises:
            TooLong: the stream has more.
            DiskFull: there is no room for it.
        """
        path = self._spool / secrets.token_hex(16)
        try:
            yield await _written(path, stream, most)
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A place for a file that is written bit by bit and gone when the block ends, on the disk of the store."""
        path = self._spool / secrets.token_hex(16)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def keep_piece(self, upload_id: UUID, index: int, spooled: Spooled) -> None:
        """Make a piece part of an upload's folder, durably; a piece with other bytes at its index stays beside it.

        Raises:
            DiskFull: not even a folder fits any more.
        """
        place = self._piece(upload_id, index, spooled.sha256)
        with room():
            await asyncio.to_thread(_moved, spooled.path, place, self._partial)

    async def piece(self, upload_id: UUID, index: int, sha256: str) -> AsyncIterator[bytes]:
        """What a piece holds, block by block.

        Raises:
            PiecesMissing: it is not on disk.
        """
        try:
            async for block in blocks(self._piece(upload_id, index, sha256)):
                yield block
        except FileNotFoundError as error:
            raise PiecesMissing([index]) from error

    async def begins_alike(self, upload_id: UUID, index: int, sha256: str, spooled: Spooled) -> bool:
        """Whether spooled bytes and a piece are the same as far as both go.

        Raises:
            PiecesMissing: it is not on disk.
        """
        try:
            return await asyncio.to_thread(_alike, spooled.path, self._piece(upload_id, index, sha256))
        except FileNotFoundError as error:
            raise PiecesMissing([index]) from error

    async def drop_piece(self, upload_id: UUID, index: int, sha256: str) -> None:
        """Remove a piece that turned out not to belong to its upload."""
        self._piece(upload_id, index, sha256).unlink(missing_ok=True)

    def has_piece(self, upload_id: UUID, index: int, sha256: str, size_bytes: int) -> bool:
        """Whether a piece is on disk in its full length."""
        try:
            return self._piece(upload_id, index, sha256).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    @asynccontextmanager
    async def joined(self, upload_id: UUID, pieces: Sequence[tuple[int, str, int]]) -> AsyncIterator[Spooled]:
        """All pieces of an upload (index, sha256, bytes) as one spooled file, in the order given.

        Raises:
            PiecesMissing: some are not on disk, or not in their full length.
            DiskFull: there is no room for the whole beside its pieces.
        """
        path = self._spool / secrets.token_hex(16)
        sources = [self._piece(upload_id, index, sha256) for index, sha256, _ in pieces]
        self._require_pieces(upload_id, pieces)
        try:
            try:
                with room():
                    whole = await asyncio.to_thread(_joined, path, sources)
            except FileNotFoundError:
                # Somebody else finished with them meanwhile.
                self._require_pieces(upload_id, pieces)
                raise
            yield whole
        finally:
            path.unlink(missing_ok=True)

    async def discard(self, upload_id: UUID) -> None:
        """Remove all pieces of an upload, if there are any."""
        await asyncio.to_thread(shutil.rmtree, self._partial / str(upload_id), True)

    async def uploads_on_disk(self) -> list[UUID]:
        """The uploads that have a folder for pieces."""
        return await asyncio.to_thread(lambda: [UUID(place.name) for place in self._partial.iterdir()])

    async def stored_before(self, moment: float) -> list[str]:
        """Relative paths of finished files last written before `moment` (seconds since the epoch)."""
        return await asyncio.to_thread(lambda: list(self._stored_before(moment)))

    async def remove_stored(self, relative: str, *, before: float) -> bool:
        """Remove a finished file unless it was settled anew since `before`; whether it is gone now."""
        return await asyncio.to_thread(self._removed, relative, before)

    async def clear_spool(self, *, before: float) -> int:
        """Remove what crashed writers left in the spool; how many files that were."""
        return await asyncio.to_thread(_cleared, self._spool, before)

    def _require_pieces(self, upload_id: UUID, pieces: Sequence[tuple[int, str, int]]) -> None:
        missing = [index for index, sha256, size in pieces if not self.has_piece(upload_id, index, sha256, size)]
        if missing:
            raise PiecesMissing(missing)

    def _piece(self, upload_id: UUID, index: int, sha256: str) -> Path:
        return self._partial / str(upload_id) / f"{index:06}-{sha256}"

    def _stored_before(self, moment: float) -> Iterator[str]:
        for tenant in os.scandir(self.root):
            if not _TENANT.fullmatch(tenant.name) or not tenant.is_dir(follow_symlinks=False):
                continue
            for kind in FileKind:
                for place in Path(tenant.path, kind).glob("??/*"):
                    if _STORED.fullmatch(place.name) and place.lstat().st_mtime < moment:
                        yield place.relative_to(self.root).as_posix()

    def _removed(self, relative: str, before: float) -> bool:
        place, aside = self.resolve(relative), self._spool / secrets.token_hex(16)
        try:
            os.rename(place, aside)
        except FileNotFoundError:
            return False
        # Moved aside before it is judged: the same bytes may have been settled again after the caller found nothing
        # that refers to them, and settling always makes the file new.
        if aside.stat().st_mtime >= before:
            os.rename(aside, place)
            return False
        aside.unlink()
        return True


async def _written(path: Path, stream: AsyncIterator[bytes], most: int) -> Spooled:
    digest, size, held, held_bytes = hashlib.sha256(), 0, list[bytes](), 0
    with room():
        out = await asyncio.to_thread(_created, path)
    try:
        async for part in stream:
            size += len(part)
            if size > most:
                raise TooLong(f"more than {most} bytes")
            held.append(part)
            held_bytes += len(part)
            if held_bytes >= BLOCK:
                with room():
                    await asyncio.to_thread(_append, out, digest.update, held)
                held, held_bytes = [], 0
        with room():
            await asyncio.to_thread(_finish, out, digest.update, held)
    finally:
        out.close()
    return Spooled(path, size, digest.hexdigest())


async def blocks(path: Path) -> AsyncIterator[bytes]:
    """What a file holds, block by block."""
    with await asyncio.to_thread(open, path, "rb", 0) as file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block


@contextmanager
def room() -> Iterator[None]:
    """Tell a full disk from everything else that can go wrong with one."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(error.errno, error.strerror) from error
        raise


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _append(out: BinaryIO, count: Callable[[bytes], None], parts: Iterable[bytes]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[out.write(rest) :]
        count(part)


def _finish(out: BinaryIO, count: Callable[[bytes], None], parts: Iterable[bytes]) -> None:
    _append(out, count, parts)
    os.fsync(out.fileno())


def _joined(path: Path, sources: Iterable[Path]) -> Spooled:
    digest, size = hashlib.sha256(), 0
    with _created(path) as out:
        for source in sources:
            with open(source, "rb", buffering=0) as piece:
                while block := piece.read(BLOCK):
                    _append(out, digest.update, [block])
                    size += len(block)
        os.fsync(out.fileno())
    return Spooled(path, size, digest.hexdigest())


def _alike(one: Path, other: Path) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        rest = min(os.fstat(first.fileno()).st_size, os.fstat(second.fileno()).st_size)
        while rest > 0:
            block = first.read(min(BLOCK, rest))
            if not block or block != second.read(len(block)):
                return False
            rest -= len(block)
    return True


def _measured(path: Path) -> tuple[int, str]:
    with open(path, "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size, digest


def _moved(source: Path, target: Path, root: Path) -> None:
    fresh = [folder for folder in target.parents if root in folder.parents and not folder.exists()]
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The janitor spares what is new; a file that was long in the making must not look old the moment it arrives.
    os.utime(source)
    os.rename(source, target)
    # Two links to one file: rename does nothing then, and leaves both.
    source.unlink(missing_ok=True)
    for folder in {target.parent, *(folder.parent for folder in fresh)}:
        settled(folder)


def settled(folder: Path) -> None:
    """Make what was renamed into a folder, or out of it, durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no fsync for folders; they make a rename durable by themselves.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def _cleared(folder: Path, before: float) -> int:
    old = [place for place in folder.iterdir() if place.lstat().st_mtime < before]
    for place in old:
        place.unlink(missing_ok=True)
    return len(old)


def _checked(tenant: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"not a tenant: {tenant!r}")
    return tenant
