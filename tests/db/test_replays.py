"""Answers under keys: whose they are, how long they are kept, and when they are whole."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import replays
from db.database import Database
from db.replays import NewReplay, Replay
from tests.conftest import OTHER_TENANT

WHO = UUID(int=1)
KEY = "a-key-of-sixteen"
PRINT = b"\1" * 32


def new(answer: bytes = b"{}", *, code: str | None = None, fingerprint: bytes = PRINT) -> NewReplay:
    return NewReplay(principal=WHO, key=KEY, action="job.cancel", fingerprint=fingerprint, answer=answer, code=code)


async def kept(database: Database, tenant: str = "default", principal: UUID = WHO, key: str = KEY) -> Replay | None:
    async with database.transaction(tenant) as tx:
        return await replays.by_key(tx, principal, key)


async def aged(database: Database, by: timedelta) -> None:
    async with database.system() as tx:
        await tx.execute(
            sa.text(
                "UPDATE replays SET created_at = created_at - make_interval(secs => :s), "
                "settling_until = settling_until - make_interval(secs => :s)"
            ),
            {"s": by.total_seconds()},
        )


async def test_an_answer_is_found_under_its_tenant_user_and_key_alone(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new(b"1"))

    assert Replay("job.cancel", PRINT, b"1", None, False) == await kept(database)
    assert None is await kept(database, OTHER_TENANT)
    assert None is await kept(database, principal=uuid4())
    assert None is await kept(database, key=KEY.upper())


@pytest.mark.parametrize(("age", "found"), [(timedelta(hours=23, minutes=59), True), (timedelta(hours=24), False)])
async def test_an_answer_is_kept_for_a_day_by_the_databases_clock(
    database: Database, tenant: str, age: timedelta, found: bool
) -> None:
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new())

    await aged(database, age)

    assert found is (await kept(database) is not None)


async def test_what_is_too_old_makes_room_for_another_call(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new(b"1", code="NOT_FOUND"))
    await aged(database, replays.KEPT_FOR)
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new(b"2", fingerprint=b"\2" * 32))

    assert Replay("job.cancel", b"\2" * 32, b"2", None, False) == await kept(database)


async def test_an_answer_is_incomplete_until_it_is_settled(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new(b"half"), settling_for=timedelta(minutes=1))
    before = await kept(database)
    async with database.transaction(tenant) as tx:
        await replays.settle(tx, WHO, KEY, fingerprint=PRINT, answer=b"whole")
    after = await kept(database)

    assert Replay("job.cancel", PRINT, b"half", None, True) == before
    assert Replay("job.cancel", PRINT, b"whole", None, False) == after


async def test_an_answer_that_was_taken_for_whole_stays_as_it_was_told(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await replays.put(tx, new(b"half"), settling_for=timedelta(minutes=1))
    await aged(database, timedelta(minutes=1))
    async with database.transaction(tenant) as tx:
        await replays.settle(tx, WHO, KEY, fingerprint=PRINT, answer=b"whole")

    assert Replay("job.cancel", PRINT, b"half", None, False) == await kept(database)


async def test_an_answer_stands_and_falls_with_its_transaction(database: Database, tenant: str) -> None:
    with suppress(RuntimeError):
        async with database.transaction(tenant) as tx:
            await replays.put(tx, new())
            raise RuntimeError

    assert None is await kept(database)
