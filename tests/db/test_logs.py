"""Log lines of a tenant."""

from datetime import UTC, datetime

import pytest

from db import events, logs
from db.database import Database
from db.events import START
from db.logs import Filter, NewLine
from db.models.records import Severity


def line(message: str, source: str = "api") -> NewLine:
    return NewLine(level=Severity.INFO, source=source, message=message, data={"n": 1})


async def test_many_lines_are_written_at_once_and_read_newest_first(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("one")])
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("two"), line("three")])
        await logs.write(tx, [])

    async with database.transaction(tenant) as tx:
        newest = await logs.newest(tx, most=2)
        total = await logs.how_many(tx, logs.Filter())

    assert ({"two", "three"}, 3) == ({found.message for found in newest}, total)
    assert {"n": 1} == newest[0].data


async def test_lines_that_are_written_at_once_are_told_of_with_one_event(database: Database, tenant: str) -> None:
    """It names them, and leaves what they say to who may read it."""
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("one"), line("two", "worker")])
        await logs.write(tx, [])
        written = await logs.newest(tx, most=9)
    async with database.transaction(tenant) as tx:
        [event] = await events.after(tx, START)

    named = {(found.id, found.level, found.source, found.category, found.trace_id) for found in written}
    mentioned = [(each.id, each.level, each.source, each.category, each.trace_id) for each in logs.mentioned(event)]
    assert ("log_appended", 2, named) == (event.kind, len(mentioned), set(mentioned))
    assert "two" not in str(event.payload)


FILTERS = [
    Filter(),
    Filter(levels=(Severity.INFO, Severity.ERROR)),
    Filter(levels=(Severity.ERROR,)),
    Filter(source="worker"),
    Filter(source="api"),
    Filter(category="application"),
    Filter(category="steps"),
    Filter(trace_id="t"),
    Filter(created_after=datetime(2020, 1, 1, tzinfo=UTC)),
    Filter(created_after=datetime(2100, 1, 1, tzinfo=UTC)),
    Filter(created_before=datetime(2020, 1, 1, tzinfo=UTC)),
    Filter(created_before=datetime(2100, 1, 1, tzinfo=UTC), source="worker", levels=(Severity.INFO,)),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_an_event_tells_which_lines_a_filter_selects_as_the_database_does(
    database: Database, tenant: str, wanted: Filter
) -> None:
    async with database.transaction(tenant) as tx:
        traced = NewLine(level=Severity.ERROR, source="worker", message="x", category="steps", trace_id="t")
        await logs.write(tx, [line("one"), line("two", "worker"), traced])
    async with database.transaction(tenant) as tx:
        [event] = await events.after(tx, START)
        mentions = logs.mentioned(event)
        selected = await logs.chosen(tx, [each.id for each in mentions], wanted)

    told = {each.id for each in mentions if wanted.may_select(each, event.created_at)}
    assert {found.id for found in selected} == told


async def test_of_lines_that_were_told_of_those_are_found_that_are_left(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("one"), line("two", "worker")])
        ids = [found.id for found in await logs.newest(tx, most=9)]
        await logs.clear(tx, Filter(source="api"), most=9)
        left = await logs.chosen(tx, ids, Filter(message_contains="TW"))
        none = await logs.chosen(tx, ids, Filter(message_contains="one"))

    assert (["two"], []) == ([found.message for found in left], none)


async def test_sources_are_each_named_once(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("x", source) for source in ("worker", "api", "relay", "api", "worker")])

    async with database.transaction(tenant) as tx:
        assert ["api", "relay", "worker"] == await logs.sources(tx)
    async with database.transaction("other") as tx:
        assert [] == await logs.sources(tx)
        assert [] == await logs.newest(tx, most=9)
