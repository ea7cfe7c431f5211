"""Uploads end complete and verified, or can go on; never half, never somebody else's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from db import events
from db.database import Database
from db.events import START, Kind
from db.files import MB
from db.models.identity import Role
from db.models.work import UploadStatus
from db.pages import BadCursor, Order, Window
from db.redis import Redis
from db.uploads import Filter, Range
from db.users import User
from guards.errors import (
    BadInput,
    Conflict,
    Mismatch,
    NotFound,
    QuotaExceeded,
    Refusal,
    TooLarge,
    Unavailable,
)
from resolvers import uploads
from resolvers.context import Context, Services
from resolvers.queries import uploads as seen
from resolvers.uploads import LARGEST_CHUNK, LARGEST_FILE
from tests.uploading import (
    begun,
    context_of,
    finalized,
    fingerprint,
    full_after,
    opened,
    pieces_on_disk,
    sent,
    services_over,
    sha256,
    standing,
    streamed,
    uploaded,
    video,
)

People = dict[Role, User]
CONTENT = video(2_500)


@pytest.fixture
def house(database: Database, redis: Redis, tmp_path: Path) -> Services:
    return services_over(database, redis, tmp_path)


@pytest.fixture
def sender(house: Services, people: People) -> Context:
    return context_of(house, people[Role.USER])


async def test_chunks_in_any_order_make_a_verified_video(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1000, digest=sha256(CONTENT))
    assert (UploadStatus.INITIALIZED, 3, 4) == (upload.status, upload.chunk_count, upload.id.version)

    halfway = await sent(sender, upload, CONTENT, 2, 0)
    assert (UploadStatus.UPLOADING, 1500, 60) == (halfway.status, halfway.received_bytes, halfway.progress)

    await sent(sender, upload, CONTENT, 1)
    done = await finalized(sender, upload.id, 3)

    assert (UploadStatus.COMPLETED, 100, "video/mp4") == (done.status, done.progress, done.media_type)
    assert (sha256(CONTENT), "holiday.mp4") == (done.sha256, done.filename)
    assert done.path is not None
    assert CONTENT == sender.services.files.resolve(done.path).read_bytes()
    assert [] == pieces_on_disk(sender.services.files, upload.id)


async def test_each_step_is_told_to_who_listens(sender: Context) -> None:
    upload = await uploaded(sender, CONTENT)

    async with sender.services.database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.UPLOAD_CHANGED]
    assert [0, 1000, 2000, 2500, 2500] == [event.payload["received_bytes"] for event in told]
    assert ["initialized", "uploading", "uploading", "uploading", "completed"] == [e.payload["status"] for e in told]
    assert {(str(upload.id), upload.user_id)} == {(event.entity_id, event.owner_id) for event in told}


async def test_the_same_chunk_again_changes_nothing(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0)
    before = await fingerprint(sender, upload.id)

    assert upload == await sent(sender, upload, CONTENT, 0)
    assert before == await fingerprint(sender, upload.id)

    done = await finalized(sender, (await sent(sender, upload, CONTENT, 1, 2)).id)
    assert done == await sent(sender, upload, CONTENT, 2)


async def test_other_bytes_at_a_written_place_are_refused_and_change_nothing(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 0)
    before = await fingerprint(sender, upload.id)

    with pytest.raises(Conflict):
        await uploads.receive(sender, upload.id, 0, streamed(bytes(1000)))

    assert before == await fingerprint(sender, upload.id)


@pytest.mark.parametrize(
    ("index", "content", "digest", "refusal"),
    [
        (0, CONTENT[:999], None, BadInput),
        (0, CONTENT[:1001], None, BadInput),
        (0, b"", None, BadInput),
        (2, CONTENT[2000:] + b"x", None, BadInput),
        (0, CONTENT[:1000], sha256(b"other"), Mismatch),
        (0, CONTENT[:1000], "no digest", BadInput),
        (3, CONTENT[:1000], None, BadInput),
        (-1, CONTENT[:1000], None, BadInput),
        (2**40, CONTENT[:1000], None, BadInput),
        (0, bytes(LARGEST_CHUNK + 1), None, TooLarge),
    ],
)
async def test_a_chunk_that_does_not_fit_is_thrown_away(
    sender: Context, index: int, content: bytes, digest: str | None, refusal: type[Refusal]
) -> None:
    upload = await sent(sender, await begun(sender, CONTENT, 1000), CONTENT, 1)
    before = await fingerprint(sender, upload.id)

    with pytest.raises(refusal):
        await uploads.receive(sender, upload.id, index, streamed(content), digest)

    assert before == await fingerprint(sender, upload.id)
    assert [] == list((sender.services.files.root / ".spool").iterdir())


async def test_a_chunk_that_breaks_off_leaves_nothing_and_can_come_again(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1000)
    before = await fingerprint(sender, upload.id)

    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[:500]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await uploads.receive(sender, upload.id, 0, broken())

    assert before == await fingerprint(sender, upload.id)
    assert 1000 == (await sent(sender, upload, CONTENT, 0)).received_bytes


async def test_on_a_full_disk_a_chunk_is_refused_and_nothing_of_it_stays(sender: Context) -> None:
    content = video(900_000)
    upload = await begun(sender, content, len(content))
    before = await fingerprint(sender, upload.id)

    with full_after(300_000), pytest.raises(Unavailable, match="the server's disk is full") as refusal:
        await sent(sender, upload, content)

    assert 60 == refusal.value.retry_after
    assert before == await fingerprint(sender, upload.id)
    assert [] == [path for path in sender.services.files.root.rglob("*") if path.is_file()]
    assert 100 == (await sent(sender, upload, content)).progress


async def test_of_four_equal_chunks_at_once_one_is_counted(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1000)

    answers = await asyncio.gather(*(sent(sender, upload, CONTENT, 0) for _ in range(4)))

    assert {1000} == {answer.received_bytes for answer in answers}
    assert 1 == len(pieces_on_disk(sender.services.files, upload.id))


async def test_of_four_different_chunks_at_once_one_wins_whole(sender: Context) -> None:
    upload = await begun(sender, CONTENT, 1000)
    rivals = [bytes([n]) * 1000 for n in range(4)]

    answers = await asyncio.gather(
        *(uploads.receive(sender, upload.id, 0, streamed(rival)) for rival in rivals), return_exceptions=True
    )

    assert 3 == sum(isinstance(answer, Conflict) for answer in answers)
    [winner] = [rival for rival, answer in zip(rivals, answers, strict=True) if not isinstance(answer, Exception)]
    assert [f"000000-{sha256(winner)}"] == pieces_on_disk(sender.services.files, upload.id)


@pytest.mark.parametrize(
    ("size", "chunk", "digest", "refusal"),
    [
        (0, 100, None, BadInput),
        (-1, 100, None, BadInput),
        (LARGEST_FILE + 1, None, None, TooLarge),
        (100, 0, None, BadInput),
        (100, LARGEST_CHUNK + 1, None, TooLarge),
        (10_001, 1, None, BadInput),
        (100, 100, "g" * 64, BadInput),
        (100, 100, "a" * 63, BadInput),
    ],
)
async def test_impossible_uploads_are_not_begun(
    sender: Context, size: int, chunk: int | None, digest: str | None, refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        await opened(sender, "a.mp4", size, chunk, digest)

    assert 0 == await seen.how_many(sender, Filter())


async def test_the_largest_file_is_taken_in_the_largest_chunks(sender: Context) -> None:
    upload = await opened(sender, "a.mp4", LARGEST_FILE, digest="A" * 64)

    assert (LARGEST_CHUNK, 13, "a" * 64) == (upload.chunk_bytes, upload.chunk_count, upload.sha256)
    assert 4 * MB == upload.length_of(12)


async def test_ten_at_once_do_not_get_past_the_quota(
    database: Database, redis: Redis, people: People, tmp_path: Path
) -> None:
    house = services_over(database, redis, tmp_path, quota_bytes=5_000)
    contexts = [context_of(house, people[Role.USER]) for _ in range(10)]

    answers = await asyncio.gather(*(opened(context, "a.mp4", 1_000) for context in contexts), return_exceptions=True)

    assert 5 == sum(isinstance(answer, QuotaExceeded) for answer in answers)
    assert 5 == await seen.how_many(contexts[0], Filter())
    assert 1_000 == (await opened(context_of(house, people[Role.OPERATOR]), "a.mp4", 1_000)).size_bytes


async def test_a_foreign_upload_looks_missing_to_who_sends(
    house: Services, people: People, other_people: People
) -> None:
    """To every role, in the same tenant and in another, in the same words as one that never was."""
    owner = context_of(house, people[Role.USER])
    upload = await sent(owner, await begun(owner, CONTENT, 1000), CONTENT)
    before = await fingerprint(owner, upload.id)

    strangers = [user for user in (*people.values(), *other_people.values()) if user.id != upload.user_id]
    assert 9 == len(strangers)
    for context in (context_of(house, user) for user in strangers):
        refusals = set()
        for upload_id in (upload.id, uuid4()):
            with pytest.raises(NotFound) as received:
                await uploads.receive(context, upload_id, 0, streamed(CONTENT[:1000]))
            with pytest.raises(NotFound) as ended:
                await finalized(context, upload_id)
            refusals |= {str(refusal.value).replace(str(upload_id), "ID") for refusal in (received, ended)}
        assert {"there is no upload ID"} == refusals

    assert before == await fingerprint(owner, upload.id)


async def test_a_user_reads_their_own_and_other_roles_their_tenants(
    house: Services, people: People, other_people: People
) -> None:
    await begun(context_of(house, people[Role.OPERATOR]), CONTENT, 1000)
    upload = await begun(context_of(house, people[Role.ADMIN]), CONTENT, 1000)

    for role in Role:
        context, outside = context_of(house, people[role]), context_of(house, other_people[role])
        expected = 0 if role is Role.USER else 2
        listed = await seen.listed(context, Filter(), Order("created_at"), Window())
        assert (expected, expected) == (len(listed.items), await seen.how_many(context, Filter()))
        assert 0 == await seen.how_many(outside, Filter())
        for stranger in [outside, *([context] if role is Role.USER else [])]:
            assert await standing(stranger, upload.id) is None
        if role is not Role.USER:
            stands = await standing(context, upload.id)
            assert stands is not None
            assert upload == stands.upload


async def test_the_status_tells_what_is_there_and_what_is_not(sender: Context) -> None:
    upload = await sent(sender, await begun(sender, video(5_500), 1000), video(5_500), 1, 2, 4)

    progress = await standing(sender, upload.id)

    assert progress is not None
    assert [Range(1000, 3000), Range(4000, 5000)] == progress.received
    assert [Range(0, 1000), Range(3000, 4000), Range(5000, 5500)] == progress.missing


async def test_a_cursor_of_another_list_is_refused(sender: Context) -> None:
    with pytest.raises(BadCursor):
        await seen.listed(sender, Filter(), Order("created_at"), Window(cursor="nonsense"))


@pytest.mark.parametrize(
    ("sent_name", "expected"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\holiday.mp4", "holiday.mp4"),
        ("a\0b\r\n.mp4", "ab.mp4"),
        ("\u202egpj.4pm\u202c.exe", "gpj.4pm.exe"),
        ("\ud800bad.mp4", "bad.mp4"),
        ("CON", "_CON"),
        ("nul.mp4", "_nul.mp4"),
        ("con  cert.mp4", "con cert.mp4"),
        ("", "upload"),
        ("..", "upload"),
        ("/", "upload"),
        (" . ", "upload"),
        ("e\u0301te\u0301.mp4", "été.mp4"),
        ("x" * 1_000 + ".mp4", "x" * 251 + ".mp4"),
        ("x" * 1_000, "x" * 255),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),
    ],
)
def test_a_name_is_shown_without_tricks(sent_name: str, expected: str) -> None:
    assert expected == uploads.plain_name(sent_name)
