"""Files and rows come back into agreement, from both sides, and nothing that is in use is touched."""

import os
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import jobs, sweeps, uploads
from db.database import Database
from db.files import FileKind, Files
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import UploadStatus, clips
from db.models.work import uploads as table
from db.redis import Redis
from db.sweeps import Swept
from db.users import User
from resolvers.context import Context
from tests.uploading import begun, context_of, pieces_on_disk, sent, services_over, uploaded, video

People = dict[Role, User]
CONTENT = video(2_500)
NOTHING = Swept(outdated=0, expired=0, discarded=0, struck=0, lost=0, orphans=0, leftovers=0)


@pytest.fixture
def sender(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    return context_of(services_over(database, redis, tmp_path), people[Role.USER])


async def swept(context: Context, *, later_s: float = 0) -> Swept:
    return await sweeps.reconcile(context.services.database, context.services.files, now=time.time() + later_s)


async def row_of(context: Context, upload_id: UUID) -> uploads.Upload:
    async with context.services.database.system() as tx:
        upload = await uploads.by_id(tx, upload_id)
    assert upload is not None
    return upload


async def made(files: Files, content: bytes, kind: FileKind = FileKind.CLIPS) -> str:
    place = files.root / "made.mp4"
    place.write_bytes(content)
    path = (await files.adopt(place, "default", kind)).path
    place.unlink()
    return path


async def test_what_is_in_order_is_left_alone(sender: Context) -> None:
    done = await uploaded(sender, CONTENT)
    going_on = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0, 2)
    before = await row_of(sender, done.id), await row_of(sender, going_on.id)

    assert [NOTHING, NOTHING] == [await swept(sender), await swept(sender, later_s=7_200)]

    assert before == (await row_of(sender, done.id), await row_of(sender, going_on.id))
    assert done.path is not None
    assert CONTENT == sender.services.files.resolve(done.path).read_bytes()
    assert 2 == len(pieces_on_disk(sender.services.files, going_on.id))


async def test_a_stale_upload_ends_and_its_pieces_go(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0)
    async with sender.services.database.system() as tx:
        await tx.execute(sa.update(table).values(expires_at=sa.text("now() - interval '1 second'")))

    report = await swept(sender)

    assert (1, 1) == (report.expired, report.discarded)
    assert UploadStatus.EXPIRED is (await row_of(sender, upload.id)).status
    assert [] == await sender.services.files.uploads_on_disk()
    assert NOTHING == await swept(sender)


async def test_pieces_of_no_upload_go(sender: Context) -> None:
    (sender.services.files.root / ".partial" / str(uuid4())).mkdir()

    assert 1 == (await swept(sender)).discarded
    assert [] == await sender.services.files.uploads_on_disk()


async def test_a_chunk_without_its_bytes_is_asked_for_again(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT)
    files = sender.services.files
    pieces = pieces_on_disk(files, upload.id)
    os.truncate(files.root / ".partial" / str(upload.id) / pieces[0], 10)
    (files.root / ".partial" / str(upload.id) / pieces[2]).unlink()

    assert 2 == (await swept(sender)).struck

    assert 1000 == (await row_of(sender, upload.id)).received_bytes
    assert 2500 == (await sent(sender, upload, CONTENT, 0, 2)).received_bytes


async def test_a_completed_upload_without_its_file_ends(sender: Context) -> None:
    kept, gone = await uploaded(sender, CONTENT), await uploaded(sender, video(2_500, seed=1))
    assert gone.path is not None
    sender.services.files.resolve(gone.path).unlink()

    assert 1 == (await swept(sender)).lost

    assert (UploadStatus.EXPIRED, None) == ((row := await row_of(sender, gone.id)).status, row.path)
    assert kept == await row_of(sender, kept.id)


async def test_an_empty_store_ends_nothing(sender: Context) -> None:
    """It looks like a volume that is not mounted."""
    done = await uploaded(sender, CONTENT)
    assert done.path is not None
    sender.services.files.resolve(done.path).unlink()

    assert NOTHING == await swept(sender)
    assert done == await row_of(sender, done.id)


async def test_a_file_of_nobody_goes_after_an_hour(sender: Context) -> None:
    files = sender.services.files
    path = await made(files, b"orphan")

    assert 0 == (await swept(sender, later_s=3_500)).orphans
    assert 1 == (await swept(sender, later_s=3_700)).orphans
    assert not files.resolve(path).exists()


async def test_a_file_that_any_row_names_stays(sender: Context) -> None:
    files, database = sender.services.files, sender.services.database
    done = await uploaded(sender, CONTENT)
    clip, thumbnail = await made(files, b"clip"), await made(files, b"thumb", FileKind.THUMBNAILS)
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=None, upload_id=done.id, chain=["clipper"]))
        await tx.execute(
            sa.insert(clips).values(
                tenant_id="default",
                job_id=job.id,
                ordinal=1,
                title="",
                path=clip,
                thumbnail_path=thumbnail,
                start_s=0,
                end_s=1,
                duration_s=1,
                width=1,
                height=1,
                size_bytes=4,
                sha256="",
                score=1,
            )
        )

    assert NOTHING == await swept(sender, later_s=7_200)
    assert all(files.resolve(path).exists() for path in (clip, thumbnail))


async def test_what_a_crashed_writer_left_goes_after_an_hour(sender: Context) -> None:
    half = sender.services.files.root / ".spool/half"
    half.write_bytes(b"c")

    assert 0 == (await swept(sender)).leftovers
    assert 1 == (await swept(sender, later_s=7_200)).leftovers
    assert not half.exists()
