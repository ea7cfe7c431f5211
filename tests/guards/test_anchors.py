"""Anchors: when a head is signed, by whom, and what is left of a month whose time is over."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import audit
from db.database import Database
from guards import anchors as sink
from guards.anchors import Anchors, holds
from guards.seals import Seals
from guards.trail import BEGINNING, digest, verify
from tests.trails import anchors_in, recorded, ruling, seals


@pytest.fixture
def keys() -> Seals:
    """The keys of the trail."""
    return seals()


@pytest.fixture
def anchors(database: Database, keys: Seals, tmp_path: Path) -> Anchors:
    """Where the trail is anchored."""
    return anchors_in(database, tmp_path, keys)


async def stored(database: Database, tenant: str = "default") -> list[audit.Anchor]:
    async with database.system() as tx:
        return await audit.anchored(tx, tenant)


async def test_a_head_is_signed_in_two_places_that_say_the_same(
    database: Database, anchors: Anchors, keys: Seals
) -> None:
    await recorded(database, keys, 3)
    await recorded(database, keys, 2, tenant="other")

    assert 2 == await anchors.settle()

    outside = sink.read(anchors.file)
    assert {("default", 3), ("other", 2)} == {(each.tenant_id, each.seq) for each in outside}
    assert sorted(outside, key=lambda each: each.tenant_id) == [
        *await stored(database),
        *await stored(database, "other"),
    ]
    assert all(holds(keys, each) for each in outside)
    assert 0o600 == anchors.file.stat().st_mode & 0o777


async def test_nothing_new_is_not_anchored_again(database: Database, anchors: Anchors, keys: Seals) -> None:
    await recorded(database, keys, 1)
    await anchors.settle()

    assert 0 == await anchors.settle()


async def test_the_next_anchor_comes_after_a_minute(
    database: Database, anchors: Anchors, keys: Seals, database_url: str
) -> None:
    await recorded(database, keys, 1)
    await anchors.settle()
    await recorded(database, keys, 1)
    within_the_minute = await anchors.settle()
    async with ruling(database_url) as connection:
        await connection.execute("UPDATE audit_trail.anchors SET at = at - interval '60 seconds'")

    assert (0, 1) == (within_the_minute, await anchors.settle())


async def test_the_next_anchor_comes_earlier_after_many_entries(
    database: Database, anchors: Anchors, keys: Seals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "ROWS", 3)
    await recorded(database, keys, 1)
    await anchors.settle()
    await recorded(database, keys, 2)
    after_two = await anchors.settle()
    await recorded(database, keys, 1)

    assert (0, 1) == (after_two, await anchors.settle())


async def test_of_several_processes_one_anchors(database: Database, anchors: Anchors, keys: Seals) -> None:
    await recorded(database, keys, 5)

    assert 1 == sum(await asyncio.gather(*(anchors.settle() for _ in range(6))))
    assert 1 == len(sink.read(anchors.file))


async def test_a_line_that_a_power_cut_left_unfinished_is_passed_over(
    database: Database, anchors: Anchors, keys: Seals
) -> None:
    anchors.file.write_bytes(b'{"kind":"anchor","tenant":"def')
    await recorded(database, keys, 1)

    await anchors.settle()

    assert [1] == [each.seq for each in sink.read(anchors.file)]


async def test_a_damaged_line_is_named(anchors: Anchors) -> None:
    anchors.file.write_bytes(b'{"kind":"anchor"}\n')

    with pytest.raises(ValueError, match="line 1 of the anchors"):
        sink.read(anchors.file)


async def test_there_is_room_for_a_year(database: Database, anchors: Anchors) -> None:
    async with database.system() as tx:
        await audit.prepare(tx, months=12)
        months = await audit.months(tx)

    assert [] == await anchors.keep_months()
    assert 13 == len(months)
    assert datetime.now(UTC).date().replace(day=1) == months[0]


async def old(connection: Any, database: Database, entries: int) -> None:
    """Some entries of January 2015, before all others, in a month of their own."""
    await connection.execute("CREATE TABLE audit_trail.audit_2015_01 (LIKE audit INCLUDING DEFAULTS)")
    await connection.execute("ALTER TABLE audit_trail.audit_2015_01 OWNER TO agentos_audit")
    await connection.execute(
        "ALTER TABLE audit ATTACH PARTITION audit_trail.audit_2015_01 "
        "FOR VALUES FROM ('2015-01-01 00:00Z') TO ('2015-02-01 00:00Z')"
    )
    previous = BEGINNING
    for seq in range(1, entries + 1):
        link = audit.Link(
            tenant_id="default",
            seq=seq,
            at=datetime(2015, 1, seq, tzinfo=UTC),
            actor_id=None,
            role=None,
            action="job.cancel",
            target=None,
            outcome="done",
            code=None,
            trace_id=None,
            key_hash=None,
            details="{}",
            result="{}",
            commitment=None,
            previous=previous,
            hash=b"",
        )
        previous = digest(link)
        await connection.execute(
            "INSERT INTO audit (tenant_id, seq, at, action, outcome, previous, hash) "
            "VALUES ('default', $1, $2, 'job.cancel', 'done', $3, $4)",
            seq,
            link.at,
            link.previous,
            previous,
        )
    await connection.execute("INSERT INTO audit_trail.heads VALUES ('default', $1, $2)", entries, previous)


async def test_a_month_whose_time_is_over_goes_and_leaves_a_checkpoint(
    database: Database, database_url: str, anchors: Anchors, keys: Seals
) -> None:
    async with ruling(database_url) as connection:
        await old(connection, database, 4)
    await recorded(database, keys, 3)
    before = await verify(database, keys, "default", sink.read(anchors.file))

    dropped = await anchors.keep_months()

    after = await verify(database, keys, "default", sink.read(anchors.file))
    assert [date(2015, 1, 1)] == dropped
    assert (7, None) == (before.entries, before.finding)
    assert (3, None, 1) == (after.entries, after.finding, after.anchors)
    assert [("checkpoint", 4)] == [(each.kind, each.seq) for each in sink.read(anchors.file)]


async def test_a_month_goes_neither_early_nor_without_a_checkpoint(
    database: Database, database_url: str, anchors: Anchors, keys: Seals
) -> None:
    await recorded(database, keys, 1)
    with pytest.raises(sa.exc.DBAPIError, match="kept for seven years"):
        async with database.system() as tx:
            await audit.retire(tx, datetime.now(UTC).date())
    async with ruling(database_url) as connection:
        await connection.execute("DELETE FROM audit; DELETE FROM audit_trail.heads")
        await old(connection, database, 2)
    with pytest.raises(sa.exc.DBAPIError, match="only after a checkpoint"):
        async with database.system() as tx:
            await audit.retire(tx, date(2015, 1, 1))


@pytest.mark.parametrize(
    ("month", "today", "over"),
    [
        (date(2015, 1, 1), date(2022, 1, 31), False),
        (date(2015, 1, 1), date(2022, 2, 1), True),
        (date(2015, 12, 1), date(2022, 12, 31), False),
        (date(2015, 12, 1), date(2023, 1, 1), True),
    ],
)
def test_a_month_is_over_seven_years_after_its_end(month: date, today: date, over: bool) -> None:
    assert over is sink._dispensable(month, today)
