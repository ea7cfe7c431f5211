"""The file of a backup: a tar, compressed or not, with the tables in parts and a manifest at its end.

`tables/<table>/<number>.copy` holds a few megabytes of a table as PostgreSQL's COPY writes text: a line for each row,
columns parted by tabs. `manifest.json` says how many rows and bytes each table has, and their SHA-256. Neither writing
nor reading ever has more than a part in memory. Everything here blocks, and belongs into a thread.
"""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, BinaryIO, Final, cast

import msgspec
from msgspec import Meta

from db.rows import Row

FORMAT: Final = 1
PART: Final = 4 * 1024 * 1024
"""Bytes of a part, about."""

MANIFEST: Final = "manifest.json"

_LARGEST_PART: Final = 64 * 1024 * 1024
_LARGEST_MANIFEST: Final = 4 * 1024 * 1024
_PART_NAME: Final = re.compile(r"tables/([a-z_][a-z0-9_]{0,62})/[0-9]{6}\.copy")
_LEVEL: Final = 6
_GZIP: Final = 16 + zlib.MAX_WBITS

Big = Annotated[int, Meta(extra={"big": True})]


class Damaged(Exception):
    """The file is not a backup, or not as it was written."""


class Includes(Row, frozen=True, kw_only=True):
    """What a backup was asked to have."""

    logs: bool = True
    job_data: bool = True
    user_data: bool = False
    """Without it users are there, but neither their names and addresses nor their passwords."""


class SavedTable(Row, frozen=True, kw_only=True):
    """One table in a backup."""

    name: str
    columns: list[str]
    rows: Big
    size_bytes: Big
    sha256: str


class Referred(Row, frozen=True, kw_only=True):
    """Files that rows of a backup name; a backup has the rows, never the files."""

    uploads: Big
    clips: Big
    artifacts: Big
    size_bytes: Big
    """Of all of them, as the rows say."""


class Manifest(Row, frozen=True, kw_only=True):
    """What is in a backup."""

    format: int = FORMAT
    revision: str
    """Of the tables; a backup is restored into the same one only."""

    created_at: datetime
    """The moment that it shows."""

    postgresql: str
    includes: Includes
    tables: list[SavedTable]
    """Each after those that it refers to."""

    not_included: list[str]
    """What is not in it, for whoever reads this file."""

    files: Referred

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables)


class Writer:
    """Writes one archive into a file, which has no end until `finish` gives it one."""

    def __init__(self, file: BinaryIO, *, compressed: bool, at: datetime) -> None:
        self._file = file
        self._at = int(at.timestamp())
        # gzip's format without its file object, which would write the end of an archive that is given up half-way.
        self._deflated = zlib.compressobj(_LEVEL, wbits=_GZIP) if compressed else None
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, name: str, content: bytes) -> None:
        """Append one member."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(content), self._at, 0o600
        # By hand, as tarfile would end an archive that is given up as well.
        self._pack(member.tobuf(tarfile.PAX_FORMAT))
        self._pack(content)
        self._pack(b"\0" * (-len(content) % tarfile.BLOCKSIZE))

    def finish(self, manifest: Manifest) -> tuple[int, str]:
        """Append the manifest and end the archive; its size and SHA-256."""
        self.add(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        self._pack(b"\0" * 2 * tarfile.BLOCKSIZE)
        if self._deflated is not None:
            self._write(self._deflated.flush())
        return self._size, self._digest.hexdigest()

    def _pack(self, content: bytes) -> None:
        self._write(content if self._deflated is None else self._deflated.compress(content))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def part_name(table: str, number: int) -> str:
    """What a part of a table is called in the archive."""
    return f"tables/{table}/{number:06}.copy"


def members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The parts of an archive in their order, each as the name of its table and its bytes; the manifest as `MANIFEST`.

    Raises:
        Damaged: it cannot be read to its end, or has something in it that no backup has.
    """
    file.seek(0)
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    try:
        # Neither is left to close the file, which is the caller's.
        source = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb")) if compressed else file
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                yield _content(tar, member)
        _require_end(source)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Damaged("the file is damaged, or no backup") from error


def manifest_of(content: bytes) -> Manifest:
    """The manifest in its bytes.

    Raises:
        Damaged: it is none, or of another format.
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Damaged("the manifest cannot be read") from error
    if manifest.format != FORMAT:
        raise Damaged(f"the backup has the format {manifest.format}, this program reads {FORMAT}")
    return manifest


class Counted:
    """The rows and bytes of one table, added up part by part."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._tabs = self.rows = self.size_bytes = 0
        self._last = b"\n"

    def add(self, content: bytes) -> None:
        """Count one more part."""
        self._digest.update(content)
        self.rows += content.count(b"\n")
        self._tabs += content.count(b"\t")
        self.size_bytes += len(content)
        self._last = content[-1:] or self._last

    @property
    def sha256(self) -> str:
        """Of all parts so far."""
        return self._digest.hexdigest()

    def saved(self, name: str, columns: list[str]) -> SavedTable:
        """What the manifest says of the table."""
        return SavedTable(name=name, columns=columns, rows=self.rows, size_bytes=self.size_bytes, sha256=self.sha256)

    def wrong(self, said: SavedTable) -> str | None:
        """In what the table is not as the manifest says; None when it is."""
        if self.sha256 != said.sha256 or self.size_bytes != said.size_bytes:
            return f"{said.name}: the bytes are not those that were written"
        if self.rows != said.rows or self._last != b"\n":
            return f"{said.name}: {said.rows} rows were written, {self.rows} are there"
        if self._tabs != said.rows * (len(said.columns) - 1):
            return f"{said.name}: not every row has {len(said.columns)} columns"
        return None


class Examined(Row, frozen=True, kw_only=True):
    """An archive that was read to its end."""

    manifest: Manifest
    problems: list[str]
    """In what it is not as it was written; empty when it is."""

    sha256: str
    """Of the whole file as it is."""

    size_bytes: Big


def examine(file: BinaryIO) -> Examined:
    """Read an archive to its end and hold it against its manifest.

    Raises:
        Damaged: it cannot be read, or has no manifest.
    """
    counted: dict[str, Counted] = {}
    manifest: Manifest | None = None
    for name, content in members(file):
        if manifest is not None:
            raise Damaged("something comes after the manifest")
        if name == MANIFEST:
            manifest = manifest_of(content)
        else:
            counted.setdefault(name, Counted()).add(content)
    if manifest is None:
        raise Damaged("the file has no manifest: it was not written to its end")
    problems = [
        wrong for said in manifest.tables if (wrong := counted.pop(said.name, Counted()).wrong(said)) is not None
    ]
    problems += [f"{name}: the manifest does not name it" for name in counted]
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(PART):
        digest.update(block)
    return Examined(manifest=manifest, problems=problems, sha256=digest.hexdigest(), size_bytes=file.tell())


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, bytes]:
    part = _PART_NAME.fullmatch(member.name)
    if not member.isfile() or (part is None and member.name != MANIFEST):
        raise Damaged("the file has something in it that no backup has")
    if member.size > (_LARGEST_PART if part else _LARGEST_MANIFEST):
        raise Damaged("a part of the file is larger than any that is written")
    source = tar.extractfile(member)
    assert source is not None
    content = source.read()
    if len(content) != member.size:
        raise Damaged("the file ends in the middle of a part")
    return (part[1] if part else MANIFEST), content


def _require_end(source: BinaryIO) -> None:
    """Read what comes after the tar's end, which is blanks alone; gzip checks its sum only at the very end."""
    while rest := source.read(PART):
        if rest.strip(b"\0"):
            raise Damaged("something comes after the end of the backup")
