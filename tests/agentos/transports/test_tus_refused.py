"""tus over a real server: what is refused, that it changes nothing, and that it is on record."""

from uuid import uuid4

import sqlalchemy as sa

from db import jobs
from db import uploads as rows
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import UploadStatus
from guards.permissions import Permission
from resolvers import appending
from resolvers.uploads import CHUNK, LARGEST_FILE
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.tus_client import CONTENT, PLACE, STRETCH, Tus, b64, checksum, upload_id
from tests.conftest import People
from tests.uploading import pieces_on_disk, sha256, streamed

REFUSED: tuple[tuple[str, dict[str, str], int], ...] = (
    ("0", {"content-type": "text/plain"}, 415),
    ("0", {"content-type": ""}, 415),
    ("", {}, 400),
    ("-1", {}, 400),
    ("0x0", {}, 400),
    ("1", {}, 409),
    ("9999", {}, 409),
    ("10001", {}, 409),
    ("0", checksum(b"other"), 460),
    ("0", checksum(b"other", "sha1"), 460),
    ("0", {"upload-checksum": "md5 " + b64(b"x")}, 400),
    ("0", {"upload-checksum": "sha256 not base64!"}, 400),
    ("0", {"upload-checksum": "sha256"}, 400),
)


async def test_a_refused_stretch_changes_nothing(tus: Tus) -> None:
    place = await tus.create()
    before = await tus.row(place)

    answers = [
        await tus.ask("PATCH", place, CONTENT[:500], **{"upload-offset": offset, **STRETCH, **headers})
        for offset, headers, _ in REFUSED
    ]

    assert [(status, False) for *_, status in REFUSED] == [
        (answer.status_code, answer.json()["success"]) for answer in answers
    ]
    assert before == await tus.row(place)
    assert [] == pieces_on_disk(tus.services.files, before.id) + list((tus.services.files.root / ".spool").iterdir())
    assert 204 == (await tus.patch(place, 0, CONTENT)).status_code
    assert CONTENT == await tus.content(place)


async def on_record(tus: Tus) -> list[tuple[str, str, str]]:
    """What was refused, as the trail has it."""
    async with tus.services.database.system() as tx:
        entries = await tx.rows(sa.text("SELECT action, outcome, code FROM audit WHERE outcome <> 'done' ORDER BY seq"))
    return [(action, outcome, code) for action, outcome, code in entries]


async def test_what_would_have_changed_something_is_on_record_once_when_it_is_refused(tus: Tus) -> None:
    place, nowhere = await tus.create(), f"{PLACE}/{uuid4()}"
    rest = {"content_range": "bytes 7-9/10000"}
    asked = [
        (await tus.ask("POST", PLACE, upload_length="x"), Permission.UPLOAD_INIT, "VALIDATION_ERROR"),
        (await tus.ask("POST", PLACE, upload_length=str(2 * LARGEST_FILE)), Permission.UPLOAD_INIT, "TOO_LARGE"),
        (await tus.patch(nowhere, 0, b"x"), CHUNK, "NOT_FOUND"),
        (await tus.patch(f"{PLACE}/x", 0, b"x"), CHUNK, "NOT_FOUND"),
        (await tus.patch(place, 7, b"x"), CHUNK, "CONFLICT"),
        (await tus.patch(place, 0, b"x", **checksum(b"y")), CHUNK, "CHECKSUM_MISMATCH"),
        (await tus.patch(place, 0, b"x", content_type="text/plain"), CHUNK, "UNSUPPORTED_MEDIA"),
        (await tus.ask("PUT", nowhere, b"x"), CHUNK, "NOT_FOUND"),
        (await tus.ask("PUT", place, b"xyz", **rest), CHUNK, "CONFLICT"),
        (await tus.ask("DELETE", nowhere), appending.TERMINATED, "NOT_FOUND"),
        (await tus.ask("DELETE", f"{PLACE}/x"), appending.TERMINATED, "NOT_FOUND"),
    ]
    looked = await tus.ask("HEAD", nowhere)

    assert [(action, "refused", code) for _, action, code in asked] == await on_record(tus)
    assert [400, 413, 404, 404, 409, 460, 415, 404, 416, 404, 404] == [answer.status_code for answer, *_ in asked]
    assert 404 == looked.status_code


async def test_a_wrong_offset_is_told_the_right_one(tus: Tus) -> None:
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:700])

    for offset in (0, 699, 701):
        answer = await tus.patch(place, offset, CONTENT[700:])
        assert (409, "700", "CONFLICT") == (
            answer.status_code,
            answer.headers["upload-offset"],
            answer.json()["error_code"],
        )
    assert 700 == await tus.offset(place)


async def test_more_than_the_file_has_is_refused(tus: Tus) -> None:
    """Whether it is announced or just goes on."""
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:9_000])

    content = CONTENT[9_000:] + b"more"
    answers = [await tus.patch(place, 9_000, sent) for sent in (content, streamed(content))]

    assert [(413, "TOO_LARGE")] * 2 == [(answer.status_code, answer.json()["error_code"]) for answer in answers]
    assert 9_000 == await tus.offset(place)


IMPOSSIBLE: tuple[tuple[dict[str, str], int], ...] = (
    ({}, 400),
    ({"upload-length": "0"}, 400),
    ({"upload-length": "-1"}, 400),
    ({"upload-length": "1e3"}, 400),
    ({"upload-length": "9" * 30}, 400),
    ({"upload-length": str(LARGEST_FILE + 1)}, 413),
    ({"upload-defer-length": "1"}, 400),
    ({"upload-length": "100", "upload-concat": "partial"}, 400),
    ({"upload-length": "100", "upload-metadata": "filename %%%"}, 400),
    ({"upload-length": "100", "upload-metadata": f"filename {b64(b'a')},filename {b64(b'b')}"}, 400),
    ({"upload-length": "100", "upload-metadata": "filename " + b64(bytes([255, 254]))}, 400),
    ({"upload-length": "100", "upload-metadata": "sha256 " + b64(b"no digest")}, 400),
)


async def test_what_cannot_be_an_upload_is_not_created(tus: Tus) -> None:
    answers = [await tus.ask("POST", PLACE, **headers) for headers, _ in IMPOSSIBLE]

    assert [status for _, status in IMPOSSIBLE] == [answer.status_code for answer in answers]
    assert {"VALIDATION_ERROR", "TOO_LARGE"} == {answer.json()["error_code"] for answer in answers}
    async with tus.services.database.system() as tx:
        assert 0 == await rows.how_many(tx, rows.Filter(), owner=None)


async def test_room_is_reserved_when_an_upload_is_created(tus: Tus) -> None:
    answers = [await tus.ask("POST", PLACE, upload_length=str(LARGEST_FILE)) for _ in range(21)]

    assert [201] * 20 + [409] == [answer.status_code for answer in answers]
    assert "QUOTA_EXCEEDED" == answers[-1].json()["error_code"]
    assert 204 == (await tus.ask("DELETE", answers[0].headers["location"])).status_code
    assert 201 == (await tus.ask("POST", PLACE, upload_length=str(LARGEST_FILE))).status_code


async def test_a_video_that_a_job_waits_for_is_not_given_up(tus: Tus, people: People) -> None:
    place = await tus.create()
    await tus.patch(place, 0, CONTENT)
    user = people[Role.USER]
    async with tus.services.database.transaction(user.tenant_id) as tx:
        job = await jobs.add(tx, NewJob(user_id=user.id, upload_id=upload_id(place), chain=("video-downloader",)))

    needed = await tus.ask("DELETE", place)
    async with tus.services.database.system() as tx:
        ended = sa.text("UPDATE jobs SET status = 'cancelled', completed_at = now() WHERE id = :id")
        await tx.execute(ended, {"id": job.id})
    not_needed = await tus.ask("DELETE", place)

    assert (409, 204) == (needed.status_code, not_needed.status_code)
    assert UploadStatus.EXPIRED is (await tus.row(place)).status


async def test_what_stood_still_too_long_is_gone(tus: Tus) -> None:
    place = await tus.create()
    async with tus.services.database.system() as tx:
        await tx.execute(sa.text("UPDATE uploads SET expires_at = now() - interval '1 second'"))

    answers = [await tus.ask("HEAD", place), await tus.patch(place, 0, CONTENT), await tus.ask("PUT", place, CONTENT)]

    assert [404] * 3 == [answer.status_code for answer in answers]


async def test_what_is_no_video_is_refused_with_its_last_byte(tus: Tus) -> None:
    content = b"%PDF-1.7" + bytes(992)
    place = await tus.create(len(content))
    half = await tus.patch(place, 0, content[:500])
    last = await tus.patch(place, 500, content[500:])
    again = await tus.ask("HEAD", place)

    assert (204, 415, "UNSUPPORTED_MEDIA", "1000") == (
        half.status_code,
        last.status_code,
        last.json()["error_code"],
        last.headers["upload-offset"],
    )
    assert "application/pdf" in last.json()["error"]
    # It is never said to be complete, and its room can be had back.
    assert (415, 204) == (again.status_code, (await tus.ask("DELETE", place)).status_code)


async def test_a_file_that_is_not_the_announced_one_is_refused(tus: Tus) -> None:
    place = await tus.create(upload_metadata=f"sha256 {b64(sha256(b'other'))}")

    answer = await tus.patch(place, 0, CONTENT)

    assert (422, "CHECKSUM_MISMATCH") == (answer.status_code, answer.json()["error_code"])
    assert UploadStatus.UPLOADING is (await tus.row(place)).status


async def test_others_find_nothing_there(tus: Tus, people: People, other_people: People, token_of: TokenOf) -> None:
    place = await tus.create()
    strangers = [
        *(people[role] for role in Role if role not in (Role.USER, Role.READONLY)),
        *(other_people[role] for role in Role if role is not Role.READONLY),
    ]
    for user in strangers:
        stranger = Tus(tus.server, tus.services, token_of(user))
        answers = [
            await stranger.ask("HEAD", place),
            await stranger.patch(place, 0, CONTENT),
            await stranger.ask("PUT", place, CONTENT),
            await stranger.ask("DELETE", place),
        ]
        assert [404] * 4 == [answer.status_code for answer in answers]
    reader = Tus(tus.server, tus.services, token_of(people[Role.READONLY]))
    forbidden = [
        await reader.ask("HEAD", place),
        await reader.patch(place, 0, CONTENT),
        await reader.ask("POST", PLACE, upload_length="100"),
    ]

    assert [403] * 3 == [answer.status_code for answer in forbidden]
    async with tus.services.database.system() as tx:
        denied = await tx.rows(sa.text("SELECT action FROM audit WHERE outcome = 'denied' ORDER BY seq"))
    assert ["upload.chunk", "upload.init"] == [action for (action,) in denied]
    assert 0 == await tus.offset(place)
