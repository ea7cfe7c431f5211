"""tus and plain PUT over a real server: a file goes on from where it stopped, whatever came between."""

import asyncio
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from db import uploads as rows
from db.models.identity import Role
from db.models.work import UploadStatus
from db.uploads import Upload
from guards.errors import Conflict
from resolvers import appending
from tests.agentos.transports.tus_client import CONTENT, PLACE, STRETCH, Tus, checksum
from tests.conftest import People
from tests.uploading import begun, context_of, sent, video
from tests.waiting import PATIENCE_S, eventually


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


async def test_an_upload_that_nobody_verified_is_verified_when_it_is_asked_for(tus: Tus, people: People) -> None:
    """As after a server that was killed between the last byte and the look at it."""
    sender = context_of(tus.services, people[Role.USER])
    upload = await sent(sender, await begun(sender, CONTENT, 1_000), CONTENT)
    assert UploadStatus.UPLOADING is upload.status

    assert len(CONTENT) == await tus.offset(f"{PLACE}/{upload.id}")
    assert UploadStatus.COMPLETED is (await tus.row(f"{PLACE}/{upload.id}")).status


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
        async with asyncio.timeout(PATIENCE_S):
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

    @hypothesis.settings(max_examples=6, database=None, derandomize=True)
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
