"""The file of a backup: what was written is read, and nothing else is taken for it."""

import gc
import io
import tarfile
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from db.archives import (
    MANIFEST,
    Counted,
    Damaged,
    Includes,
    Manifest,
    Referred,
    SavedTable,
    Writer,
    examine,
    members,
    part_name,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS = b"1\tone\n2\ttwo\n3\tthree\\nlines\n"


def manifest(*tables: SavedTable) -> Manifest:
    return Manifest(
        revision="0001",
        created_at=NOW,
        postgresql="18",
        includes=Includes(),
        tables=list(tables),
        not_included=[],
        files=Referred(uploads=0, clips=0, artifacts=0, size_bytes=0),
    )


def saved(content: bytes, columns: int = 2) -> SavedTable:
    counted = Counted()
    counted.add(content)
    return counted.saved("jobs", [f"c{number}" for number in range(columns)])


def written(*parts: bytes, said: SavedTable | None = None, compressed: bool = True) -> io.BytesIO:
    file = io.BytesIO()
    writer = Writer(file, compressed=compressed, at=NOW)
    for number, part in enumerate(parts):
        writer.add(part_name("jobs", number), part)
    writer.finish(manifest(said or saved(b"".join(parts))))
    return file


@pytest.mark.parametrize("compressed", [True, False])
def test_what_was_written_is_read(compressed: bool) -> None:
    file = written(ROWS[:10], ROWS[10:], compressed=compressed)

    assert [("jobs", ROWS[:10]), ("jobs", ROWS[10:])] == [each for each in members(file) if each[0] != MANIFEST]
    examined = examine(file)
    assert ([], 3) == (examined.problems, examined.manifest.rows)
    assert len(file.getvalue()) == examined.size_bytes


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_given_up_half_way_gets_no_end(compressed: bool) -> None:
    file = io.BytesIO()
    writer = Writer(file, compressed=compressed, at=NOW)
    writer.add(part_name("jobs", 0), ROWS)
    so_far = file.getvalue()

    del writer
    gc.collect()

    assert so_far == file.getvalue()
    with pytest.raises(Damaged):
        examine(file)


@pytest.mark.parametrize("compressed", [True, False])
def test_every_byte_that_is_changed_is_noticed(compressed: bool) -> None:
    """Of what lies in the file, or of what it says about itself; what no reader looks at may differ."""
    whole = written(ROWS, compressed=compressed).getvalue()
    first = examine(io.BytesIO(whole))
    unnoticed = []
    for place in range(0, len(whole), 1 if compressed else 7):
        content = bytearray(whole)
        content[place] ^= 0x10
        try:
            found = examine(io.BytesIO(content))
        except Damaged:
            continue
        if not found.problems and found.manifest == first.manifest and found.sha256 == first.sha256:
            unnoticed.append(place)

    assert [] == unnoticed


@pytest.mark.parametrize("length", [0, 1, 2, 100, -1, -100])
def test_a_file_cut_short_is_no_backup(length: int) -> None:
    whole = written(ROWS).getvalue()

    with pytest.raises(Damaged):
        examine(io.BytesIO(whole[:length]))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (saved(ROWS + b"4\tfour\n"), "jobs: the bytes are not those that were written"),
        (msgspec.structs.replace(saved(ROWS), rows=4), "jobs: 4 rows were written, 3 are there"),
        (saved(ROWS, columns=3), "jobs: not every row has 3 columns"),
    ],
)
def test_a_table_that_is_not_as_the_manifest_says_is_named(said: SavedTable, problem: str) -> None:
    assert [problem] == examine(written(ROWS, said=said)).problems


def test_a_table_that_is_not_in_the_manifest_is_named() -> None:
    assert ["jobs: the manifest does not name it"] == examine(
        written(ROWS, said=SavedTable(name="clips", columns=["id"], rows=0, size_bytes=0, sha256=Counted().sha256))
    ).problems


def _tar(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, content in entries:
            member.size = len(content) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(content))
    file.seek(0)
    return file


def _link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


@pytest.mark.parametrize(
    "entries",
    [
        [(tarfile.TarInfo("../outside"), b"x")],
        [(tarfile.TarInfo("/etc/passwd"), b"x")],
        [(tarfile.TarInfo("tables/../jobs/000000.copy"), b"x")],
        [(tarfile.TarInfo('tables/jobs"; DROP TABLE jobs/000000.copy'), b"x")],
        [(_link("tables/jobs/000000.copy", "/etc/passwd"), b"")],
        [(tarfile.TarInfo(MANIFEST), b"{}")],
        [(tarfile.TarInfo(MANIFEST), b"not json")],
        [],
    ],
)
def test_a_tar_of_somebody_else_is_no_backup(entries: list[Any]) -> None:
    with pytest.raises(Damaged):
        examine(_tar(*entries))


def test_a_backup_of_another_format_is_refused_with_its_number() -> None:
    content = msgspec.json.encode(msgspec.structs.replace(manifest(), format=7))

    with pytest.raises(Damaged, match="has the format 7, this program reads 1"):
        examine(_tar((tarfile.TarInfo(MANIFEST), content)))
