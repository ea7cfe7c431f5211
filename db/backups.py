"""Backups: what all tenants have at one moment, in one file that can be verified and restored.

They lie in a folder of their own beside the file store, each with a note of the same name and `.json` beside it. A file
has its name only once it is whole and durable; what a killed process left half-written has none that is listed. The
files that rows refer to, videos and clips, are not in a backup.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
import sqlalchemy as sa

from db import apart, archives, layout, probes
from db.archives import Big, Damaged, Examined, Includes, Manifest, Referred, SavedTable
from db.database import Database, Transaction
from db.files import room, settled
from db.layout import Table
from db.rows import Row

NAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
"""What the name of a backup looks like, without `.tar` or `.tar.gz`."""

FILENAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.tar(\.gz)?$"

LEFTOVER: Final = timedelta(hours=1)
"""How long a half-written file is left alone: who writes it may be slow."""

_ONLY_READ: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_INCLUDED: Final = (
    "the files of uploads, clips and artifacts: the rows name them, their bytes are not here",
    "the audit trail: `python -m agentos audit export` writes it",
    "sign-ins, lockouts and counters of calls",
    "processes, managers, operations and events, which are of the moment",
)
_WITHOUT_USERS: Final = "email addresses, names, passwords and preferences of users"

T = TypeVar("T")
Progress = Callable[[float, str], Awaitable[None]]
"""Told the done share in 0.0..1.0, and where it is."""


class Taken(Exception):
    """There is a backup of that name."""


class NoBackup(Exception):
    """There is no backup of that name."""


class Backup(Row, frozen=True, kw_only=True):
    """A backup on this disk."""

    filename: str
    path: str
    size_bytes: Big
    created_at: datetime
    sha256: str
    """Of the whole file, as it was written."""

    verified: bool | None
    """How it was found when it was last verified; None when it never was."""

    manifest: Manifest


class _Note(Row, frozen=True, kw_only=True):
    """What lies beside a backup."""

    sha256: str
    size_bytes: int
    manifest: Manifest
    verified: bool | None = None


class Backups:
    """The folder of the backups of one installation; every process may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, files: Path) -> "Backups":
        """The folder that belongs to a file store."""
        return cls(files.parent / "backups")

    def place(self, filename: str) -> Path:
        """Where a backup of that name lies.

        Raises:
            NoBackup: it is no such name, or nothing of that name is there.
        """
        place = self.folder / filename
        if not re.fullmatch(FILENAME, filename) or place.is_symlink() or not place.is_file():
            raise NoBackup(f"there is no backup {filename[:120]!r}")
        return place

    def called(self, name: str) -> Path:
        """Where the backup of that name lies, whether it is said with its ending or without.

        Raises:
            NoBackup: it is no such name, nothing of that name is there, or two backups are.
        """
        files = (name, filename(name, compressed=True), filename(name, compressed=False))
        found = [file for file in files if (self.folder / file).is_file()]
        if len(found) > 1:
            raise NoBackup(f"there are several backups of that name: {', '.join(found)}")
        return self.place(found[0] if found else name)

    async def listed(self, *, most: int) -> list[Backup]:
        """The newest backups first."""
        return await asyncio.to_thread(self._listed, most)

    def _listed(self, most: int) -> list[Backup]:
        if not self.folder.is_dir():
            return []
        names = [place.name for place in self.folder.iterdir() if re.fullmatch(FILENAME, place.name)]
        newest = sorted(names, key=lambda name: (self.folder / name).lstat().st_mtime_ns, reverse=True)
        found = (self._seen(name) for name in newest)
        return [backup for backup, _ in zip((each for each in found if each is not None), range(most), strict=False)]

    def _seen(self, filename: str) -> Backup | None:
        try:
            return backup_at(self.place(filename))
        except (NoBackup, Damaged):
            return None

    async def create(
        self, database: Database, name: str, includes: Includes, *, compressed: bool, progress: Progress
    ) -> Backup:
        """Write a backup of that name.

        Raises:
            Taken: there is one.
            DiskFull: there is no room for it; nothing is left of it.
            DatabaseUnavailable: PostgreSQL went away meanwhile; nothing is left of it.
        """
        if not re.fullmatch(NAME, name):
            raise ValueError(f"not a name of a backup: {name!r}")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.folder / filename(name, compressed=compressed)
        return await create(database, target, includes, compressed=compressed, progress=progress)


def new_name() -> str:
    """A name that tells when a backup was made."""
    return f"agentos-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def filename(name: str, *, compressed: bool) -> str:
    """What the file of a backup of that name is called."""
    return f"{name}.tar.gz" if compressed else f"{name}.tar"


async def create(
    database: Database, target: Path, includes: Includes, *, compressed: bool, progress: Progress
) -> Backup:
    """Write a backup to a place; see `Backups.create`."""
    if os.path.lexists(target):
        raise Taken(f"there is a backup {target.name} already")
    await asyncio.to_thread(_clear_leftovers, target.parent)
    half = target.parent / f".{target.name}.{secrets.token_hex(8)}.part"
    try:
        with room():
            file = _created(half)
            try:
                note = await _filled(database, file, includes, compressed=compressed, progress=progress)
                await whole(lambda: os.fsync(file.fileno()))
            finally:
                file.close()
            _named(half, target)
            await asyncio.to_thread(_write_note, target, note)
            await asyncio.to_thread(settled, target.parent)
    finally:
        half.unlink(missing_ok=True)
    return _backup(target, note)


class Verified(Row, frozen=True, kw_only=True):
    """How a backup was found."""

    manifest: Manifest | None
    """None when it cannot be read."""

    problems: list[str]
    """In what it is not as it was written; empty when it is."""

    sha256: str
    """Of the whole file as it is."""

    sha256_match: bool
    """Whether that is the one which was noted when it was written; True where nothing was noted."""


async def verify(place: Path) -> Verified:
    """Read a backup to its end, hold it against its manifest and its note, and write down how it was found."""
    note = await asyncio.to_thread(_note_of, place)
    sha256 = await whole(lambda: _sha256(place))
    problems = []
    if note is not None and note.sha256 != sha256:
        problems.append("the file is not the one that was written: its SHA-256 is another")
    manifest = None
    try:
        examined = await whole(lambda: _examined(place))
    except Damaged as error:
        problems.append(str(error))
    else:
        manifest, problems = examined.manifest, problems + examined.problems
        note = note or _Note(sha256=sha256, size_bytes=examined.size_bytes, manifest=manifest)
    if note is not None:
        await asyncio.to_thread(_remember, place, msgspec.structs.replace(note, verified=not problems))
    return Verified(
        manifest=manifest,
        problems=problems,
        sha256=sha256,
        sha256_match=note is None or note.sha256 == sha256,
    )


def backup_at(place: Path) -> Backup:
    """The backup at a place, as its note describes it, or else as it does itself.

    Raises:
        Damaged: it has no note and cannot be read.
    """
    note = _note_of(place)
    if note is None:
        examined = _examined(place)
        note = _Note(sha256=examined.sha256, size_bytes=examined.size_bytes, manifest=examined.manifest)
    return _backup(place, note)


async def whole(work: Callable[[], T]) -> T:
    """Do something in a thread, to its end even when this is cancelled: it works on files that are closed after it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class _Sink:
    """Takes one table as it comes from COPY, and writes it on in parts."""

    def __init__(self, writer: archives.Writer, table: str, told: Callable[[int], Awaitable[None]]) -> None:
        self._writer = writer
        self._table = table
        self._told = told
        self._held = bytearray()
        self._number = 0
        self.counted = archives.Counted()

    async def take(self, data: bytes) -> None:
        """The next bytes."""
        self._held += data
        if len(self._held) >= archives.PART:
            await self.flush()
            await self._told(self.counted.rows)

    async def flush(self) -> None:
        """Write what is held."""
        if self._held:
            part, self._held = bytes(self._held), bytearray()
            name = archives.part_name(self._table, self._number)
            self._number += 1
            await whole(lambda: self._write(name, part))

    def _write(self, name: str, part: bytes) -> None:
        self.counted.add(part)
        self._writer.add(name, part)


async def _filled(
    database: Database, file: BinaryIO, includes: Includes, *, compressed: bool, progress: Progress
) -> _Note:
    revision = await probes.revision(database)
    async with apart.moment(database) as tx:
        tables = [table for table in layout.restorable(await layout.tables(tx)) if _wanted(table, includes)]
        [(at, version)] = await tx.rows(sa.text("SELECT now(), current_setting('server_version')"))
        writer = archives.Writer(file, compressed=compressed, at=at)
        saved: list[SavedTable] = []
        expected, done = sum(table.rows for table in tables) or 1, 0
        for table in tables:

            async def told(rows: int, done: int = done, name: str = table.name) -> None:
                await progress(min(0.99, (done + rows) / expected), f"writing {name}")

            await told(0)
            saved.append(await _copied(tx, table, includes, writer, told))
            done += table.rows
        manifest = Manifest(
            revision=revision or "none",
            created_at=at,
            postgresql=version,
            includes=includes,
            tables=saved,
            not_included=[*_NOT_INCLUDED, *([] if includes.user_data else [_WITHOUT_USERS])],
            files=await _referred(tx) if includes.job_data else _NOTHING,
        )
    size, sha256 = await whole(lambda: writer.finish(manifest))
    return _Note(sha256=sha256, size_bytes=size, manifest=manifest)


async def _copied(
    tx: Transaction,
    table: Table,
    includes: Includes,
    writer: archives.Writer,
    told: Callable[[int], Awaitable[None]],
) -> SavedTable:
    left_out = layout.IDENTITY if table.name == "users" and not includes.user_data else frozenset()
    columns = [column for column in table.columns if column not in left_out]
    order = f" ORDER BY {layout.listed(table.key)}" if table.key else ""
    sink = _Sink(writer, table.name, told)
    driver = await tx.driver()
    query = f'SELECT {layout.listed(columns)} FROM "{table.name}"{order}'
    await driver.copy_from_query(query, output=sink.take)
    await sink.flush()
    return sink.counted.saved(table.name, columns)


def _wanted(table: Table, includes: Includes) -> bool:
    if table.name in layout.JOB_DATA:
        return includes.job_data
    return includes.logs or table.name not in layout.LOGS


_NOTHING: Final = Referred(uploads=0, clips=0, artifacts=0, size_bytes=0)
_REFERRED: Final = sa.text(
    "SELECT count(*) FILTER (WHERE what = 'u'), count(*) FILTER (WHERE what = 'c'), "
    "count(*) FILTER (WHERE what = 'a'), coalesce(sum(size_bytes), 0)::bigint FROM ("
    "SELECT 'u' AS what, size_bytes FROM uploads WHERE path IS NOT NULL "
    "UNION ALL SELECT 'c', size_bytes FROM clips UNION ALL SELECT 'a', size_bytes FROM artifacts) AS named"
)


async def _referred(tx: Transaction) -> Referred:
    [(uploads, clips, artifacts, size)] = await tx.rows(_REFERRED)
    return Referred(uploads=uploads, clips=clips, artifacts=artifacts, size_bytes=size)


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _named(half: Path, target: Path) -> None:
    # A rename would put itself in the place of a backup that was made meanwhile; a link does not.
    try:
        os.link(half, target)
    except FileExistsError as error:
        raise Taken(f"there is a backup {target.name} already") from error


def _clear_leftovers(folder: Path) -> None:
    old = datetime.now(UTC).timestamp() - LEFTOVER.total_seconds()
    for place in folder.glob(".*.part"):
        if place.lstat().st_mtime < old:
            place.unlink(missing_ok=True)


def _examined(place: Path) -> Examined:
    with open(place, "rb") as file:
        return archives.examine(file)


def _sha256(place: Path) -> str:
    with open(place, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note_place(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _note_of(place: Path) -> _Note | None:
    try:
        return msgspec.json.decode(_note_place(place).read_bytes(), type=_Note)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _remember(place: Path, note: _Note) -> None:
    """Write a note down where that can be done; a backup is as good on a disk that is only read."""
    try:
        _write_note(place, note)
    except OSError as error:
        if error.errno not in _ONLY_READ:
            raise


def _write_note(place: Path, note: _Note) -> None:
    fresh = place.with_name(f".{place.name}.{secrets.token_hex(8)}.part")
    try:
        with _created(fresh) as out:
            out.write(msgspec.json.format(msgspec.json.encode(note), indent=2))
            os.fsync(out.fileno())
        os.replace(fresh, _note_place(place))
    finally:
        fresh.unlink(missing_ok=True)


def _backup(place: Path, note: _Note) -> Backup:
    return Backup(
        filename=place.name,
        path=str(place),
        size_bytes=note.size_bytes,
        created_at=note.manifest.created_at,
        sha256=note.sha256,
        verified=note.verified,
        manifest=note.manifest,
    )
