"""What is known of subjects: held while it is changed, in one order for everybody."""

import asyncio

import sqlalchemy as sa

from db import lockouts
from db.database import Database
from db.lockouts import Record

ONE, TWO = b"1" * 32, b"2" * 32


async def test_of_a_subject_nobody_has_seen_nothing_is_known(database: Database) -> None:
    async with database.system() as tx:
        records, now = await lockouts.held(tx, [TWO, ONE])

    assert {ONE, TWO} == set(records)
    assert ([], 0, None, None) == (
        records[ONE].failures,
        records[ONE].locks,
        records[ONE].locked_until,
        records[ONE].known_at,
    )
    assert now >= records[ONE].changed_at


async def test_two_that_hold_the_same_in_opposite_order_do_not_wait_for_each_other_for_ever(roomy: Database) -> None:
    async def count(*subjects: bytes) -> None:
        async with roomy.system() as tx:
            records, now = await lockouts.held(tx, subjects)
            await lockouts.keep(
                tx,
                [
                    Record(subject, [*record.failures, 1], record.locks + 1, now, now, now)
                    for subject, record in records.items()
                ],
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(count(ONE, TWO))
            group.create_task(count(TWO, ONE))

    async with roomy.system() as tx:
        records, _ = await lockouts.held(tx, [ONE, TWO])
    assert [(16, 16), (16, 16)] == [(record.locks, len(record.failures)) for record in records.values()]


async def test_what_tenants_see_does_not_have_them(database: Database) -> None:
    """Nobody is of a tenant before they have signed in, so no tenant's role may look."""
    async with database.system() as tx:
        [(allowed,)] = await tx.rows(sa.text("SELECT has_table_privilege('agentos_app', 'lockouts', 'SELECT')"))

    assert not allowed
