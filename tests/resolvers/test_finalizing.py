"""Finalizing an upload: what is kept is whole, verified and a video, however often and at once it is asked."""

import asyncio
from pathlib import Path

import pytest

from db.database import Database
from db.models.identity import Role
from db.models.work import UploadStatus
from db.redis import Redis
from db.uploads import Range
from guards.errors import BadInput, Conflict, Mismatch, Unavailable, Unsupported
from resolvers.context import Context, Services
from tests.conftest import People
from tests.uploading import (
    begun,
    context_of,
    finalized,
    fingerprint,
    full_after,
    sent,
    services_over,
    sha256,
    standing,
    uploaded,
    video,
)

CONTENT = video(2_500)


@pytest.fixture
def house(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest.fixture
def sender(house: Services, people: People) -> Context:
    return context_of(house, people[Role.USER])


async def test_finalizing_again_gives_the_same(sender: Context) -> None:
    done = await uploaded(sender, CONTENT)

    assert done == await finalized(sender, done.id, 3, sha256(CONTENT))


async def test_four_at_once_finalize_once(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT)

    done = await asyncio.gather(*(finalized(sender, upload.id) for _ in range(4)))

    assert 1 == len(set(done))
    assert UploadStatus.COMPLETED is done[0].status


async def test_on_a_full_disk_an_upload_is_not_finalized_and_keeps_its_chunks(sender: Context) -> None:
    content = video(900_000)
    upload = await sent(sender, await begun(sender, content, 200_000), content)
    before = await fingerprint(sender, upload.id)

    with full_after(300_000), pytest.raises(Unavailable, match="the server's disk is full"):
        await finalized(sender, upload.id)

    assert before == await fingerprint(sender, upload.id)
    assert UploadStatus.COMPLETED is (await finalized(sender, upload.id)).status


async def test_finalizing_names_what_is_missing_and_can_go_on(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 1)

    with pytest.raises(Conflict, match="2 chunks are still missing: 0, 2"):
        await finalized(sender, upload.id)

    await sent(sender, upload, CONTENT, 0, 2)
    assert UploadStatus.COMPLETED is (await finalized(sender, upload.id)).status


async def test_a_piece_gone_from_disk_is_asked_for_again(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT)
    await sender.services.files.drop_piece(upload.id, 1, sha256(CONTENT[1000:2000]))

    with pytest.raises(Conflict, match="1 chunk is still missing: 1"):
        await finalized(sender, upload.id)

    stands = await standing(sender, upload.id)
    assert stands is not None
    assert [Range(1000, 2000)] == stands.missing
    await sent(sender, upload, CONTENT, 1)
    assert UploadStatus.COMPLETED is (await finalized(sender, upload.id)).status


@pytest.mark.parametrize("told", ["at the beginning", "at the end"])
async def test_a_file_with_another_digest_is_not_taken(sender: Context, told: str) -> None:
    wrong = sha256(b"other")
    early, late = (wrong, None) if told == "at the beginning" else (None, wrong)
    upload = await sent(sender, await begun(sender, CONTENT, 1000, digest=early), CONTENT)
    before = await fingerprint(sender, upload.id)

    with pytest.raises(Mismatch):
        await finalized(sender, upload.id, 3, late)

    assert before == await fingerprint(sender, upload.id)


async def test_a_completed_upload_is_not_confirmed_with_another_digest(sender: Context) -> None:
    done = await uploaded(sender, CONTENT)

    with pytest.raises(Mismatch):
        await finalized(sender, done.id, 3, sha256(b"other"))


async def test_another_number_of_chunks_is_refused(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT)

    with pytest.raises(BadInput):
        await finalized(sender, upload.id, 4)


@pytest.mark.parametrize(
    ("content", "seems"),
    [(b"%PDF-1.7" + bytes(992), "application/pdf"), (b"#!/bin/sh\n" * 100, "text"), (bytes(1000), "empty space")],
)
async def test_what_is_no_video_is_refused_whatever_it_is_called(sender: Context, content: bytes, seems: str) -> None:
    upload = await sent(sender, await begun(sender, content, 600), content)
    before = await fingerprint(sender, upload.id)

    with pytest.raises(Unsupported, match=seems):
        await finalized(sender, upload.id)

    assert before == await fingerprint(sender, upload.id)
