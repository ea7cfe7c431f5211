"""Tending the database as actions: what is measured is real, and what goes is what was to go."""

import csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import sizes, upkeep
from db.database import Database
from db.models.guards import OperationState
from guards.errors import BadInput
from guards.links import PLACE
from resolvers.context import Context
from tests.acting import act
from tests.conftest import People
from tests.db.backing import fingerprint, furnish, nowhere
from tests.resolvers.actions.system_controls.test_backups import ended


async def rows(database: Database, table: str, where: str = "true") -> int:
    async with database.system() as tx:
        return int(await tx.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {where}")))


async def change(database: Database, *statements: str) -> None:
    async with database.system() as tx:
        for statement in statements:
            await tx.execute(sa.text(statement))


async def bloat(database: Database) -> None:
    """A table of logs that was large once."""
    await change(
        database,
        "INSERT INTO logs (id, tenant_id, level, source, message) "
        "SELECT gen_random_uuid(), 'default', 'info', 'bloat', repeat(md5(n::text), 20) "
        "FROM generate_series(1, 4000) AS n",
        "DELETE FROM logs WHERE source = 'bloat'",
    )


def fetched(context: Context, url: str) -> bytes:
    link = context.services.links.opened(url.partition(PLACE)[2])
    return context.services.files.resolve(link.path).read_bytes()


async def test_the_status_counts_what_is_there_of_all_tenants(admin: Context, database: Database) -> None:
    await furnish(database, jobs=10)
    # What tests before this one left behind would be worth a vacuum.
    await upkeep.vacuum(database, None, full=False, progress=nowhere)

    status = await act(admin, "database.status")

    counted = {name: await rows(database, name) for name in ("users", "jobs", "clips", "processing_steps")}
    assert counted == {
        "users": status.users_count,
        "jobs": status.jobs_count,
        "clips": status.clips_count,
        "processing_steps": status.processing_steps_count,
    }
    assert status.total_records > sum(counted.values())
    assert (False, "healthy", []) == (status.estimated, status.health.status, status.health.issues)
    assert status.connections >= 1


async def test_the_house_questions_are_timed_and_explained(
    admin: Context, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether they are quick says something of the machine as well.
    monkeypatch.setattr("db.timings.QUICK_MS", 60_000.0)
    await furnish(database, jobs=300)
    await upkeep.vacuum(database, None, full=False, progress=nowhere)

    checked = await act(admin, "database.performance_check")

    told = {test.query_name: test for test in checked.query_tests}
    assert all(test.duration_ms > 0 for test in told.values())
    assert told["job_by_id"].uses_index
    assert told["newest_jobs"].uses_index
    assert 100 == checked.health_score
    assert ["tenant_id", "created_at", "id"] == next(
        index.columns for index in checked.indexes if index.name == "jobs_tenant_id_created_at_idx"
    )


async def test_records_show_the_oldest_and_the_newest(
    admin: Context, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a table that is too large to be counted just as of one that is not."""
    await furnish(database, jobs=30)
    await upkeep.vacuum(database, "jobs", full=False, progress=nowhere)
    exact = {table.name: table for table in (await act(admin, "database.record_details")).tables}["jobs"]

    monkeypatch.setattr(sizes, "COUNTED", 10)
    large = {table.name: table for table in (await act(admin, "database.record_details")).tables}["jobs"]

    async with database.system() as tx:
        [(count, oldest, latest)] = await tx.rows(
            sa.text("SELECT count(*), min(created_at), max(created_at) FROM jobs")
        )
    assert (count, False, oldest, latest) == (exact.count, exact.estimated, exact.oldest_entry, exact.latest_entry)
    assert (count, True, oldest, latest) == (large.count, large.estimated, large.oldest_entry, large.latest_entry)


async def test_a_full_vacuum_gives_room_back(admin: Context, database: Database) -> None:
    await bloat(database)

    done = await act(admin, "database.vacuum", table="logs", full=True)

    async with database.system() as tx:
        assert await sizes.of_tables(tx, ["logs"]) == done.size_after
    assert done.space_freed == done.size_before - done.size_after > 1_000_000
    assert ["logs"] == done.tables


async def test_a_vacuum_leaves_no_dead_rows(admin: Context, database: Database) -> None:
    """As many pages are looked at as the visibility map knows to be clean afterwards."""
    await furnish(database, jobs=20)
    await change(database, "UPDATE jobs SET title = title || '!'")

    await act(admin, "database.vacuum", table="jobs")

    async with database.system() as tx:
        [(pages, clean)] = await tx.rows(
            sa.text("SELECT relpages, relallvisible FROM pg_class WHERE oid = 'public.jobs'::regclass")
        )
    assert pages == clean > 0


@pytest.mark.parametrize("name", ["database.vacuum", "database.optimize_indexes"])
@pytest.mark.parametrize("table", ["nothing", "audit", "alembic_version"])
async def test_only_tables_of_ours_are_tended(admin: Context, name: str, table: str) -> None:
    failed = await ended(admin, name, table=table)

    assert (OperationState.FAILED, "NOT_FOUND") == (failed.state, failed.error_code)


async def test_indexes_are_rebuilt_smaller(admin: Context, database: Database) -> None:
    await bloat(database)
    await upkeep.vacuum(database, "logs", full=False, progress=nowhere)

    done = await act(admin, "database.optimize_indexes", table="logs")

    async with database.system() as tx:
        assert await sizes.of_indexes(tx, ["logs"]) == done.size_after
        of_logs = [index.name for index in await sizes.indexes(tx) if index.table == "logs"]
    assert done.size_after < done.size_before
    assert len(of_logs) == done.indexes_rebuilt


async def age(database: Database) -> None:
    """Finished jobs and lines a year older, but for some."""
    await change(
        database,
        "UPDATE jobs SET completed_at = now() - interval '400 days' WHERE completed_at IS NOT NULL",
        "UPDATE jobs SET completed_at = now() - interval '3 days' WHERE id IN "
        "(SELECT id FROM jobs WHERE completed_at IS NOT NULL ORDER BY id LIMIT 5)",
        "UPDATE logs SET created_at = now() - interval '400 days'",
        "UPDATE logs SET created_at = now() WHERE id IN (SELECT id FROM logs ORDER BY id LIMIT 3)",
    )


async def test_a_cleanup_removes_what_is_old_of_all_tenants(admin: Context, database: Database) -> None:
    await furnish(database, jobs=40)
    await age(database)
    old = "completed_at < now() - interval '30 days'"
    doomed = await rows(database, "jobs", old)
    steps = await rows(database, "processing_steps", f"job_id IN (SELECT id FROM jobs WHERE {old})")
    clips = await rows(database, "clips", f"job_id IN (SELECT id FROM jobs WHERE {old})")
    kept = await rows(database, "jobs") - doomed
    logs = await rows(database, "logs") - 3

    told = await act(admin, "database.cleanup_old_data", dry_run=True)
    assert doomed == await rows(database, "jobs", old)
    done = await act(admin, "database.cleanup_old_data")

    assert (doomed, steps, clips, logs) == (
        done.jobs_removed,
        done.steps_removed,
        done.clips_removed,
        done.logs_removed,
    )
    for name in ("jobs_removed", "steps_removed", "clips_removed", "events_removed", "logs_removed", "total_removed"):
        assert getattr(told, name) == getattr(done, name), name
    assert doomed > 10
    assert (kept, 3) == (await rows(database, "jobs"), await rows(database, "logs"))
    assert (True, False) == (done.backup_created, told.backup_created)


async def test_what_a_cleanup_removed_can_be_had_back(admin: Context, database: Database) -> None:
    await furnish(database, jobs=20)
    await age(database)
    before = await fingerprint(database)

    done = await act(admin, "database.cleanup_old_data")
    name = Path(done.backup_path).name
    await act(admin, "database.restore_backup", filename=name, dry_run=False, confirm=name)

    assert before == await fingerprint(database)


async def test_an_export_masks_whoever_is_in_it(admin: Context, database: Database, people: People) -> None:
    await change(
        database,
        "UPDATE users SET password_hash = 'canary', name = 'Ada Canary'",
        "INSERT INTO logs (id, tenant_id, level, source, message) VALUES (gen_random_uuid(), 'other', 'info', 'api', "
        "'a line of ada@canary.test from 203.0.113.7, 2001:db8::7 and \\ with \"quotes\" and\nlines')",
    )

    for format in ("json", "ndjson", "csv"):
        done = await act(admin, "database.export_data", tables=["users", "logs"], format=format)
        content = fetched(admin, done.download_url)
        if format == "csv":
            with zipfile.ZipFile(io.BytesIO(content)) as files:
                content = b"".join(files.read(name) for name in files.namelist())
        for canary in (b"canary", b"Canary", b"203.0.113.7", b"2001:db8::7", b"admin@default.test"):
            assert canary not in content, (format, canary)
        assert b"***" in content
        assert len(people) + 1 == done.records_count


async def test_every_format_holds_the_same_rows(admin: Context, database: Database) -> None:
    await furnish(database, jobs=10)
    many = await rows(database, "jobs")

    whole = json.loads(fetched(admin, (await _exported(admin, "json", "jobs", "clips")).download_url))
    lines = fetched(admin, (await _exported(admin, "ndjson", "jobs")).download_url).decode().splitlines()
    sheet = fetched(admin, (await _exported(admin, "csv", "jobs")).download_url).decode()

    assert ["jobs", "clips"] == list(whole)
    assert many == len(whole["jobs"]) == len(lines)
    ids = [row["id"] for row in whole["jobs"]]
    assert ids == [json.loads(line)["row"]["id"] for line in lines]
    assert ids == [row["id"] for row in csv.DictReader(io.StringIO(sheet, newline=""))]
    assert {"***"} == {row["title"] for row in whole["jobs"]}


async def _exported(context: Context, format: str, *tables: str, **given: Any) -> Any:
    return await act(context, "database.export_data", tables=list(tables), format=format, **given)


async def test_a_sheet_runs_nothing(admin: Context, database: Database) -> None:
    await change(
        database,
        "INSERT INTO logs (id, tenant_id, level, source, message) VALUES "
        "(gen_random_uuid(), 'default', 'info', 'api', '=HYPERLINK(\"http://evil.test\")')",
    )

    sheet = fetched(admin, (await _exported(admin, "csv", "logs")).download_url).decode()

    [row] = csv.DictReader(io.StringIO(sheet, newline=""))
    assert '\'=HYPERLINK("http://evil.test")' == row["message"]


async def test_an_export_is_bounded(admin: Context, database: Database) -> None:
    await furnish(database, jobs=10)
    since = datetime.now(UTC) + timedelta(days=1)

    assert 3 == (await _exported(admin, "json", "jobs", limit=3)).records_count
    assert 0 == (await _exported(admin, "json", "jobs", since=since.isoformat())).records_count


@pytest.mark.parametrize("table", ["refresh_tokens", "audit", "pii_subjects", "replays", "nothing"])
async def test_only_what_is_listed_leaves_the_house(admin: Context, table: str) -> None:
    with pytest.raises(BadInput, match=f"{table} cannot be exported"):
        await act(admin, "database.export_data", tables=["jobs", table])
