"""Events: each is read once, in the order in which they became visible, by those it is for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from db import events
from db.database import Database, Transaction
from db.events import LAST, START, Cursor, Event, Kind
from db.migrations import runner
from db.models.identity import Role
from db.models.records import events as rows
from tests.conftest import People
from tests.waiting import eventually


async def told(database: Database, *names: str, tenant: str = "default") -> None:
    async with database.transaction(tenant) as tx:
        for name in names:
            await events.record(tx, Kind.JOB_CHANGED, name, {})


async def names_after(database: Database, cursor: Cursor = START) -> list[str]:
    async with database.system() as tx:
        return [event.entity_id for event in await events.after(tx, cursor)]


async def read_to_the_end(database: Database, *, most: int) -> list[Event]:
    found: list[Event] = []
    async with database.system() as tx:
        while more := await events.after(tx, found[-1].cursor if found else START, most=most):
            found += more
    return found


@asynccontextmanager
async def open_transaction(database: Database, name: str) -> AsyncIterator[Transaction]:
    """A transaction that has said something and is not over yet."""
    async with database.transaction("default") as tx:
        await events.record(tx, Kind.JOB_CHANGED, name, {})
        yield tx


async def test_an_event_is_read_as_it_was_told(database: Database, people: People) -> None:
    owner = people[Role.USER].id
    async with database.transaction("default") as tx:
        await events.record(tx, Kind.UPLOAD_CHANGED, "u1", {"status": "uploading", "n": [1, None]}, owner=owner)
    async with database.system() as tx:
        [event] = await events.after(tx, START)

    assert ("default", Kind.UPLOAD_CHANGED, "u1", owner, {"status": "uploading", "n": [1, None]}) == (
        event.tenant_id,
        event.kind,
        event.entity_id,
        event.owner_id,
        event.payload,
    )


async def test_what_was_rolled_back_was_never_told(database: Database) -> None:
    with pytest.raises(sa.exc.ProgrammingError):
        async with open_transaction(database, "never") as tx:
            await tx.execute(sa.text("SELECT no_such_column"))
    await told(database, "after")

    assert ["after"] == await names_after(database)


async def test_an_event_that_commits_late_is_not_skipped(database: Database) -> None:
    """Control: a reader of `id > last` takes the second event first, moves on, and never sees the first."""
    naive: list[str] = []
    last = 0

    async def read_by_id() -> None:
        nonlocal last
        async with database.system() as tx:
            for key, name in await tx.rows(
                sa.text("SELECT id, entity_id FROM events WHERE id > :last ORDER BY id"), {"last": last}
            ):
                naive.append(name)
                last = key

    found: list[str] = []
    cursor = START

    async def read() -> None:
        nonlocal cursor
        async with database.system() as tx:
            for event in await events.after(tx, cursor):
                found.append(event.entity_id)
                cursor = event.cursor

    async with open_transaction(database, "early, commits late"):
        await told(database, "late, commits early")
        await read_by_id()
        await read()
        held_back = list(found)
    await read_by_id()
    await read()

    assert ["late, commits early"] == naive
    assert [] == held_back
    assert ["early, commits late", "late, commits early"] == found


async def test_nothing_is_lost_or_repeated_while_many_write_at_once(database: Database) -> None:
    writers, each = 6, 12
    found: list[str] = []
    cursor = START

    async def write(writer: int) -> None:
        for number in range(each):
            async with database.transaction("default") as tx:
                await events.record(tx, Kind.JOB_CHANGED, f"{writer}-{number}a", {})
                # A turn of the loop between two rows of one transaction lets the others in between.
                await asyncio.sleep(0)
                await events.record(tx, Kind.JOB_CHANGED, f"{writer}-{number}b", {})

    async def read() -> int:
        nonlocal cursor
        async with database.system() as tx:
            for event in await events.after(tx, cursor, most=7):
                assert (event.cursor.xid, event.cursor.id) > (cursor.xid, cursor.id)
                found.append(event.entity_id)
                cursor = event.cursor
        return len(found)

    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
        await eventually(read, lambda count: count >= 2 * writers * each, every_s=0)

    assert 2 * writers * each == len(set(found)) == len(found)
    for writer in range(writers):
        mine = [name for name in found if name.startswith(f"{writer}-")]
        assert [f"{writer}-{number}{half}" for number in range(each) for half in "ab"] == mine


async def test_reading_in_parts_gives_the_same_as_reading_at_once(database: Database) -> None:
    for number in range(4):
        await told(database, f"{number}a", f"{number}b", f"{number}c")

    assert await read_to_the_end(database, most=500) == await read_to_the_end(database, most=2)


async def test_a_reader_that_begins_at_the_edge_gets_what_comes_then_and_what_is_still_open(
    database: Database,
) -> None:
    await told(database, "past")
    async with open_transaction(database, "open"):
        await told(database, "committed behind an open one")
        async with database.system() as tx:
            edge = await events.edge(tx)
    await told(database, "future")

    assert ["open", "committed behind an open one", "future"] == await names_after(database, edge)


async def test_at_the_edge_of_a_quiet_stream_there_is_nothing(database: Database) -> None:
    await told(database, "past")
    async with database.system() as tx:
        edge = await events.edge(tx)

    assert [] == await names_after(database, edge)


async def test_a_tenant_hears_of_itself_alone_and_the_relay_of_all(database: Database) -> None:
    await told(database, "ours")
    await told(database, "theirs", tenant="other")
    async with database.transaction("default") as tx:
        heard = [event.entity_id for event in await events.after(tx, START)]

    assert ["ours"] == heard
    assert ["ours", "theirs"] == await names_after(database)


async def test_nobody_tells_in_another_tenant_s_name_but_the_system(database: Database) -> None:
    async with database.system() as tx:
        await events.record(tx, Kind.SECURITY_ALERTED, "by the system", {}, tenant="other")
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.SECURITY_ALERTED, "forged", {}, tenant="other")

    async with database.transaction("other") as tx:
        assert ["by the system"] == [event.entity_id for event in await events.after(tx, START)]


async def floor_of(database: Database, tenant: str = "default") -> Cursor:
    async with database.transaction(tenant) as tx:
        return await events.floor(tx)


async def removed(tx: Transaction, *names: str) -> None:
    await tx.execute(sa.delete(rows).where(rows.c.entity_id.in_(names)))


async def test_the_newest_of_each_tenant_that_was_removed_is_known(database: Database) -> None:
    await told(database, "a", "b", "c")
    await told(database, "x", "y", tenant="other")
    every = {event.entity_id: event.cursor for event in await read_to_the_end(database, most=500)}
    floors = [await floor_of(database)]
    async with database.system() as tx:
        await removed(tx, "b", "a", "x")
    floors += [await floor_of(database), await floor_of(database, "other")]

    assert [START, every["b"], every["x"]] == floors


async def test_a_floor_is_never_lowered(database: Database) -> None:
    """What stands before it and goes later, as one that was told with an older date, says nothing new."""
    await told(database, "a", "b")
    async with database.system() as tx:
        await removed(tx, "b")
    before = await floor_of(database)
    async with database.transaction("default") as tx:
        await removed(tx, "a")

    assert START < before == await floor_of(database)


async def test_what_was_not_removed_after_all_leaves_the_floor_where_it_was(database: Database) -> None:
    await told(database, "a")
    floors: list[Cursor] = []

    async def change_mind() -> None:
        async with database.transaction("default") as tx:
            await removed(tx, "a")
            floors.append(await events.floor(tx))
            raise LookupError

    with pytest.raises(LookupError):
        await change_mind()

    assert START == await floor_of(database) < floors[0]


async def test_a_tenant_that_is_removed_takes_its_events_and_its_floor_along(database: Database) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text("INSERT INTO tenants (id, name) VALUES ('short-lived', 'Short')"))
    await told(database, "a", "b", tenant="short-lived")
    async with database.system() as tx:
        await removed(tx, "a")
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM tenants WHERE id = 'short-lived'"))

    assert START == await floor_of(database, "short-lived")
    assert [] == await names_after(database)


async def test_where_events_begin_is_guessed_once_for_tenants_that_were_there_before(database: Database) -> None:
    """What was removed earlier nobody wrote down: everything before the oldest event there is may have been."""
    await told(database, "a", "b")
    [first, *_] = await read_to_the_end(database, most=500)
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE tenants SET created_at = now() - interval '3 days' WHERE id <> 'young'"))
        await tx.execute(sa.text("INSERT INTO tenants (id, name) VALUES ('young', 'Young')"))
    await runner.downgrade(database.url, "0029")
    await runner.upgrade(database.url)
    async with database.system() as tx:
        edge = await events.edge(tx)

    assert Cursor(first.cursor.xid, first.cursor.id - 1) == await floor_of(database)
    assert START < await floor_of(database, "other") <= edge
    assert START == await floor_of(database, "young")


async def test_any_cursor_can_be_read_from(database: Database) -> None:
    await told(database, "past")
    for cursor, expected in ((START, ["past"]), (Cursor(0, LAST), ["past"]), (Cursor(LAST, LAST), [])):
        assert expected == await names_after(database, Cursor.parsed(str(cursor)))


@given(st.integers(0, LAST), st.integers(0, LAST))
def test_a_cursor_reads_back_as_it_was_written(xid: int, key: int) -> None:
    assert Cursor(xid, key) == Cursor.parsed(str(Cursor(xid, key)))


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "-1-2",
        "1--2",
        " 1-2",
        "1-2\n",
        "1_0-2",
        "+1-2",
        "0x1-2",
        "1.0-2",
        "\u0661-2",
        f"{LAST + 1}-0",
        f"0-{LAST + 1}",
        "9" * 5000 + "-1",
        "1-2; DROP TABLE events",
        "\0-\0",
    ],
)
def test_what_is_no_cursor_is_a_value_error(garbage: str) -> None:
    with pytest.raises(ValueError, match="no cursor of an event"):
        Cursor.parsed(garbage)


@given(st.text(max_size=50))
def test_no_text_makes_anything_but_a_cursor_or_a_value_error(text: str) -> None:
    try:
        found: Any = Cursor.parsed(text)
    except ValueError:
        return

    assert (found.xid, found.id) == tuple(int(half) for half in text.split("-"))


async def test_a_commit_that_has_events_rings_once_and_nothing_else_does(database: Database) -> None:
    """Whoever writes them, a worker like an action; what was undone, or told nothing, wakes nobody."""
    rung: list[list[str]] = []

    async def ring() -> None:
        rung.append(await names_after(database))

    database.bell = ring
    await told(database, "one", "two")
    await told(database)
    with suppress(OSError):
        async with database.transaction("default") as tx:
            await events.record(tx, Kind.JOB_CHANGED, "undone", {})
            raise OSError

    assert [["one", "two"]] == rung
