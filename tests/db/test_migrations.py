"""Migrations: forward to what the models say, back to nothing, one runner at a time; and the counters they install."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from agentos.embedded import Addresses
from db import tallies
from db.database import Database, Transaction
from db.migrations import runner
from db.migrations.runner import LOCK_ID, MigrationBusy
from db.models.work import JobStatus
from db.models.work import jobs as table
from tests.urls import driver_url, with_database

SOON = timedelta(milliseconds=200)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
OBJECTS = """
SELECT 'table ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'S')
UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'policy ' || polname FROM pg_policy
"""


@pytest_asyncio.fixture
async def empty_url(pair: Addresses) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = f"m_{uuid4().hex}"
    server = await asyncpg.connect(driver_url(pair.database_url))
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
        yield with_database(pair.database_url, name)
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await server.close()


async def objects(url: str) -> set[str]:
    """Everything in a database that a migration could have made, but Alembic's own table."""
    connection = await asyncpg.connect(driver_url(url))
    try:
        return {row[0] for row in await connection.fetch(OBJECTS)} - {"table alembic_version"}
    finally:
        await connection.close()


def test_there_is_one_head_and_one_line_from_the_first_to_it() -> None:
    config = Config()
    config.set_main_option("script_location", str(runner.__file__).rpartition("/")[0])
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    line = list(scripts.walk_revisions())

    assert [runner.head()] == scripts.get_heads()
    assert 1 == len([revision for revision in line if revision.down_revision is None])
    assert all(revision.doc.strip().endswith(".") for revision in line), "a revision says what it is for"


async def test_migrations_lead_to_the_models_and_back_to_nothing_and_there_again(empty_url: str) -> None:
    assert await runner.current(empty_url) is None
    assert runner.head() == await runner.upgrade(empty_url)
    first = await objects(empty_url)
    differences = await runner.differences(empty_url)
    assert "base" == await runner.downgrade(empty_url, "base")
    nothing = await objects(empty_url)
    assert runner.head() == await runner.upgrade(empty_url)

    assert [] == differences == await runner.differences(empty_url)
    assert set() == nothing
    assert first == await objects(empty_url)
    assert runner.head() == await runner.current(empty_url)


async def test_a_database_is_at_the_revision_that_alembic_finds(empty_url: str) -> None:
    """Alembic looks along the whole search path; who looked less far would take its tables for nobody's."""
    connection = await asyncpg.connect(driver_url(empty_url))
    await connection.execute(
        f"""
        CREATE TABLE alembic_version (version_num text);
        INSERT INTO alembic_version VALUES ('{runner.head()}');
        CREATE SCHEMA beside;
        ALTER DATABASE {await connection.fetchval("SELECT current_database()")} SET search_path = beside, public
        """
    )
    await connection.close()
    database = Database.connect(empty_url, size=1)
    async with database.engine.connect() as own:
        found = await own.run_sync(lambda it: MigrationContext.configure(it).get_current_revision())
    await database.close()

    assert runner.head() == found == await runner.current(empty_url)


async def test_what_the_models_do_not_say_is_told(database_url: str, database: Database) -> None:
    """Control: an empty answer must mean that somebody looked."""
    connection = await asyncpg.connect(driver_url(database_url))
    await connection.execute("CREATE TABLE stray (id int); ALTER TABLE jobs DROP COLUMN title")
    await connection.close()

    told = {str(difference[0]) for difference in await runner.differences(database_url)}  # type: ignore[index] # tuples

    assert {"remove_table", "add_column"} == told


async def test_upgrading_what_is_up_to_date_changes_nothing(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it wait for anybody: a server that starts has nothing to ask of one that migrates."""
    other = await asyncpg.connect(driver_url(database_url))
    await other.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
    try:
        with caplog.at_level(logging.INFO, "alembic.runtime.migration"):
            assert runner.head() == await runner.upgrade(database_url, turn_timeout=SOON)
    finally:
        await other.close()

    assert [] == steps_run(caplog)


def steps_run(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "Running" in record.getMessage()]


async def test_of_two_that_upgrade_at_once_one_works_and_both_end_well(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "alembic.runtime.migration"):
        ended = await asyncio.gather(runner.upgrade(empty_url), runner.upgrade(empty_url))

    assert {runner.head()} == set(ended)
    assert [] == await runner.differences(empty_url)
    assert len(steps_run(caplog)) == len(set(steps_run(caplog))) > 0


async def test_a_runner_that_does_not_get_its_turn_gives_up_and_changes_nothing(empty_url: str) -> None:
    other = await asyncpg.connect(driver_url(empty_url))
    await other.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
    try:
        with pytest.raises(MigrationBusy, match="try again"):
            async with asyncio.timeout(60):
                await runner.upgrade(empty_url, turn_timeout=SOON)
        assert await runner.current(empty_url) is None
        assert set() == await objects(empty_url)
    finally:
        await other.close()

    assert runner.head() == await runner.upgrade(empty_url)


async def test_a_migration_does_not_queue_behind_a_long_transaction(database_url: str) -> None:
    """Queued, it would stop every reader behind itself, though that transaction is in nobody else's way.

    It gives up instead and gives its turn back, so the next runner need not wait for it.
    """
    touches_jobs = await runner.downgrade(database_url, "0023")
    before = await objects(database_url)
    other = await asyncpg.connect(driver_url(database_url))
    holding = other.transaction()
    await holding.start()
    await other.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
    try:
        with pytest.raises(MigrationBusy, match="try again"):
            async with asyncio.timeout(60):
                await runner.downgrade(database_url, "0003", lock_timeout=SOON)
        assert touches_jobs == await runner.current(database_url)
        assert before == await objects(database_url)
        assert await other.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_ID)
    finally:
        await other.close()

    assert "0003" == await runner.downgrade(database_url, "0003")
    assert runner.head() == await runner.upgrade(database_url)


async def test_numbers_survive_a_step_back_and_forth(database_url: str) -> None:
    database = Database.connect(database_url)
    try:
        async with database.transaction("default") as tx:
            await insert(tx, [{}, {}, ended(JobStatus.FAILED, LONG_AGO)])
        await runner.downgrade(database_url, "0003")
        async with database.transaction("default") as tx:
            back = dict(await tx.rows(sa.text("SELECT status::text, sum(jobs)::int FROM job_gauges GROUP BY 1")))
        await runner.upgrade(database_url)
        async with database.transaction("default") as tx:
            again = await tallies.counts(tx)
    finally:
        await database.close()

    assert {"queued": 2, "failed": 1} == back
    assert {JobStatus.QUEUED: 2, JobStatus.FAILED: 1} == {status: jobs for status, jobs in again.items() if jobs}


def ended(status: JobStatus, at: datetime, *, wait_s: float = 0, run_s: float = 0) -> dict[str, Any]:
    """A job that ended at `at`, after it had waited and run for so long."""
    started = at - timedelta(seconds=run_s)
    due = started - timedelta(seconds=wait_s)
    return {"status": status, "created_at": due, "run_at": due, "started_at": started, "completed_at": at}


async def insert(tx: Transaction, rows: list[dict[str, Any]]) -> list[UUID]:
    """Put jobs in with one statement, as a seed does."""
    ids = [uuid4() for _ in rows]
    plain = {"chain": ["clipper"], "current_step": "clipper", "status": JobStatus.QUEUED}
    times = dict.fromkeys(("started_at", "completed_at"))
    now = await tx.scalar(sa.select(sa.func.now()))
    await tx.execute(
        sa.insert(table).values(
            [
                {"tenant_id": tx.tenant, "id": key, "created_at": now, "run_at": now} | plain | times | row
                for key, row in zip(ids, rows, strict=True)
            ]
        )
    )
    return ids


Counted = Counter[tuple[datetime, JobStatus]]


async def moved(tx: Transaction, ids: list[UUID], status: JobStatus, counted: Counted) -> None:
    """Give many jobs another status with one statement, and note what the hours should say of it."""
    over = status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
    statement = (
        sa.update(table)
        .where(table.c.id.in_(ids))
        .values(
            status=status,
            completed_at=sa.func.now() if over else None,
            lease_until=sa.func.now() if status is JobStatus.PROCESSING else None,
            started_at=sa.func.now() if status is JobStatus.PROCESSING else table.c.started_at,
            current_step=None if status is JobStatus.COMPLETED else "clipper",
        )
    )
    hour = await tx.scalar(sa.select(sa.func.date_trunc("hour", sa.func.now())))
    before = await tx.rows(sa.select(table.c.status).where(table.c.id.in_(ids)))
    changed = sum(was is not status for (was,) in before)
    await tx.execute(statement)
    if status is not JobStatus.QUEUED and changed:
        counted[hour, status] += changed


async def assert_exact(tx: Transaction, counted: Counted) -> None:
    """The counters are what counting the jobs themselves gives."""
    brute = Counter(dict(await tx.rows(sa.select(table.c.status, sa.func.count()).group_by(table.c.status))))
    turn = sa.case((table.c.completed_at.is_(None), table.c.current_step))
    by_agent = await tx.rows(sa.select(table.c.status, turn, sa.func.count()).group_by(table.c.status, turn))
    gauges = {(gauge.status, gauge.agent_id): gauge.jobs for gauge in await tallies.gauges(tx)}
    hours = {(hour.hour, hour.status): hour.jobs for hour in await tallies.hours(tx, LONG_AGO)}

    assert {status: brute[status] for status in JobStatus} == await tallies.counts(tx)
    assert {(status, agent): count for status, agent, count in by_agent} == gauges
    assert counted == hours


@pytest.mark.parametrize("seed", range(3))
async def test_counters_are_exact_after_whatever_happens_to_many_jobs_at_once(database: Database, seed: int) -> None:
    random = Random(seed)
    counted: Counted = Counter()
    known: list[UUID] = []
    others = [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]
    async with database.transaction("other") as tx:
        await insert(tx, [{}, ended(JobStatus.FAILED, LONG_AGO)])
    for turn in range(25):
        async with database.transaction("default") as tx:
            some = random.sample(known, random.randrange(len(known) + 1)) if known else []
            match random.choice(("insert", "move", "move", "delete")):
                case "insert":
                    rows: list[dict[str, Any]] = [{} for _ in range(random.randrange(20))]
                    now = await tx.scalar(sa.select(sa.func.date_trunc("hour", sa.func.now())))
                    counted[now, JobStatus.QUEUED] += len(rows)
                    for _ in range(random.randrange(1, 20)):
                        hour = LONG_AGO + timedelta(hours=random.randrange(4))
                        status = random.choice(others)
                        rows.append(ended(status, hour + timedelta(minutes=30), wait_s=60, run_s=60))
                        for said in (JobStatus.QUEUED, JobStatus.PROCESSING, status):
                            counted[hour, said] += 1
                    known += await insert(tx, rows)
                case "move":
                    await moved(tx, some, random.choice(list(JobStatus)), counted)
                case "delete":
                    gone = some[: len(some) // 4]
                    await tx.execute(sa.delete(table).where(table.c.id.in_(gone)))
                    known = [key for key in known if key not in gone]
        if turn % 6 == 0:
            async with database.system() as tx:
                await tallies.fold(tx)
        async with database.transaction("default") as tx:
            await assert_exact(tx, +counted)


async def test_hours_add_up_how_long_jobs_waited_and_ran(database: Database) -> None:
    async with database.transaction("default") as tx:
        await insert(
            tx,
            [
                ended(JobStatus.COMPLETED, LONG_AGO + timedelta(minutes=50), wait_s=10, run_s=100),
                ended(JobStatus.COMPLETED, LONG_AGO + timedelta(minutes=51), wait_s=20, run_s=200),
                ended(JobStatus.FAILED, LONG_AGO + timedelta(minutes=52), wait_s=40, run_s=400),
            ],
        )
        hours = {hour.status: (hour.jobs, hour.wait_s, hour.run_s) for hour in await tallies.hours(tx, LONG_AGO)}

    assert {
        JobStatus.QUEUED: (3, 0, 0),
        JobStatus.PROCESSING: (3, 70, 0),
        JobStatus.COMPLETED: (2, 0, 300),
        JobStatus.FAILED: (1, 0, 400),
    } == hours


async def test_thousands_of_jobs_of_one_statement_are_counted_with_one_delta(database: Database) -> None:
    async with database.transaction("default") as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO jobs (id, tenant_id, chain, current_step) "
                "SELECT gen_random_uuid(), 'default', '{clipper}', 'clipper' FROM generate_series(1, 5000)"
            )
        )
        deltas = await tx.rows(sa.text("SELECT jobs FROM job_gauges"))
        counted = await tallies.counts(tx)

    assert [(5000,)] == deltas
    assert 5000 == counted[JobStatus.QUEUED] == sum(counted.values())


async def test_a_change_that_is_rolled_back_was_never_counted(database: Database) -> None:
    with pytest.raises(sa.exc.ProgrammingError):  # noqa: PT012 - the rows must be in when it fails
        async with database.transaction("default") as tx:
            await insert(tx, [{}] * 5)
            await tx.execute(sa.text("SELECT no_such_column"))

    async with database.transaction("default") as tx:
        assert 0 == sum((await tallies.counts(tx)).values())
        assert [] == await tallies.hours(tx, LONG_AGO)
