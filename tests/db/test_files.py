"""The store on disk: nothing half-written, nothing outside, the same bytes once."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from db.files import FileKind, Files, OutsideStore, PiecesMissing, TooLong

FUTURE = 4e9


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


async def streamed(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def all_files(files: Files) -> list[str]:
    return sorted(path.relative_to(files.root).as_posix() for path in files.root.rglob("*") if path.is_file())


async def stored(files: Files, content: bytes, *, tenant: str = "default", suffix: str = ".mp4") -> str:
    async with files.spooled(streamed(content), most=len(content)) as spooled:
        return await files.settle(spooled, tenant, FileKind.UPLOADS, suffix)


async def kept(files: Files, upload_id: object, index: int, content: bytes) -> tuple[int, str, int]:
    async with files.spooled(streamed(content), most=len(content)) as spooled:
        await files.keep_piece(upload_id, index, spooled)  # type: ignore[arg-type] # any id will do
    return index, digest(content), len(content)


async def test_a_file_lies_under_its_tenant_kind_and_hash(files: Files) -> None:
    path = await stored(files, b"video")

    sha256 = digest(b"video")
    assert f"default/uploads/{sha256[:2]}/{sha256}.mp4" == path
    assert b"video" == files.resolve(path).read_bytes()
    assert [path] == all_files(files)


async def test_the_same_bytes_are_stored_once_for_each_tenant(files: Files) -> None:
    paths = [await stored(files, b"video", tenant=tenant) for tenant in ("a", "b", "a")]

    assert paths[0] == paths[2]
    assert sorted(paths[:2]) == all_files(files)


async def test_what_is_not_settled_is_gone_when_the_block_ends(files: Files) -> None:
    async with files.spooled(streamed(b"ab", b"", b"c"), most=3) as spooled:
        assert (3, digest(b"abc")) == (spooled.size_bytes, spooled.sha256)
        assert b"abc" == spooled.path.read_bytes()

    assert [] == all_files(files)


async def test_a_stream_is_cut_off_when_it_is_too_long(files: Files) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(1024)

    with pytest.raises(TooLong):
        async with files.spooled(endless(), most=10 * 1024):
            pytest.fail("a block was entered with too many bytes")

    assert 11 == asked
    assert [] == all_files(files)


async def test_a_stream_that_breaks_off_leaves_nothing(files: Files) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        async with files.spooled(broken(), most=10**6):
            pytest.fail("a block was entered after half a stream")

    assert [] == all_files(files)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../files-of-others/x",
        "default/../../x",
        "default//x",
        "default/./x",
        "default/x/",
        "/etc/passwd",
        "default/\0x",
        "link/passwd",
        "default/uploads/link.mp4",
    ],
)
async def test_nothing_outside_the_store_is_resolved(files: Files, path: str) -> None:
    (files.root / "link").symlink_to("/etc")
    (files.root / "default/uploads").mkdir(parents=True)
    (files.root / "default/uploads/link.mp4").symlink_to("/etc/passwd")

    with pytest.raises(OutsideStore):
        files.resolve(path)


@pytest.mark.parametrize("tenant", ["", ".partial", "..", "a/b", "A", "a" * 64])
async def test_only_a_tenant_can_be_a_folder(files: Files, tenant: str) -> None:
    with pytest.raises(ValueError):
        await stored(files, b"video", tenant=tenant)
    with pytest.raises(ValueError):
        files.work(tenant, uuid4())

    assert [] == all_files(files)


@pytest.mark.parametrize("suffix", ["mp4", ".", ".MP4", "./x", ".tar.gz", ".toolongone"])
async def test_only_a_plain_suffix_is_kept(files: Files, suffix: str) -> None:
    with pytest.raises(ValueError):
        await stored(files, b"video", suffix=suffix)

    assert [] == all_files(files)


async def test_a_file_of_a_work_folder_is_adopted_and_stays(files: Files) -> None:
    made = files.work("default", uuid4()) / "clip 1.MP4"
    made.write_bytes(b"clip")

    first = await files.adopt(made, "default", FileKind.CLIPS)
    second = await files.adopt(made, "default", FileKind.CLIPS)

    assert first == second
    assert (4, digest(b"clip"), ".mp4") == (first.size_bytes, first.sha256, Path(first.path).suffix)
    assert [b"clip", b"clip"] == [files.resolve(first.path).read_bytes(), made.read_bytes()]
    assert 2 == len(all_files(files)), "a link was left behind"


async def test_a_work_folder_belongs_to_its_job(files: Files) -> None:
    mine, other = uuid4(), uuid4()
    (files.work("default", mine) / "x").write_bytes(b"x")
    (files.work("default", other) / "y").write_bytes(b"y")

    await files.drop_work("default", mine)
    await files.drop_work("default", mine)

    assert [("default", other)] == await files.work_on_disk()


async def test_pieces_are_joined_in_their_order(files: Files) -> None:
    upload_id = uuid4()
    last = await kept(files, upload_id, 1, b"world")
    first = await kept(files, upload_id, 0, b"hello ")

    async with files.joined(upload_id, [first, last]) as whole:
        assert b"hello world" == whole.path.read_bytes()
        assert (11, digest(b"hello world")) == (whole.size_bytes, whole.sha256)

    await files.discard(upload_id)
    assert ([], []) == (all_files(files), await files.uploads_on_disk())


async def test_two_pieces_for_one_place_do_not_touch_each_other(files: Files) -> None:
    upload_id = uuid4()
    first = await kept(files, upload_id, 0, b"first")
    await kept(files, upload_id, 0, b"other")

    await files.drop_piece(upload_id, 0, digest(b"other"))

    async with files.joined(upload_id, [first]) as whole:
        assert b"first" == whole.path.read_bytes()


async def test_joining_names_the_pieces_that_are_gone_or_cut(files: Files) -> None:
    upload_id = uuid4()
    pieces = [await kept(files, upload_id, index, b"piece %d" % index) for index in range(4)]
    folder = next((files.root / ".partial").iterdir())
    os.truncate(folder / f"000001-{pieces[1][1]}", 3)
    (folder / f"000003-{pieces[3][1]}").unlink()

    with pytest.raises(PiecesMissing) as refusal:
        async with files.joined(upload_id, pieces):
            pytest.fail("pieces that are not there were joined")

    assert [1, 3] == refusal.value.indexes


async def test_only_old_finished_files_are_listed_and_removed(files: Files) -> None:
    path = await stored(files, b"video")
    (files.root / "default/uploads/notes.txt").write_bytes(b"somebody's own")

    assert [] == await files.stored_before(0)
    assert [path] == await files.stored_before(FUTURE)
    assert not await files.remove_stored(path, before=0)
    assert files.resolve(path).exists()
    assert await files.remove_stored(path, before=FUTURE)
    assert not await files.remove_stored(path, before=FUTURE)
    assert ["default/uploads/notes.txt"] == all_files(files)


async def test_settling_makes_an_old_file_new(files: Files) -> None:
    """Or the janitor would take a file that was just given a row again."""
    path = await stored(files, b"video")
    os.utime(files.resolve(path), (0, 0))

    await stored(files, b"video")

    assert not await files.remove_stored(path, before=1_000_000)
    assert files.resolve(path).exists()


async def test_the_spool_is_cleared_of_what_is_old(files: Files) -> None:
    (files.root / ".spool/left").write_bytes(b"half")

    assert [0, 1] == [await files.clear_spool(before=0), await files.clear_spool(before=FUTURE)]
    assert [] == all_files(files)


async def test_many_writers_of_the_same_bytes_leave_one_file(files: Files) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stored(files, b"video" * 1000)) for _ in range(8)]

    assert {task.result() for task in tasks} == set(all_files(files))


def test_a_store_is_private_to_its_server(files: Files) -> None:
    assert {0o700} == {(files.root / name).stat().st_mode & 0o777 for name in (".partial", ".spool", ".work")}


async def test_bytes_and_a_piece_are_compared_as_far_as_both_go(files: Files) -> None:
    upload_id = uuid4()
    index, sha256, _ = await kept(files, upload_id, 0, b"piece")

    for content, alike in ((b"piece", True), (b"pie", True), (b"piece and more", True), (b"pieCe", False), (b"", True)):
        async with files.spooled(streamed(content), most=100) as spooled:
            assert alike is await files.begins_alike(upload_id, index, sha256, spooled), content


async def test_a_piece_is_read_in_blocks_or_said_to_be_missing(files: Files) -> None:
    upload_id, content = uuid4(), bytes(range(256)) * 2_000
    index, sha256, _ = await kept(files, upload_id, 0, content)

    found = [block async for block in files.piece(upload_id, index, sha256)]

    assert (content, True) == (b"".join(found), len(found) > 1)
    await files.drop_piece(upload_id, index, sha256)
    with pytest.raises(PiecesMissing):
        await anext(files.piece(upload_id, index, sha256))
    async with files.spooled(streamed(content), most=len(content)) as spooled:
        with pytest.raises(PiecesMissing):
            await files.begins_alike(upload_id, index, sha256, spooled)
