"""The tables as the database has them, and which of them are backed up."""

from db import layout
from db.database import Database
from db.models import metadata


async def test_every_table_is_there_with_its_columns_after_those_it_refers_to(database: Database) -> None:
    async with database.system() as tx:
        found = await layout.tables(tx)

    modelled = {name: [column.name for column in table.c] for name, table in metadata.tables.items()}
    there = {table.name: sorted(table.columns) for table in found}
    assert {name: sorted(columns) for name, columns in modelled.items() if name != "audit"} == {
        name: columns for name, columns in there.items() if name != "alembic_version"
    }
    seen: set[str] = set()
    for table in found:
        assert table.refers_to <= seen
        seen.add(table.name)


async def test_nothing_is_spared_that_is_not_there(database: Database) -> None:
    """A table that was renamed would otherwise be restored over without anybody having decided so."""
    named = layout.NEVER | layout.JOB_DATA | layout.LOGS | layout.PEOPLE

    assert set() == named - metadata.tables.keys() - {"alembic_version"}
    assert set(metadata.tables["users"].c.keys()) >= layout.IDENTITY
    assert set() == layout.NEVER & (layout.JOB_DATA | layout.LOGS | layout.PEOPLE)


async def test_only_people_are_referred_to_by_what_a_restore_leaves_alone(database: Database) -> None:
    """Anything else that is would have to be brought up to date as they are, or could not be replaced at all."""
    async with database.system() as tx:
        there = await layout.tables(tx)

    referred = layout.referring(there, {table.name for table in layout.restorable(there)})

    assert layout.PEOPLE == referred.keys()
