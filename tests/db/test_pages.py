"""Keyset pages: every row once, in order, both ways, while the table changes; and cursors that are no cursors."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from db import pages
from db.database import Database, Transaction
from db.models.records import Severity
from db.models.records import events as event_table
from db.models.records import logs as table
from db.pages import MOST, BadCursor, Order, Page, Window, cursor_of, page, place_of
from db.rows import Row, Shape

NEWEST = Order("created_at")
OLDEST = Order("created_at", descending=False)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = sa.Table(
    "kinds",
    sa.MetaData(),
    sa.Column("small", sa.SmallInteger()),
    sa.Column("whole", sa.Integer()),
    sa.Column("wide", sa.BigInteger()),
    sa.Column("real", sa.Double()),
    sa.Column("text", sa.Text()),
    sa.Column("moment", sa.DateTime(timezone=True)),
    sa.Column("key", sa.Uuid()),
    sa.Column("level", table.c.level.type),
)


class Line(Row, frozen=True):
    """As little of a log entry as a page needs."""

    id: UUID
    level: Severity
    message: str
    created_at: datetime


LINE = Shape(Line, table)


async def insert(tx: Transaction, moments: list[datetime], message: str = "") -> None:
    await tx.execute(
        sa.insert(table),
        [
            {"tenant_id": "default", "level": "info", "source": "t", "message": message, "created_at": moment}
            for moment in moments
        ],
    )


async def a_page(database: Database, order: Order, window: Window) -> Page[Line]:
    async with database.transaction("default") as tx:
        return await page(tx, LINE, where=[], order=order, window=window)


async def everything(database: Database, order: Order) -> list[Line]:
    way = sa.desc if order.descending else sa.asc
    async with database.transaction("default") as tx:
        return await LINE.all(tx, LINE.select().order_by(way(table.c[order.column]), way(table.c.id)))


async def walked(
    database: Database, order: Order, *, size: int, backward: bool, busy: Random | None = None
) -> list[Line]:
    """Every row that walking from one edge to the other shows, in the list's order; rows may be inserted meanwhile."""
    found: list[Line] = []
    cursor: str | None = None
    while True:
        seen = await a_page(database, order, Window(size=size, cursor=cursor, backward=backward))
        assert (cursor is not None) is (seen.more_after if backward else seen.more_before)
        assert [cursor_of(order, getattr(row, order.column), row.id) for row in seen.items] == seen.cursors
        found = seen.items + found if backward else found + seen.items
        if not (seen.more_before if backward else seen.more_after):
            return found
        cursor = seen.cursors[0 if backward else -1]
        if busy is not None:
            async with database.transaction("default") as tx:
                await insert(tx, [MOMENT + timedelta(seconds=busy.randrange(-3, 25)) for _ in range(5)], "meanwhile")


async def test_walking_shows_every_row_once_in_order_whatever_is_inserted_meanwhile(database: Database) -> None:
    """A thousand rows on twenty moments, so that nearly every page begins and ends within a tie."""
    random = Random(7)
    async with database.transaction("default") as tx:
        await insert(tx, [MOMENT + timedelta(seconds=random.randrange(20)) for _ in range(1000)], "there before")
    for order in (NEWEST, OLDEST):
        before = [line for line in await everything(database, order) if line.message == "there before"]
        for backward in (False, True):
            found = await walked(database, order, size=97, backward=backward, busy=random)

            assert before == [line for line in found if line.message == "there before"]
            assert len(found) == len({line.id for line in found})
            assert found == sorted(found, key=lambda line: (line.created_at, line.id), reverse=order.descending)


async def test_walking_by_other_columns_breaks_ties_by_id(database: Database) -> None:
    async with database.transaction("default") as tx:
        for message in ("b", "a", "ä", "", "b"):
            await insert(tx, [MOMENT] * 2, message)
    for column in ("message", "level"):
        for descending in (True, False):
            order = Order(column, descending=descending)
            expected = await everything(database, order)

            assert expected == await walked(database, order, size=3, backward=False)
            assert expected == await walked(database, order, size=3, backward=True)


async def test_a_page_knows_its_edges(database: Database) -> None:
    async with database.transaction("default") as tx:
        await insert(tx, [MOMENT + timedelta(seconds=second) for second in range(4)])
    rows = await everything(database, NEWEST)
    at = [cursor_of(NEWEST, row.created_at, row.id) for row in rows]

    async def seen(**window: Any) -> tuple[list[Line], bool, bool]:
        found = await a_page(database, NEWEST, Window(**window))
        return found.items, found.more_before, found.more_after

    assert (rows, False, False) == await seen()
    assert (rows, False, False) == await seen(size=4)
    assert (rows[:3], False, True) == await seen(size=3)
    assert (rows[2:], True, False) == await seen(size=2, cursor=at[1])
    assert (rows[2:3], True, True) == await seen(size=1, cursor=at[1])
    assert ([], True, False) == await seen(cursor=at[3])
    assert (rows, False, False) == await seen(backward=True)
    assert (rows[1:], True, False) == await seen(size=3, backward=True)
    assert (rows[:2], False, True) == await seen(size=2, cursor=at[2], backward=True)
    assert (rows[1:2], True, True) == await seen(size=1, cursor=at[2], backward=True)
    assert (rows[1:3], True, True) == await seen(size=2, skipped=1)
    assert (rows[2:], True, False) == await seen(size=2, skipped=2)
    assert ([], True, False) == await seen(skipped=4)
    assert ([], False, True) == await seen(cursor=at[0], backward=True)


async def test_an_empty_list_has_no_edges_to_cross(database: Database) -> None:
    for backward in (False, True):
        assert Page([], [], False, False) == await a_page(database, NEWEST, Window(backward=backward))


async def test_a_page_has_at_least_one_row_and_at_most_a_hundred(database: Database) -> None:
    async with database.transaction("default") as tx:
        await insert(tx, [MOMENT] * (MOST + 5))
        counted = await pages.total(tx, LINE, [])

    assert MOST + 5 == counted
    for size, rows in ((-5, 1), (0, 1), (1, 1), (MOST, MOST), (10**9, MOST)):
        assert rows == len((await a_page(database, NEWEST, Window(size=size))).items)


async def test_the_row_of_a_cursor_may_be_gone(database: Database) -> None:
    async with database.transaction("default") as tx:
        await insert(tx, [MOMENT + timedelta(seconds=second) for second in range(3)])
    first = await a_page(database, NEWEST, Window(size=1))
    rest = (await everything(database, NEWEST))[1:]
    async with database.transaction("default") as tx:
        await tx.execute(sa.delete(table).where(table.c.id == first.items[0].id))

    assert rest == (await a_page(database, NEWEST, Window(cursor=first.cursors[0]))).items


def crafted(value: object, key: object = UUID(int=1), order: Order = NEWEST) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((order.column, order.descending, value, key))).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "!",
        "A",
        "é",
        "\ud800",
        "\0",
        cursor_of(OLDEST, MOMENT, UUID(int=1)),
        cursor_of(Order("message"), "x", UUID(int=1)),
        cursor_of(NEWEST, MOMENT, UUID(int=1))[:-4],
        cursor_of(NEWEST, MOMENT, UUID(int=1)) + "AAAA",
        crafted(MOMENT.replace(tzinfo=None)),
        crafted("2026-01-01T00:00:00"),
        crafted("0001-01-01T00:00:00+14:00"),
        crafted("9999-12-31T23:59:59-14:00"),
        crafted(10**18),
        crafted(None),
        crafted(True),
        crafted([MOMENT]),
        crafted(MOMENT, key=7),
        crafted(MOMENT, key="no uuid"),
        crafted(MOMENT, key=None),
        base64.urlsafe_b64encode(b"\x91" * 5000).decode(),
        base64.urlsafe_b64encode(b"\x94\xaacreated_at\xc3" + b"\x91" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xdd\xff\xff\xff\xff").decode(),
    ],
)
def test_what_is_no_cursor_of_this_list_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor, match="start again without it"):
        place_of(NEWEST, cursor, value=table.c.created_at, key=table.c.id)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("small", 2**15),
        ("whole", 2**31),
        ("whole", -(2**31) - 1),
        ("whole", 1.5),
        ("whole", "1"),
        ("wide", 2**63),
        ("wide", True),
        ("real", "1"),
        ("text", "zero \0 inside"),
        ("text", 5),
        ("level", "unheard of"),
        ("key", "x"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused(column: str, value: object) -> None:
    """PostgreSQL would fail the whole call at such a parameter, and it is the client who made it up."""
    order = Order(column)

    with pytest.raises(BadCursor):
        place_of(order, crafted(value, order=order), value=KINDS.c[column], key=KINDS.c.key)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("small", -(2**15)),
        ("whole", 2**31 - 1),
        ("wide", -(2**63)),
        ("real", 0.1),
        ("real", float("inf")),
        ("text", ""),
        ("text", "é\U0001f600"),
        ("level", Severity.ERROR),
        ("moment", datetime.max.replace(tzinfo=UTC)),
        ("moment", datetime(2026, 1, 1, 0, 0, 0, 123457, tzinfo=UTC)),
        ("key", UUID(int=2**128 - 1)),
    ],
)
def test_a_cursor_gives_back_what_it_was_made_of(column: str, value: object) -> None:
    order = Order(column)

    place = place_of(order, cursor_of(order, value, UUID(int=7)), value=KINDS.c[column], key=KINDS.c.key)

    assert (value, UUID(int=7)) == place


def test_a_cursor_can_be_put_into_an_address() -> None:
    assert all(sign.isalnum() or sign in "-_" for sign in cursor_of(NEWEST, MOMENT, UUID(int=2**127)))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=300)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_text_makes_anything_but_a_bad_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        place_of(NEWEST, text, value=table.c.created_at, key=table.c.id)


async def test_no_crafted_cursor_fails_in_postgresql(database: Database) -> None:
    """Whatever passes for a cursor must also be a parameter that PostgreSQL takes."""
    loop = asyncio.get_running_loop()

    async def tried(order: Order, shape: Shape[Any], cursor: str) -> None:
        async with database.transaction("default") as tx:
            try:
                await page(tx, shape, where=[], order=order, window=Window(cursor=cursor))
            except BadCursor:
                return

    class Told(Row, frozen=True):
        """As little of an event as a page needs; its id is a number."""

        id: int
        kind: str
        created_at: datetime

    told = Shape(Told, event_table)

    @settings(max_examples=60)
    @given(ANYTHING, ANYTHING | st.uuids(), st.sampled_from(["created_at", "message", "level"]))
    def with_uuids(value: object, key: object, column: str) -> None:
        order = Order(column)
        asyncio.run_coroutine_threadsafe(tried(order, LINE, crafted(value, key, order)), loop).result(30)

    @settings(max_examples=60)
    @given(ANYTHING, ANYTHING, st.sampled_from(["created_at", "kind", "id"]))
    def with_numbers(value: object, key: object, column: str) -> None:
        order = Order(column)
        asyncio.run_coroutine_threadsafe(tried(order, told, crafted(value, key, order)), loop).result(30)

    await asyncio.to_thread(with_uuids)
    await asyncio.to_thread(with_numbers)
