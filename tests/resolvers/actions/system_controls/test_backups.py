"""Backups as actions: what a person may ask for, what is refused, and what a restore does to a running house."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import halts, operations
from db.database import Database
from db.models.guards import OperationState
from db.operations import Operation
from guards.errors import BadInput, Conflict, NotFound
from resolvers.context import Context
from tests.acting import act, performed
from tests.db.backing import fingerprint, furnish
from tests.waiting import eventually


async def ended(context: Context, name: str, **given: Any) -> Operation:
    """An operation once it has ended, however it did."""
    begun = (await performed(context, name, **given)).operation
    assert begun is not None

    async def look() -> Operation:
        async with context.services.database.transaction(context.caller.tenant) as tx:
            found = await operations.by_id(tx, begun.id)
        assert found is not None
        return found

    return await eventually(look, lambda found: found.state is not OperationState.RUNNING)


async def jobs_titled(database: Database, title: str) -> int:
    async with database.system() as tx:
        return int(await tx.scalar(sa.text("SELECT count(*) FROM jobs WHERE title = :title"), {"title": title}))


@pytest.mark.parametrize("name", ["database.create_backup", "system.backup"])
async def test_a_backup_is_made_listed_and_verified(
    admin: Context, database: Database, tmp_path: Path, name: str
) -> None:
    await furnish(database, jobs=10)

    made = await act(admin, name, backup_name="first", include_user_data=True)

    place = tmp_path / made.path
    assert ("first.tar.gz", "backups/first.tar.gz") == (made.filename, made.path)
    assert place.stat().st_size == made.size
    [listed] = (await act(admin, "database.list_backups")).backups
    assert (made.sha256, made.records_count, None) == (listed.sha256, listed.records_count, listed.verified)
    verified = await act(admin, "database.verify_backup", filename="first.tar.gz")
    assert (True, True, made.records_count, made.tables) == (
        verified.ok,
        verified.sha256_match,
        verified.records_count,
        verified.tables,
    )
    assert [True] == [backup.verified for backup in (await act(admin, "database.list_backups")).backups]


async def test_a_damaged_backup_is_said_to_be(admin: Context, tmp_path: Path) -> None:
    made = await act(admin, "database.create_backup")
    place = tmp_path / made.path
    content = bytearray(place.read_bytes())
    content[len(content) // 3] ^= 1
    place.write_bytes(content)

    verified = await act(admin, "database.verify_backup", filename=made.filename)

    assert (False, False) == (verified.ok, verified.sha256_match)
    assert "the file is not the one that was written: its SHA-256 is another" == verified.problems[0]
    failed = await ended(admin, "database.restore_backup", filename=made.filename)
    assert (OperationState.FAILED, "CHECKSUM_MISMATCH") == (failed.state, failed.error_code)


async def test_a_restore_brings_the_house_back(admin: Context, database: Database, tmp_path: Path) -> None:
    """While it is watched, through the same database that it replaces."""
    await furnish(database, jobs=10)
    made = await act(admin, "database.create_backup", include_user_data=True)
    before = await fingerprint(database)
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE jobs SET title = 'changed'"))
    changed = await jobs_titled(database, "changed")

    name = made.filename
    restored = await act(admin, "database.restore_backup", filename=name, dry_run=False, confirm=name)

    assert before == await fingerprint(database)
    assert (False, made.records_count, made.tables) == (
        restored.dry_run,
        restored.records_restored,
        restored.restored_tables,
    )
    earlier = (await act(admin, "database.list_backups")).backups[0]
    assert restored.pre_backup == earlier.filename
    await act(admin, "database.restore_backup", filename=earlier.filename, dry_run=False, confirm=earlier.filename)
    assert changed == await jobs_titled(database, "changed") > 0


async def test_a_dry_run_changes_nothing(admin: Context, database: Database) -> None:
    await furnish(database, jobs=10)
    made = await act(admin, "database.create_backup")
    before = await fingerprint(database)

    told = await act(admin, "database.restore_backup", filename=made.filename)

    assert (True, None, made.tables) == (told.dry_run, told.pre_backup, told.restored_tables)
    assert before == await fingerprint(database)
    assert 1 == len((await act(admin, "database.list_backups")).backups)


@pytest.mark.parametrize("confirm", [None, "", "first", "first.tar.gz ", "FIRST.TAR.GZ"])
async def test_what_is_not_confirmed_is_refused_at_once(
    admin: Context, database: Database, confirm: str | None
) -> None:
    """No operation is begun, and nothing has changed."""
    await act(admin, "database.create_backup", backup_name="first")
    before = await fingerprint(database)

    with pytest.raises(BadInput, match="confirm: repeat the name of the file"):
        await act(admin, "database.restore_backup", filename="first.tar.gz", dry_run=False, confirm=confirm)

    assert before == await fingerprint(database)
    async with database.transaction("default") as tx:
        assert ["database.create_backup"] == [each.action for each in await operations.newest(tx, most=10)]


@pytest.mark.parametrize("filename", ["../first.tar.gz", "/etc/passwd", "..", "keys.json", "first.tar.gz.json"])
@pytest.mark.parametrize("name", ["database.verify_backup", "database.restore_backup"])
async def test_no_name_leads_outside(admin: Context, name: str, filename: str) -> None:
    await act(admin, "database.create_backup", backup_name="first")

    with pytest.raises(NotFound):
        await act(admin, name, filename=filename)


@pytest.mark.parametrize("name", ["../first", ".first", "a/b", "a\0b", "", "x" * 101])
async def test_a_backup_is_not_called_anything(admin: Context, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="backupName"):
        await act(admin, "database.create_backup", backup_name=name)

    assert not (tmp_path / "backups").exists()


async def test_a_name_is_given_once(admin: Context) -> None:
    await act(admin, "database.create_backup", backup_name="first")

    with pytest.raises(Conflict, match=r"there is a backup first\.tar\.gz already"):
        await act(admin, "database.create_backup", backup_name="first")


async def test_two_restores_are_not_at_work_at_once(admin: Context, database: Database) -> None:
    """The second is refused while the first holds the queues, which then go on as they were."""
    made = await act(admin, "database.create_backup")

    async with halts.halted(database, "somebody is at it"):
        failed = await ended(
            admin, "database.restore_backup", filename=made.filename, dry_run=False, confirm=made.filename
        )
        async with database.system() as tx:
            assert "somebody is at it" == await tx.scalar(sa.text("SELECT reason FROM halts"))

    assert (OperationState.FAILED, "CONFLICT") == (failed.state, failed.error_code)
    async with database.system() as tx:
        assert 0 == await tx.scalar(sa.text("SELECT count(*) FROM halts"))
