"""Migrating while the house runs: what is applied, what stands still meanwhile, and what goes on whatever happens."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import apart
from db import services as processes
from db.database import Database
from db.migrations import runner
from db.models.guards import OperationState
from db.services import NewProcess, Service
from guards.errors import BadInput
from resolvers.context import Context
from tests.acting import act
from tests.resolvers.actions.system_controls.test_backups import ended


async def put(database: Database, revision: str) -> None:
    async with apart.bare(database) as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))


@pytest_asyncio.fixture
async def missing(database: Database) -> AsyncIterator[str]:
    """A database that is behind, and the first revision that is missing: one that changes nothing."""
    await put(database, "0025")
    yield "0026"
    await put(database, runner.head())


async def halts(database: Database) -> int:
    async with database.system() as tx:
        return int(await tx.scalar(sa.text("SELECT count(*) FROM halts")))


async def test_with_nothing_to_apply_nothing_is_applied(admin: Context, database_url: str) -> None:
    done = await act(admin, "system.restart_with_migration")

    assert (runner.head(), runner.head(), []) == (done.from_revision, done.to_revision, done.applied)
    assert [] == done.restarted


async def test_a_dry_run_names_what_would_be_applied(admin: Context, database: Database, missing: str) -> None:
    told = await act(admin, "system.restart_with_migration", target=missing, dry_run=True)

    assert ("0025", missing, [missing]) == (told.from_revision, told.to_revision, told.applied)
    assert "0025" == await runner.current(database.url)


async def test_what_is_missing_is_applied_and_everything_started_again(
    admin: Context, database: Database, missing: str
) -> None:
    async with database.system() as tx:
        await processes.take_charge(tx, id="s", hostname="here", pid=1, version="1")
        await processes.begin(tx, [NewProcess(name="api", service=Service.API)])
        [before] = await processes.everything(tx)

    done = await act(admin, "system.restart_with_migration", target=missing)

    assert ([missing], ["api"]) == (done.applied, done.restarted)
    assert missing == await runner.current(database.url)
    async with database.system() as tx:
        [after] = await processes.everything(tx)
    assert before.renewals + 1 == after.renewals
    assert 0 == await halts(database)


async def test_queues_go_on_also_when_it_fails(
    admin: Context, database: Database, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds on to the row that says where the tables are."""
    stood, upgrade = [], runner.upgrade

    async def soon_given_up(url: str, revision: str) -> str:
        stood.append(await halts(database) > 0)
        return await upgrade(url, revision, lock_timeout=timedelta(milliseconds=200))

    monkeypatch.setattr(runner, "upgrade", soon_given_up)
    async with apart.change(database) as tx, apart.owner(tx):
        await tx.execute(sa.text("SELECT * FROM alembic_version FOR UPDATE"))
        failed = await ended(admin, "system.restart_with_migration", target=missing)

    assert (OperationState.FAILED, "CONFLICT", [True]) == (failed.state, failed.error_code, stood)
    assert 0 == await halts(database)


async def test_tables_of_before_there_were_halts_are_migrated(admin: Context, database: Database, missing: str) -> None:
    async with apart.change(database) as tx, apart.owner(tx):
        await tx.execute(sa.text("ALTER TABLE halts RENAME TO no_halts"))
    try:
        done = await act(admin, "system.restart_with_migration", target=missing)
    finally:
        async with apart.change(database) as tx, apart.owner(tx):
            await tx.execute(sa.text("ALTER TABLE no_halts RENAME TO halts"))

    assert [missing] == done.applied


@pytest.mark.parametrize("target", ["nothing", "0001", "base"])
async def test_it_only_ever_goes_ahead(admin: Context, database: Database, target: str) -> None:
    with pytest.raises(BadInput, match="target: "):
        await act(admin, "system.restart_with_migration", target=target)

    assert runner.head() == await runner.current(database.url)
