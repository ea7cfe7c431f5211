"""Uploads sent from an offset on: what a stretch leaves behind, whatever happens to it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db import sweeps
from db import uploads as rows
from db.database import Database
from db.files import Files
from db.models.identity import Role
from db.models.work import UploadStatus
from db.redis import Redis
from db.uploads import Upload
from guards.errors import Conflict, Maintenance, Mismatch, NotFound, TooLarge, Unavailable
from resolvers import appending, uploads
from resolvers.appending import Checksum
from resolvers.context import Context, Services
from tests.acting import act
from tests.conftest import People
from tests.uploading import (
    begun,
    context_of,
    finalized,
    full_after,
    pieces_on_disk,
    services_over,
    sha256,
    streamed,
    video,
)

CONTENT = video(2_500)


@pytest.fixture
def house(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest.fixture
def sender(house: Services, people: People) -> Context:
    return context_of(house, people[Role.USER])


async def appended(context: Context, upload: Upload, start: int, end: int, content: bytes = CONTENT) -> int:
    """Where the upload goes on once it was sent a part of the content."""
    found = await appending.append(
        context, upload.id, start, streamed(content[start:end], step=70 if len(content) < 10_000 else 65_536)
    )
    return found.offset


async def test_a_stretch_is_cut_where_chunks_are(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)

    assert 1_300 == await appended(sender, upload, 0, 1_300)
    first, half = CONTENT[:1_000], CONTENT[1_000:1_300]
    assert [f"000000-{sha256(first)}", f"000001-{sha256(half)}"] == pieces_on_disk(sender.services.files, upload.id)

    # The chunk grows: its longer beginning takes the place of the shorter one.
    assert 1_301 == await appended(sender, upload, 1_300, 1_301)
    longer = CONTENT[1_000:1_301]
    assert [f"000000-{sha256(first)}", f"000001-{sha256(longer)}"] == pieces_on_disk(sender.services.files, upload.id)

    assert 2_500 == await appended(sender, upload, 1_301, 2_500)
    done = await finalized(sender, upload.id, 3)
    assert sha256(CONTENT) == done.sha256


async def test_what_is_there_in_part_is_not_finalized(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 2_499)

    with pytest.raises(Conflict, match="1 chunk is still missing: 2"):
        await finalized(sender, upload.id)


async def test_a_late_writer_takes_nothing_from_who_was_quicker(sender: Context) -> None:
    """Two connections of one client: the first seems dead, the second goes on, then the first wakes up."""
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 1_300)
    woken, waiting = asyncio.Event(), asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        yield CONTENT[1_300:1_400]
        waiting.set()
        await woken.wait()
        yield CONTENT[1_400:1_600]

    first = asyncio.create_task(appending.append(sender, upload.id, 1_300, late()))
    async with asyncio.timeout(10):
        await waiting.wait()
    # The very same bytes, so that the late one's file has the same name.
    await appended(sender, upload, 1_300, 1_500)
    await appended(sender, upload, 1_500, 1_600)
    woken.set()
    with pytest.raises(Conflict):
        await first

    assert 1_600 == (await appending.reached(sender, upload.id)).offset
    await appended(sender, upload, 1_600, 2_500)
    assert sha256(CONTENT) == (await finalized(sender, upload.id)).sha256


async def test_a_checked_stretch_is_there_as_a_whole_or_not_at_all(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    right = Checksum("sha256", hashlib.sha256(CONTENT).digest())

    with pytest.raises(Mismatch):
        # As when the connection breaks.
        await appending.append(sender, upload.id, 0, streamed(CONTENT[:2_499]), checksum=right)
    assert 0 == (await appending.reached(sender, upload.id)).offset
    with pytest.raises(TooLarge):
        await appending.append(sender, upload.id, 0, streamed(CONTENT + b"!"), checksum=right)

    found = await appending.append(sender, upload.id, 0, streamed(CONTENT), checksum=right)
    assert (2_500, True) == (found.offset, found.unverified)
    assert [] == list((sender.services.files.root / ".spool").iterdir())


async def test_lost_bytes_take_the_offset_back_to_where_they_were(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 1_300)
    files = sender.services.files
    await files.drop_piece(upload.id, 1, sha256(CONTENT[1_000:1_300]))

    with pytest.raises(Conflict):
        await appended(sender, upload, 1_300, 1_400)

    assert 1_000 == (await appending.reached(sender, upload.id)).offset
    assert 2_500 == await appended(sender, upload, 1_000, 2_500)


async def test_a_look_for_lost_bytes_spares_a_chunk_that_has_grown(sender: Context) -> None:
    """The janitor reads what is on record, and looks at the disk a moment later."""
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 300)
    async with sender.services.database.system() as tx:
        seen = await rows.chunks_of(tx, upload.id)
    await appended(sender, upload, 300, 400)
    assert not sender.services.files.has_piece(upload.id, 0, seen[0].sha256, 300)

    async with sender.services.database.system() as tx:
        await rows.lose_chunks(tx, upload.id, seen)

    assert 400 == (await appending.reached(sender, upload.id)).offset
    swept = await sweeps.reconcile(sender.services.database, sender.services.files, now=4e9)
    assert (0, 0, 0) == (swept.struck, swept.discarded, swept.expired)


async def test_an_offset_without_its_bytes_would_be_noticed(sender: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a record that is made without the file is found out, by the next stretch and by the janitor."""
    upload = await begun(sender, CONTENT, 1_000)

    async def unkept(*args: object) -> None:
        pass

    with monkeypatch.context() as patched:
        patched.setattr(Files, "keep_piece", unkept)
        assert 1_300 == await appended(sender, upload, 0, 1_300)
    with pytest.raises(Conflict):
        await appended(sender, upload, 1_300, 1_400)
    swept = await sweeps.reconcile(sender.services.database, sender.services.files, now=4e9)

    assert 1 == swept.struck
    assert 0 == (await appending.reached(sender, upload.id)).offset


async def test_what_is_given_up_takes_nothing_that_is_still_on_its_way(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 300)

    async def given_up() -> AsyncIterator[bytes]:
        yield CONTENT[300:400]
        await appending.terminate(sender, upload.id)

    with pytest.raises(NotFound):
        await appending.append(sender, upload.id, 300, given_up())

    assert [] == pieces_on_disk(sender.services.files, upload.id)


async def test_a_chunk_comes_whole_where_its_beginning_is(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 300)

    with pytest.raises(Conflict):
        await uploads.receive(sender, upload.id, 0, streamed(bytes(1_000)))
    grown = await uploads.receive(sender, upload.id, 0, streamed(CONTENT[:1_000]))

    assert 1_000 == grown.received_bytes
    assert [f"000000-{sha256(CONTENT[:1_000])}"] == pieces_on_disk(sender.services.files, upload.id)


async def test_maintenance_takes_no_bytes(sender: Context, people: People) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    admin = context_of(sender.services, people[Role.ADMIN])
    await act(admin, "system.maintenance", enable=True)

    with pytest.raises(Maintenance):
        await appended(sender, upload, 0, 100)


async def test_a_completed_upload_can_be_given_up_to_have_its_room_back(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1_000)
    await appended(sender, upload, 0, 2_500)
    await finalized(sender, upload.id)

    await appending.terminate(sender, upload.id)

    with pytest.raises(NotFound):
        await appending.reached(sender, upload.id)
    async with sender.services.database.system() as tx:
        row = await rows.by_id(tx, upload.id)
        assert 0 == await rows.held_bytes(tx, sender.caller.user_id)
    assert row is not None
    assert (UploadStatus.EXPIRED, None) == (row.status, row.path)
    with pytest.raises(NotFound):
        await appending.terminate(sender, upload.id)


async def test_on_a_full_disk_what_was_there_stays(sender: Context) -> None:
    content = video(500_000)
    upload = await begun(sender, content, 400_000)
    await appended(sender, upload, 0, 100_000, content)
    before = pieces_on_disk(sender.services.files, upload.id)

    with full_after(300_000), pytest.raises(Unavailable, match="the server's disk is full"):
        await appended(sender, upload, 100_000, 390_000, content)

    assert before == pieces_on_disk(sender.services.files, upload.id)
    assert 100_000 == (await appending.reached(sender, upload.id)).offset
    assert [] == list((sender.services.files.root / ".spool").iterdir())
    assert 500_000 == await appended(sender, upload, 100_000, 500_000, content)
