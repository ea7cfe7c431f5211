"""The rows of uploads: quotas that hold, chunks that count once, ranges, expiry."""

import asyncio
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from db import events, uploads
from db.database import Database, Transaction
from db.events import START, Kind
from db.models.identity import Role
from db.models.work import UploadStatus
from db.models.work import uploads as table
from db.pages import Order, Window
from db.uploads import Chunk, Filter, NewUpload, Range, Upload
from db.users import User

People = dict[Role, User]
ROOMY = 10**12


def new(user: User, *, size: int = 2_500, chunk: int = 1_000) -> NewUpload:
    return NewUpload(id=uuid4(), user_id=user.id, filename="a.mp4", size_bytes=size, chunk_bytes=chunk)


def chunk_of(upload: Upload, index: int, digit: str = "a") -> Chunk:
    return Chunk(upload.id, index, index * upload.chunk_bytes, upload.length_of(index), digit * 64)


@pytest.fixture
def user(people: People) -> User:
    return people[Role.USER]


async def begun(database: Database, user: User, *, size: int = 2_500) -> Upload:
    async with database.transaction(user.tenant_id) as tx:
        upload = await uploads.add(tx, new(user, size=size), quota_bytes=ROOMY)
    assert upload is not None
    return upload


async def aged(database: Database, upload_id: UUID) -> None:
    """Let an upload have stood still for too long."""
    async with database.system() as tx:
        await tx.execute(
            sa.update(table).where(table.c.id == upload_id).values(expires_at=sa.text("now() - interval '1 second'"))
        )


async def test_ten_reservations_at_once_stay_within_the_quota(roomy: Database, user: User) -> None:
    async def reserve() -> Upload | None:
        async with roomy.transaction(user.tenant_id) as tx:
            return await uploads.add(tx, new(user, size=1_000), quota_bytes=4_500)

    admitted = [upload for upload in await asyncio.gather(*(reserve() for _ in range(10))) if upload]

    async with roomy.transaction(user.tenant_id) as tx:
        assert (4, 4_000) == (len(admitted), await uploads.held_bytes(tx, user.id))


async def test_without_the_lock_the_same_ten_get_past_it(
    roomy: Database, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it is the lock that holds the quota, and the test above would notice without it."""
    ready = asyncio.Barrier(10)
    execute = Transaction.execute

    async def unheld(tx: Transaction, name: str) -> None:
        pass

    async def together(tx: Transaction, statement: sa.Executable, *rest: object) -> sa.CursorResult[tuple[object, ...]]:
        answer = await execute(tx, statement)
        if str(statement).startswith("INSERT INTO uploads"):
            async with asyncio.timeout(60):
                await ready.wait()
        return answer

    async def reserve() -> Upload | None:
        async with roomy.transaction(user.tenant_id) as tx:
            return await uploads.add(tx, new(user, size=1_000), quota_bytes=4_500)

    monkeypatch.setattr(Transaction, "hold", unheld)
    monkeypatch.setattr(Transaction, "execute", together)
    admitted = [upload for upload in await asyncio.gather(*(reserve() for _ in range(10))) if upload]

    assert 10 == len(admitted)


async def test_what_has_ended_is_not_held(database: Database, user: User) -> None:
    ended = await begun(database, user, size=1_000)
    await aged(database, ended.id)

    async with database.transaction(user.tenant_id) as tx:
        assert await uploads.add(tx, new(user, size=4_500), quota_bytes=4_500) is not None
        assert await uploads.add(tx, new(user, size=1), quota_bytes=4_500) is None


async def test_a_quota_is_each_users_own(database: Database, people: People) -> None:
    for user in (people[Role.USER], people[Role.ADMIN]):
        async with database.transaction(user.tenant_id) as tx:
            assert await uploads.add(tx, new(user, size=1_000), quota_bytes=1_000) is not None


async def test_a_chunk_counts_once(roomy: Database, user: User) -> None:
    upload = await begun(roomy, user)

    async def send(digit: str) -> Upload | None:
        async with roomy.transaction(user.tenant_id) as tx:
            return await uploads.add_chunk(tx, chunk_of(upload, 0, digit))

    counted = [answer for answer in await asyncio.gather(*map(send, "abcd")) if answer]

    assert [1_000] == [answer.received_bytes for answer in counted]
    async with roomy.transaction(user.tenant_id) as tx:
        assert 1 == len(await uploads.chunks_of(tx, upload.id))
        assert 1_000 == (await uploads.by_id(tx, upload.id) or upload).received_bytes


async def test_each_chunk_puts_the_end_off(database: Database, user: User) -> None:
    upload = await begun(database, user)

    async with database.transaction(user.tenant_id) as tx:
        later = await uploads.add_chunk(tx, chunk_of(upload, 0))

    assert later is not None
    assert upload.expires_at < later.expires_at


async def test_nothing_is_added_to_what_has_ended(database: Database, user: User) -> None:
    upload = await begun(database, user)
    await aged(database, upload.id)

    async with database.transaction(user.tenant_id) as tx:
        assert await uploads.add_chunk(tx, chunk_of(upload, 0)) is None
        assert [] == await uploads.chunks_of(tx, upload.id)


async def test_another_tenant_can_neither_see_nor_add(database: Database, user: User, other_people: People) -> None:
    upload = await begun(database, user)

    async with database.transaction(other_people[Role.ADMIN].tenant_id) as tx:
        assert await uploads.by_id(tx, upload.id) is None
        assert await uploads.add_chunk(tx, chunk_of(upload, 0)) is None
        await uploads.lose_chunks(tx, upload.id, [chunk_of(upload, 0)])
        assert await uploads.mark_completed(tx, upload.id, path="p", sha256="a" * 64, media_type="video/mp4") is None
        assert 0 == await uploads.how_many(tx, Filter(), owner=None)


async def test_only_a_whole_upload_is_completed(database: Database, user: User) -> None:
    upload = await begun(database, user)
    done = {"path": "p", "sha256": "b" * 64, "media_type": "video/mp4"}

    async with database.transaction(user.tenant_id) as tx:
        for index in (0, 1):
            await uploads.add_chunk(tx, chunk_of(upload, index))
        assert await uploads.mark_completed(tx, upload.id, **done) is None
        await uploads.add_chunk(tx, chunk_of(upload, 2))
        completed = await uploads.mark_completed(tx, upload.id, **done)
        again = await uploads.mark_completed(tx, upload.id, **done)

    assert completed is not None
    assert (UploadStatus.COMPLETED, "p", "b" * 64, 100) == (
        completed.status,
        completed.path,
        completed.sha256,
        completed.progress,
    )
    assert again is None


def beginning(upload: Upload, length: int, digit: str) -> Chunk:
    return Chunk(upload.id, 1, 1_000, length, digit * 64)


async def test_a_chunk_grows_from_the_beginning_that_is_there_and_no_other(database: Database, user: User) -> None:
    upload = await begun(database, user)
    short, long, other = beginning(upload, 10, "a"), beginning(upload, 30, "b"), beginning(upload, 40, "c")

    async with database.transaction(user.tenant_id) as tx:
        assert await uploads.grow_chunk(tx, long, beginning=short) is None
        await uploads.add_chunk(tx, short)
        assert await uploads.grow_chunk(tx, other, beginning=long) is None
        grown = await uploads.grow_chunk(tx, long, beginning=short)
        assert await uploads.grow_chunk(tx, other, beginning=short) is None

    assert grown is not None
    async with database.transaction(user.tenant_id) as tx:
        assert [long] == await uploads.chunks_of(tx, upload.id)
        assert 30 == grown.received_bytes == (await uploads.by_id(tx, upload.id) or upload).received_bytes


async def test_of_four_who_grow_a_chunk_at_once_one_does(roomy: Database, user: User) -> None:
    upload = await begun(roomy, user)
    short = beginning(upload, 10, "a")
    async with roomy.transaction(user.tenant_id) as tx:
        await uploads.add_chunk(tx, short)

    async def grow(digit: str) -> Upload | None:
        async with roomy.transaction(user.tenant_id) as tx:
            return await uploads.grow_chunk(tx, beginning(upload, 30, digit), beginning=short)

    grown = [answer for answer in await asyncio.gather(*map(grow, "bcde")) if answer]

    assert [30] == [answer.received_bytes for answer in grown]


async def test_how_far_an_upload_has_come_ends_at_the_first_gap(database: Database, user: User) -> None:
    upload = await begun(database, user)
    part = Chunk(upload.id, 0, 0, 400, "a" * 64)

    assert 0 == uploads.reached([])
    assert 0 == uploads.reached([chunk_of(upload, 1)])
    assert 400 == uploads.reached([part, chunk_of(upload, 1)])
    assert upload.size_bytes == uploads.reached([chunk_of(upload, index) for index in range(3)])


async def test_only_its_owner_ends_an_upload(database: Database, people: People, other_people: People) -> None:
    user = people[Role.USER]
    upload = await begun(database, user)
    async with database.transaction(user.tenant_id) as tx:
        await uploads.add_chunk(tx, chunk_of(upload, 0))
        assert await uploads.end(tx, upload.id, owner=people[Role.ADMIN].id) is None
    async with database.transaction(other_people[Role.USER].tenant_id) as tx:
        assert await uploads.end(tx, upload.id, owner=user.id) is None
        assert [] == await uploads.chunks_of_many(tx, [upload.id])

    async with database.transaction(user.tenant_id) as tx:
        assert [chunk_of(upload, 0)] == await uploads.chunks_of_many(tx, [upload.id], owner=user.id)
        assert [] == await uploads.chunks_of_many(tx, [upload.id], owner=people[Role.ADMIN].id)
        ended = await uploads.end(tx, upload.id, owner=user.id)
        assert await uploads.end(tx, upload.id, owner=user.id) is None
        assert [] == await uploads.chunks_of(tx, upload.id)

    assert ended is not None
    assert (UploadStatus.EXPIRED, 0) == (ended.status, ended.received_bytes)


async def test_lost_chunks_are_counted_back(database: Database, user: User) -> None:
    upload = await begun(database, user)
    async with database.transaction(user.tenant_id) as tx:
        for index in range(3):
            await uploads.add_chunk(tx, chunk_of(upload, index))
        await uploads.lose_chunks(tx, upload.id, [chunk_of(upload, index) for index in (0, 2, 7)])

    async with database.transaction(user.tenant_id) as tx:
        assert [1] == [chunk.index for chunk in await uploads.chunks_of(tx, upload.id)]
        assert 1_000 == (await uploads.by_id(tx, upload.id) or upload).received_bytes


async def test_stale_uploads_end_and_say_so(database: Database, user: User) -> None:
    stale, fresh = await begun(database, user), await begun(database, user)
    async with database.transaction(user.tenant_id) as tx:
        await uploads.add_chunk(tx, chunk_of(stale, 0))
    await aged(database, stale.id)

    async with database.system() as tx:
        ended = await uploads.expire_stale(tx)
        assert [] == await uploads.expire_stale(tx)

    assert [(stale.id, UploadStatus.EXPIRED, 0)] == [(u.id, u.status, u.received_bytes) for u in ended]
    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.UPLOAD_CHANGED]
        assert [] == await uploads.chunks_of(tx, stale.id)
        assert {fresh.id} == await uploads.open_ids(tx, [stale.id, fresh.id])
    last = told[-1]
    assert (str(stale.id), user.tenant_id, user.id, "expired") == (
        last.entity_id,
        last.tenant_id,
        last.owner_id,
        last.payload["status"],
    )


async def test_two_hundred_small_chunks_are_a_hundred_events(database: Database, user: User) -> None:
    upload = await begun(database, user, size=200_000)
    async with database.transaction(user.tenant_id) as tx:
        for index in range(200):
            await uploads.add_chunk(tx, chunk_of(upload, index))

    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.UPLOAD_CHANGED]
    assert 1 + 100 == len(told)


async def test_a_list_is_narrowed_and_paged(database: Database, people: People) -> None:
    mine = [await begun(database, people[Role.USER]) for _ in range(3)]
    await begun(database, people[Role.ADMIN])
    async with database.transaction("default") as tx:
        await uploads.add_chunk(tx, chunk_of(mine[0], 0))
        order, owner = Order("created_at"), people[Role.USER].id
        first = await uploads.listed(tx, Filter(), order, Window(2), owner=owner)
        rest = await uploads.listed(tx, Filter(), order, Window(2, first.cursors[-1]), owner=owner)
        begun_only = Filter(statuses=[UploadStatus.INITIALIZED])

        assert [u.id for u in reversed(mine)] == [u.id for u in (*first.items, *rest.items)]
        assert (4, 3) == (
            await uploads.how_many(tx, Filter(), owner=None),
            await uploads.how_many(tx, begun_only, owner=None),
        )
        assert {u.id for u in mine} == {u.id for u in await uploads.by_ids(tx, [u.id for u in mine], owner=owner)}


@given(size=st.integers(1, 60), chunk=st.integers(1, 20), there=st.sets(st.integers(0, 59)))
def test_ranges_are_a_bytearrays(size: int, chunk: int, there: set[int]) -> None:
    """What is received and what is missing are the two halves of the file, whatever has come."""
    upload = _upload(size, chunk)
    present = sorted(index for index in there if upload.length_of(index))
    model = bytearray(size)
    for index in present:
        model[index * chunk : index * chunk + upload.length_of(index)] = b"x" * upload.length_of(index)

    received = uploads.received([chunk_of(upload, index) for index in present])
    missing = uploads.missing(upload, received)

    assert {n for n in range(size) if model[n]} == _bytes_of(received)
    assert {n for n in range(size) if not model[n]} == _bytes_of(missing)
    assert len(received) + len(missing) <= 2 * min(len(received), len(missing)) + 1
    assert size == sum(upload.length_of(index) for index in range(upload.chunk_count))


def _bytes_of(ranges: list[Range]) -> set[int]:
    return {n for stretch in ranges for n in range(stretch.start, stretch.end)}


def _upload(size: int, chunk: int) -> Upload:
    facts = dict.fromkeys(Upload.__struct_fields__) | {"id": uuid4(), "size_bytes": size, "chunk_bytes": chunk}
    return Upload(**facts)  # type: ignore[arg-type] # only its sizes matter here
