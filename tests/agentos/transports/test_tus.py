"""tus 1.0.0 and plain PUT over a real server: what the protocol demands, and what a client may rely on."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import hypothesis
import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import strategies as st

from agentos.app import assembled
from agentos.settings import Settings
from agentos.transports import tus as transport
from db import jobs
from db import uploads as rows
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import UploadStatus
from db.uploads import Upload
from guards.errors import Conflict
from guards.permissions import Permission
from resolvers import appending
from resolvers.context import Services
from resolvers.uploads import CHUNK, LARGEST_FILE
from schema.root import schema
from tests.agentos.conftest import TokenOf
from tests.conftest import People
from tests.serving import Served, served
from tests.uploading import begun, context_of, pieces_on_disk, sent, sha256, streamed, video
from tests.waiting import eventually

PLACE = "/files/uploads"
CONTENT = video(10_000)
STRETCH = {"content-type": "application/offset+octet-stream"}


def b64(content: bytes | str) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def checksum(content: bytes, algorithm: str = "sha256") -> dict[str, str]:
    return {"upload-checksum": f"{algorithm} {b64(hashlib.new(algorithm, content).digest())}"}


@dataclass
class Tus:
    """A client that says just what it is told to."""

    server: Served
    services: Services
    token: str

    async def ask(self, method: str, place: str, content: Any = None, **headers: str) -> httpx.Response:
        """A request of the protocol; a header that is empty is not sent."""
        said = {"tus-resumable": "1.0.0", "authorization": f"Bearer {self.token}"}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in said.items() if value}
        return await self.server.client.request(method, place, content=content, headers=kept)

    async def create(self, size: int = len(CONTENT), **headers: str) -> str:
        """Where a new upload is."""
        answer = await self.ask("POST", PLACE, upload_length=str(size), **headers)
        assert 201 == answer.status_code, answer.text
        return answer.headers["location"]

    async def patch(self, place: str, offset: int, content: Any, **headers: str) -> httpx.Response:
        """Bytes from an offset on."""
        return await self.ask("PATCH", place, content, **{"upload_offset": str(offset), **STRETCH, **headers})

    async def offset(self, place: str) -> int:
        """Where the upload goes on."""
        answer = await self.ask("HEAD", place)
        assert 200 == answer.status_code
        return int(answer.headers["upload-offset"])

    async def row(self, place: str) -> Upload:
        """The upload as it is on record."""
        async with self.services.database.system() as tx:
            found = await rows.by_id(tx, upload_id(place))
        assert found is not None
        return found

    async def content(self, place: str) -> bytes:
        """The finished file."""
        path = (await self.row(place)).path
        assert path is not None
        return self.services.files.resolve(path).read_bytes()


def upload_id(place: str) -> UUID:
    return UUID(place.rpartition("/")[2])


@pytest_asyncio.fixture
async def tus(settings: Settings, services: Services, people: People, token_of: TokenOf) -> AsyncIterator[Tus]:
    """A user of the real application, without its REST endpoints: they take a second to check."""
    settings = settings.model_copy(update={"cors_origins": ("https://pages.test",)})
    app = assembled(settings, services, schema, lambda identify, _: transport.routes(schema, identify))
    async with served(app) as server:
        yield Tus(server, services, token_of(people[Role.USER]))


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


async def test_an_upload_that_nobody_verified_is_verified_when_it_is_asked_for(tus: Tus, people: People) -> None:
    """As after a server that was killed between the last byte and the look at it."""
    sender = context_of(tus.services, people[Role.USER])
    upload = await sent(sender, await begun(sender, CONTENT, 1_000), CONTENT)
    assert UploadStatus.UPLOADING is upload.status

    assert len(CONTENT) == await tus.offset(f"{PLACE}/{upload.id}")
    assert UploadStatus.COMPLETED is (await tus.row(f"{PLACE}/{upload.id}")).status


async def test_an_upload_goes_on_whichever_way_it_was_begun(tus: Tus, people: People) -> None:
    sender = context_of(tus.services, people[Role.USER])
    upload = await sent(sender, await begun(sender, CONTENT, 1_000), CONTENT, 0, 1, 4)
    place = f"{PLACE}/{upload.id}"

    assert 2_000 == await tus.offset(place)
    assert 204 == (await tus.patch(place, 2_000, CONTENT[2_000:3_500])).status_code
    assert 3_500 == await tus.offset(place)
    # The beginning of a chunk is there: the whole chunk takes its place if it begins so, and not otherwise.
    with pytest.raises(Conflict):
        await sent(sender, upload, bytes(len(CONTENT)), 3)
    await sent(sender, upload, CONTENT, 3)
    # The fourth was there already.
    assert 5_000 == await tus.offset(place)
    assert 204 == (await tus.patch(place, 5_000, CONTENT[5_000:])).status_code
    assert CONTENT == await tus.content(place)


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


async def test_each_call_is_counted(tus: Tus) -> None:
    place = await tus.create()

    first, second = [await tus.ask("HEAD", place) for _ in range(2)]

    assert ['"upload.init";r=599;t=60', '"upload.init";r=598;t=60'] == [
        answer.headers["ratelimit"] for answer in (first, second)
    ]


async def test_of_four_who_send_the_same_at_once_one_does(tus: Tus) -> None:
    place = await tus.create()

    answers = await asyncio.gather(*(tus.patch(place, 0, CONTENT[:5_000]) for _ in range(4)))

    assert [204, 409, 409, 409] == sorted(answer.status_code for answer in answers)
    assert 5_000 == await tus.offset(place)
    await tus.patch(place, 5_000, CONTENT[5_000:])
    assert CONTENT == await tus.content(place)


async def test_without_a_look_under_the_lock_several_of_them_do(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the look at what is there, under the lock, that lets one through."""
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:100])
    ready = asyncio.Barrier(2)
    awaits = rows.awaits

    async def unlocked(*args: Any, **kwargs: Any) -> bool:
        return True

    async def together(tx: Any, chunk: Any, *, beginning: Any) -> Upload | None:
        async with asyncio.timeout(10):
            await ready.wait()
        return await weaker(tx, chunk, beginning=beginning)

    weaker = rows.grow_chunk
    monkeypatch.setattr(rows, "awaits", unlocked)
    monkeypatch.setattr(rows, "grow_chunk", together)
    answers = await asyncio.gather(tus.patch(place, 100, CONTENT[100:5_000]), tus.patch(place, 100, bytes(4_900)))
    monkeypatch.setattr(rows, "awaits", awaits)

    assert [204, 204] == [answer.status_code for answer in answers]
    # Twice counted, and once there.
    assert 9_900 == (await tus.row(place)).received_bytes


async def test_what_came_before_a_broken_connection_is_kept(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "CHUNK_BYTES", 1_000)
    place = await tus.create()
    _, writer = await asyncio.open_connection(tus.server.host, tus.server.port)
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {tus.token}\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Offset: 0\r\nContent-Type: {STRETCH['content-type']}\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    writer.write(head.encode() + CONTENT[:6_500])
    try:
        await writer.drain()
        await eventually(lambda: tus.offset(place), lambda offset: offset == 6_000)
    finally:
        writer.close()
        await writer.wait_closed()

    assert 6_500 == await eventually(lambda: tus.offset(place), lambda offset: offset > 6_000)
    assert 204 == (await tus.patch(place, 6_500, CONTENT[6_500:])).status_code
    assert CONTENT == await tus.content(place)


async def test_a_file_may_be_put_as_a_whole_and_again(tus: Tus) -> None:
    place = await tus.create()
    plain = {"tus_resumable": ""}

    first = await tus.ask("PUT", place, CONTENT, **plain)
    again = await tus.ask("PUT", place, CONTENT, **plain)
    other = await tus.ask("PUT", place, video(10_000, seed=1), **plain)

    assert [200, 200, 409] == [answer.status_code for answer in (first, again, other)]
    assert (first.json()["data"], "completed") == (again.json()["data"], again.json()["data"]["status"])
    assert CONTENT == await tus.content(place)


async def test_the_rest_of_a_file_may_be_put_where_it_stopped(tus: Tus) -> None:
    place = await tus.create()

    first = await tus.ask("PUT", place, CONTENT[:4_000], content_range="bytes 0-3999/10000")
    where = await tus.ask("PUT", place, content_range="bytes */10000")
    rest = await tus.ask("PUT", place, CONTENT[4_000:], content_range="bytes 4000-9999/10000")
    done = await tus.ask("PUT", place, content_range="bytes */10000")

    assert [308, 308, 200, 200] == [answer.status_code for answer in (first, where, rest, done)]
    assert {("bytes=0-3999", "4000")} == {(a.headers["range"], a.headers["upload-offset"]) for a in (first, where)}
    assert CONTENT == await tus.content(place)


async def test_a_file_that_is_put_from_its_beginning_goes_on_where_it_differs_in_nothing(tus: Tus) -> None:
    """As when a client has lost count; what is there is compared, not taken again, and other bytes are refused."""
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:4_000])
    before = await tus.row(place)

    other = await tus.ask("PUT", place, bytes(10_000))
    assert (409, before) == (other.status_code, await tus.row(place))
    short = await tus.ask("PUT", place, CONTENT[:1_000], content_range="bytes 0-999/10000")
    assert (308, "4000", before) == (short.status_code, short.headers["upload-offset"], await tus.row(place))

    assert 200 == (await tus.ask("PUT", place, CONTENT)).status_code
    assert CONTENT == await tus.content(place)


PARTS = (
    ("bytes 4001-9999/10000", 5_999, 416),
    ("bytes 3999-9999/10000", 6_001, 416),
    ("bytes 4000-9999/10001", 6_000, 400),
    ("bytes 4000-10000/10000", 6_001, 400),
    ("bytes 4000-9999/10000", 100, 400),
    ("bytes 9999-4000/10000", 6_000, 400),
    ("bytes=4000-9999/10000", 6_000, 400),
    ("nonsense", 6_000, 400),
    ("", 6_000, 400),
)


async def test_a_part_that_does_not_fit_is_not_taken(tus: Tus) -> None:
    place = await tus.create()
    await tus.patch(place, 0, CONTENT[:4_000])
    before = await tus.row(place)

    answers = [await tus.ask("PUT", place, bytes(size), content_range=part) for part, size, _ in PARTS]

    assert [status for *_, status in PARTS] == [answer.status_code for answer in answers]
    assert before == await tus.row(place)
    assert {("bytes=0-3999", "4000")} == {
        (answer.headers["range"], answer.headers["upload-offset"]) for answer in answers if answer.status_code == 416
    }


async def test_a_repeated_beginning_begins_nothing_new(tus: Tus) -> None:
    key = {"idempotency_key": "a" * 20}

    first = await tus.ask("POST", PLACE, CONTENT[:1_000], upload_length="10000", **STRETCH, **key)
    again = await tus.ask("POST", PLACE, CONTENT[:1_000], upload_length="10000", **STRETCH, **key)

    assert (201, 201) == (first.status_code, again.status_code)
    assert (first.headers["location"], "1000") == (again.headers["location"], again.headers["upload-offset"])


def _moves() -> list[list[tuple[str, int]]]:
    found: list[list[tuple[str, int]]] = []
    move = st.tuples(
        st.sampled_from(["send", "send", "checked", "corrupt", "behind", "ahead", "other", "put", "rest"]),
        st.integers(0, 40),
    )

    @hypothesis.settings(max_examples=6, database=None, derandomize=True, deadline=None)
    @hypothesis.given(st.lists(move, min_size=3, max_size=9))
    def draw(moves: list[tuple[str, int]]) -> None:
        found.append(moves)

    draw()
    return found[:6]


@pytest.mark.slow
async def test_an_upload_is_a_growing_bytearray(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is sent from wherever, it is the longest beginning of the file that came, or refuses."""
    content = video(97)
    monkeypatch.setattr(appending, "CHUNK_BYTES", 16)
    for moves in _moves():
        place, there = await tus.create(len(content)), 0
        for move, count in [*moves, ("put", 0)]:
            there = await _moved(tus, place, content, there, move, count)
            assert there == await tus.offset(place), (moves, move)
        assert content == await tus.content(place)


async def _moved(tus: Tus, place: str, content: bytes, there: int, move: str, count: int) -> int:
    """How far an upload should be after a move, which is answered as it should be."""
    part = content[there : there + count]
    expected, after = 204, there + len(part)
    match move:
        case "send":
            answer = await tus.patch(place, there, part)
        case "checked":
            answer = await tus.patch(place, there, part, **checksum(part, "sha1"))
        case "corrupt":
            answer = await tus.patch(place, there, part, **checksum(part + b"!"))
            expected, after = 460, there
        case "behind" | "ahead":
            wrong = there - count - 1 if move == "behind" else there + count + 1
            answer = await tus.patch(place, max(wrong, 0) if there else there + 1, part)
            expected, after = 409, there
        case "other" if there:
            answer = await tus.ask("PUT", place, bytes(len(content)))
            expected, after = 409, there
        case "rest" if there < len(content):
            said = f"bytes {there}-{len(content) - 1}/{len(content)}"
            answer = await tus.ask("PUT", place, content[there:], content_range=said)
            expected, after = 200, len(content)
        case _:
            answer = await tus.ask("PUT", place, content)
            expected, after = 200, len(content)
    assert expected == answer.status_code, (move, count, answer.text)
    return after
