"""tus 1.0.0 over a real server: what the protocol demands."""

from email.utils import parsedate_to_datetime
from uuid import uuid4

import sqlalchemy as sa

from db import uploads as rows
from db.models.identity import Role
from db.models.work import UploadStatus
from resolvers import appending
from resolvers.uploads import LARGEST_FILE
from tests.agentos.transports.tus_client import CONTENT, PLACE, STRETCH, Tus, b64, checksum, upload_id
from tests.conftest import People
from tests.uploading import pieces_on_disk, sha256


async def test_a_file_is_created_sent_in_stretches_and_verified_with_its_last_byte(tus: Tus) -> None:
    metadata = f"filename {b64('../käse.mp4')},filetype {b64('video/mp4')},is_confidential"
    created = await tus.ask("POST", PLACE, upload_length=str(len(CONTENT)), upload_metadata=metadata)
    place = created.headers["location"]
    first = await tus.patch(place, 0, CONTENT[:4_321])
    between = await tus.ask("HEAD", place)
    last = await tus.patch(place, 4_321, CONTENT[4_321:])
    after = await tus.ask("HEAD", place)

    assert (201, 204, 200, 204, 200) == tuple(answer.status_code for answer in (created, first, between, last, after))
    assert ("4321", "4321", "10000", "10000") == tuple(
        answer.headers["upload-offset"] for answer in (first, between, last, after)
    )
    assert (str(len(CONTENT)), "no-store", f"filename {b64('käse.mp4')}") == (
        between.headers["upload-length"],
        between.headers["cache-control"],
        between.headers["upload-metadata"],
    )
    row = await tus.row(place)
    assert (UploadStatus.COMPLETED, "video/mp4", sha256(CONTENT)) == (row.status, row.media_type, row.sha256)
    assert CONTENT == await tus.content(place)
    assert [] == pieces_on_disk(tus.services.files, row.id)
    # When it goes is told as long as it goes at all.
    assert [True, True, True, False, False] == [
        "upload-expires" in answer.headers for answer in (created, first, between, last, after)
    ]
    expires = parsedate_to_datetime(first.headers["upload-expires"])
    assert 86_000 < (expires - parsedate_to_datetime(first.headers["date"])).total_seconds() <= 86_401


async def test_every_answer_says_which_version_is_spoken(tus: Tus) -> None:
    place = await tus.create()
    answers = [
        await tus.ask("POST", PLACE),
        await tus.ask("HEAD", place),
        await tus.ask("HEAD", f"{PLACE}/{uuid4()}"),
        await tus.ask("HEAD", place, authorization="Bearer nonsense"),
        await tus.ask("HEAD", place, authorization=""),
        await tus.ask("GET", place),
        await tus.ask("OPTIONS", PLACE, tus_resumable=""),
        await tus.patch(place, 1, b"x"),
        await tus.patch(place, 0, b"x", content_type="text/plain"),
        await tus.ask("DELETE", place),
        await tus.ask("DELETE", place, tus_resumable="0.2.2"),
    ]

    assert [400, 200, 404, 401, 401, 405, 204, 409, 415, 204, 412] == [answer.status_code for answer in answers]
    assert {"1.0.0"} == {answer.headers["tus-resumable"] for answer in answers}
    assert {"no-store"} == {answer.headers["cache-control"] for answer in answers}


async def test_another_version_is_told_which_and_nothing_is_done(tus: Tus) -> None:
    place = await tus.create()
    answers = []
    for version in ("", "0.2.2", "1.0", "2.0.0"):
        answers += [
            await tus.ask("POST", PLACE, upload_length="100", tus_resumable=version),
            await tus.ask("HEAD", place, tus_resumable=version),
            await tus.patch(place, 0, CONTENT, tus_resumable=version),
            await tus.ask("DELETE", place, tus_resumable=version),
        ]

    assert {(412, "1.0.0")} == {(answer.status_code, answer.headers["tus-version"]) for answer in answers}
    assert 0 == await tus.offset(place)


async def test_anybody_may_ask_what_is_spoken(tus: Tus) -> None:
    answers = [
        await tus.ask("OPTIONS", PLACE, tus_resumable=""),
        await tus.ask("OPTIONS", f"{PLACE}/{uuid4()}", authorization=""),
    ]

    for answer in answers:
        assert (204, "1.0.0", str(LARGEST_FILE), "sha1,sha256") == (
            answer.status_code,
            answer.headers["tus-version"],
            answer.headers["tus-max-size"],
            answer.headers["tus-checksum-algorithm"],
        )
        assert "creation,creation-with-upload,expiration,checksum,termination" == answer.headers["tus-extension"]


async def test_a_page_of_another_origin_may_speak_it(tus: Tus) -> None:
    asked = "authorization,tus-resumable,upload-length,upload-metadata,upload-offset,upload-checksum,content-type"
    for method in ("POST", "HEAD", "PATCH", "DELETE"):
        preflight = await tus.server.client.options(
            PLACE,
            headers={
                "origin": "https://pages.test",
                "access-control-request-method": method,
                "access-control-request-headers": asked,
            },
        )
        assert (200, "https://pages.test") == (preflight.status_code, preflight.headers["access-control-allow-origin"])
    created = await tus.ask("POST", PLACE, upload_length="100", origin="https://pages.test")

    shown = set(created.headers["access-control-expose-headers"].lower().split(", "))
    assert {"location", "upload-offset", "upload-length", "tus-resumable", "upload-expires", "tus-version"} <= shown


async def test_an_upload_may_bring_its_first_bytes_or_all_of_them(tus: Tus) -> None:
    size = str(len(CONTENT))
    some = await tus.ask("POST", PLACE, CONTENT[:1_000], upload_length=size, **STRETCH)
    whole = await tus.ask("POST", PLACE, CONTENT, upload_length=size, **STRETCH, **checksum(CONTENT))
    wrong = await tus.ask("POST", PLACE, CONTENT, upload_length=size, **STRETCH, **checksum(b"other"))
    no_stretch = await tus.ask("POST", PLACE, CONTENT, upload_length=size, content_type="video/mp4")

    assert [(201, "1000"), (201, "10000"), (460, "0")] == [
        (answer.status_code, answer.headers["upload-offset"]) for answer in (some, whole, wrong)
    ]
    assert 415 == no_stretch.status_code
    assert CONTENT == await tus.content(whole.headers["location"])
    assert 0 == await tus.offset(wrong.headers["location"])


async def test_a_right_checksum_lets_a_stretch_in(tus: Tus) -> None:
    place = await tus.create()
    for start, algorithm in zip(range(0, len(CONTENT), 5_000), appending.ALGORITHMS, strict=True):
        stretch = CONTENT[start : start + 5_000]
        assert 204 == (await tus.patch(place, start, stretch, **checksum(stretch, algorithm))).status_code

    assert CONTENT == await tus.content(place)


async def test_nothing_at_the_right_place_is_nothing(tus: Tus) -> None:
    place = await tus.create()
    answers = [await tus.patch(place, 0, b"")]
    await tus.patch(place, 0, CONTENT)
    answers.append(await tus.patch(place, len(CONTENT), b""))

    assert [(204, "0"), (204, "10000")] == [(answer.status_code, answer.headers["upload-offset"]) for answer in answers]


async def test_a_method_may_be_named_where_only_post_gets_through(tus: Tus) -> None:
    place = await tus.create()

    head = await tus.ask("POST", place, x_http_method_override="HEAD")
    patch = await tus.ask("POST", place, CONTENT[:100], x_http_method_override="PATCH", upload_offset="0", **STRETCH)
    delete = await tus.ask("POST", place, x_http_method_override="DELETE")

    assert [(200, "0"), (204, "100")] == [(a.status_code, a.headers["upload-offset"]) for a in (head, patch)]
    assert 204 == delete.status_code


async def test_what_is_given_up_is_gone_and_on_record(tus: Tus, people: People) -> None:
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:100])
    async with tus.services.database.transaction(people[Role.USER].tenant_id) as tx:
        held = await rows.held_bytes(tx, people[Role.USER].id)

    gone = await tus.ask("DELETE", place)
    after = [await tus.ask("HEAD", place), await tus.patch(place, 100, b"x"), await tus.ask("DELETE", place)]

    assert [204, 404, 404, 404] == [answer.status_code for answer in (gone, *after)]
    async with tus.services.database.transaction(people[Role.USER].tenant_id) as tx:
        assert (10_000, 0) == (held, await rows.held_bytes(tx, people[Role.USER].id))
    assert [] == pieces_on_disk(tus.services.files, upload_id(place))
    async with tus.services.database.system() as tx:
        trail = await tx.rows(
            sa.text("SELECT outcome, target FROM audit WHERE action = :action ORDER BY seq"),
            {"action": appending.TERMINATED},
        )
    assert [("done", str(upload_id(place))), ("refused", str(upload_id(place)))] == [tuple(row) for row in trail]


async def test_each_call_is_counted(tus: Tus) -> None:
    place = await tus.create()

    first, second = [await tus.ask("HEAD", place) for _ in range(2)]

    assert ['"upload.init";r=599;t=60', '"upload.init";r=598;t=60'] == [
        answer.headers["ratelimit"] for answer in (first, second)
    ]
