"""Log lines of a tenant."""

from db import logs
from db.database import Database
from db.logs import NewLine
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


async def test_sources_are_each_named_once(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, [line("x", source) for source in ("worker", "api", "relay", "api", "worker")])

    async with database.transaction(tenant) as tx:
        assert ["api", "relay", "worker"] == await logs.sources(tx)
    async with database.transaction("other") as tx:
        assert [] == await logs.sources(tx)
        assert [] == await logs.newest(tx, most=9)
