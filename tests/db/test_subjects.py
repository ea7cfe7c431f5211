"""Who the trail is about: kept once, found again, and gone for good."""

import asyncio
from uuid import UUID

import sqlalchemy as sa

from db import subjects
from db.database import Database
from db.models.audit import pii_subjects
from db.subjects import NewSubject


def somebody(commitment: bytes, *, handle: bytes = b"h", place: bytes = b"p", actor: int = 1) -> NewSubject:
    return NewSubject(
        commitment=commitment,
        actor_id=UUID(int=actor),
        handle=handle,
        place=place,
        key_id="k",
        wrapped=b"w",
        sealed=b"s",
    )


async def test_of_many_who_keep_one_at_once_one_is_kept(roomy: Database) -> None:
    async def kept(number: int) -> bytes:
        async with roomy.transaction("default") as tx:
            return await subjects.keep(tx, somebody(bytes([number])))

    assert 1 == len(set(await asyncio.gather(*(kept(number) for number in range(8)))))


async def test_somebody_is_known_to_their_tenant_alone(database: Database) -> None:
    async with database.transaction("default") as tx:
        await subjects.keep(tx, somebody(b"1"))
        found = await subjects.found(tx, b"h")
    async with database.transaction("other") as tx:
        elsewhere = await subjects.found(tx, b"h")
        readable = await subjects.readable(tx, "default", [b"1"])

    assert (b"1", None, []) == (found, elsewhere, readable)


async def test_who_is_erased_leaves_nothing_but_the_commitment(database: Database) -> None:
    async with database.transaction("default") as tx:
        await subjects.keep(tx, somebody(b"1", handle=b"a"))
        await subjects.keep(tx, somebody(b"2", handle=b"b", actor=2))
    async with database.system() as tx:
        erased = await subjects.erase(tx, "default", actor=UUID(int=1))
        again = await subjects.erase(tx, "default", actor=UUID(int=1))
        left = await tx.rows(
            sa.select(*(column for column in pii_subjects.c if column.name not in ("created_at", "erased_at"))).where(
                pii_subjects.c.erased_at.is_not(None)
            )
        )
        readable = await subjects.readable(tx, "default", [b"1", b"2"])

    assert (1, 0) == (erased, again)
    assert [("default", b"1", *[None] * 6)] == left
    assert [b"2"] == [each.commitment for each in readable]


async def test_who_was_at_a_place_is_erased_with_everybody_there(database: Database) -> None:
    async with database.transaction("default") as tx:
        for number in (1, 2, 3):
            place = b"p" if number < 3 else b"q"
            await subjects.keep(tx, somebody(bytes([number]), handle=bytes([number]), place=place, actor=number))
    async with database.system() as tx:
        elsewhere = await subjects.erase(tx, "other", places=[b"p"])
        erased = await subjects.erase(tx, "default", places=[b"p"])

    assert (0, 2) == (elsewhere, erased)
