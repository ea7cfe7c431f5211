"""A restored house equals the one that was backed up, and what must not go back does not."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import apart, backups, events, jobs, layout, leases, queues, restores, users
from db.archives import Damaged, Includes
from db.backups import Backup, Backups
from db.database import Database
from db.jobs import NewJob
from db.leases import Claim
from db.models.identity import Role
from db.models.work import JobStatus
from db.restores import Unfit
from tests.conftest import People
from tests.db.backing import EVERYTHING, fingerprint, furnish, nowhere


@pytest.fixture
def folder(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "backups")


@pytest_asyncio.fixture
async def furnished(database: Database) -> AsyncIterator[Database]:
    await furnish(database)
    yield database


async def saved(folder: Backups, database: Database, includes: Includes = EVERYTHING) -> Backup:
    return await folder.create(database, backups.new_name(), includes, compressed=True, progress=nowhere)


async def restored(folder: Backups, database: Database, backup: Backup, only: list[str] | None = None) -> Backup:
    place = folder.place(backup.filename)
    planned = await restores.plan(database, place, only=only)
    return await restores.carry_out(database, folder, place, planned, progress=nowhere)


async def upset(database: Database) -> None:
    """Change something in every table that a backup can have."""
    async with database.system() as tx:
        for statement in (
            "INSERT INTO tenants (id, name) VALUES ('third', 'A third one')",
            "UPDATE tenants SET name = 'renamed' WHERE id = 'other'",
            "DELETE FROM users WHERE id = (SELECT id FROM users ORDER BY id LIMIT 1)",
            "UPDATE users SET role = 'readonly', name = 'somebody else'",
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs ORDER BY id LIMIT 20)",
            "UPDATE jobs SET title = 'changed', priority = 9",
            "UPDATE processing_steps SET message = 'changed'",
            "UPDATE clips SET title = 'changed'",
            "DELETE FROM clips WHERE id IN (SELECT id FROM clips ORDER BY id LIMIT 3)",
            "DELETE FROM artifacts",
            "UPDATE uploads SET filename = 'changed'",
            "DELETE FROM logs WHERE id IN (SELECT id FROM logs ORDER BY id LIMIT 5)",
            "UPDATE system_events SET message = 'changed'",
            "DELETE FROM config_versions",
            "UPDATE worker_profiles SET concurrency = 2",
            "UPDATE agents SET max_concurrent = 1, enabled = false",
            "DELETE FROM job_hours",
            "DELETE FROM step_hours",
        ):
            await tx.execute(sa.text(statement))


VERSIONED = {"users": "token_version"}
"""What is told apart by itself: who had another role meanwhile keeps no token from before."""


async def test_a_restored_house_equals_the_old_one(furnished: Database, folder: Backups) -> None:
    """By a digest of every row of every table; fences and versions of tokens alone are other ones, see below."""
    before = await fingerprint(furnished, without=VERSIONED)
    backup = await saved(folder, furnished)
    await upset(furnished)
    upside = await fingerprint(furnished, without=VERSIONED)
    changed = {name for name, digest in upside.items() if digest != before[name]}

    await restored(folder, furnished, backup)

    filled = {name for name, digest in before.items() if not digest.startswith("0 ")}
    assert changed == filled
    assert before == await fingerprint(furnished, without=VERSIONED)
    assert len(filled) >= 13


async def test_who_has_their_old_role_again_has_to_sign_in(furnished: Database, folder: Backups) -> None:
    """A token of the role in between must not count, nor one from before it."""
    versions = sa.text("SELECT id, token_version FROM users")
    backup = await saved(folder, furnished)
    async with furnished.system() as tx:
        before = dict(await tx.rows(versions))
        await tx.execute(sa.text("UPDATE users SET role = 'readonly'"))
        between = dict(await tx.rows(versions))

    await restored(folder, furnished, backup)

    async with furnished.system() as tx:
        after = dict(await tx.rows(versions))
    changed = {key for key in before if between[key] > before[key]}
    assert changed
    assert all(after[key] > between[key] for key in changed)


async def test_what_was_there_before_can_be_had_back(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    await upset(furnished)
    upside = await fingerprint(furnished, without=VERSIONED)

    before = await restored(folder, furnished, backup)
    await restored(folder, furnished, before)

    assert upside == await fingerprint(furnished, without=VERSIONED)


async def test_counting_goes_on_after_a_restore(furnished: Database, folder: Backups) -> None:
    """The triggers that count jobs are back, and rows are numbered after those that were restored."""
    await restored(folder, furnished, await saved(folder, furnished))

    async with furnished.transaction("default") as tx:
        before = await tx.scalar(sa.text("SELECT sum(jobs) FROM job_gauges WHERE status = 'queued'"))
        await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=("clipper",)))
        after = await tx.scalar(sa.text("SELECT sum(jobs) FROM job_gauges WHERE status = 'queued'"))
        counted = await tx.scalar(sa.text("SELECT count(*) FROM jobs WHERE status = 'queued'"))

    assert (before or 0) + 1 == after == counted


async def _job(database: Database) -> UUID:
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=("clipper",)))
    return job.id


async def _claimed(database: Database, worker: str) -> Claim:
    async with database.system() as tx:
        [claim] = await leases.claim(tx, worker, most=1)
    return claim


async def test_who_holds_a_job_when_it_is_restored_holds_it_no_longer(database: Database, folder: Backups) -> None:
    """Not even when the backup shows the very same worker at the very same job."""
    job_id = await _job(database)
    claim = await _claimed(database, "w1")
    backup = await saved(folder, database)

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        job = await jobs.by_id(tx, job_id)
        assert job is not None
        assert (JobStatus.QUEUED, 0) == (job.status, job.attempt)
        with pytest.raises(leases.Lost):
            await leases.complete(tx, claim)
    async with database.system() as tx:
        assert [] == await leases.keep(tx, "w1", [(job_id, claim.fence)], lease=leases.LEASE)
    assert claim.fence < (await _claimed(database, "w1")).fence


async def test_no_fence_goes_back(database: Database, folder: Backups) -> None:
    """A worker that took the job after the backup, and once more, has a fence that nobody gets a second time."""
    job_id = await _job(database)
    backup = await saved(folder, database)
    first = await _claimed(database, "w1")
    async with database.system() as tx:
        await leases.take_back(tx, "w1", count_attempt=False)
    second = await _claimed(database, "w2")

    await restored(folder, database, backup)
    third = await _claimed(database, "w2")

    assert job_id == third.job.id
    assert first.fence < second.fence < third.fence
    async with database.transaction("default") as tx:
        with pytest.raises(leases.Lost):
            await leases.complete(tx, second)


async def test_with_the_fences_of_the_backup_two_would_hold_one_job(
    database: Database, folder: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weakened twin of the two tests above: restored as they were, fences are given out a second time."""
    raised = dict(restores._LOADED)
    del raised["jobs", "fence"]
    monkeypatch.setattr(restores, "_LOADED", raised)
    await _job(database)
    backup = await saved(folder, database)
    stale = await _claimed(database, "w1")

    await restored(folder, database, backup)
    fresh = await _claimed(database, "w2")

    assert stale.fence == fresh.fence
    async with database.transaction("default") as tx:
        await leases.complete(tx, stale)


async def test_queues_stand_still_meanwhile_and_go_on_as_they_were(database: Database, folder: Backups) -> None:
    async with database.transaction("other") as tx:
        await queues.mark_paused(tx, reason="ours")
    backup = await saved(folder, database)
    seen: list[bool] = []

    async def look(share: float, where: str) -> None:
        async with database.transaction("default") as tx:
            state = await queues.state(tx)
        seen.append(state is not None and state.paused and state.refusing)

    place = folder.place(backup.filename)
    await restores.carry_out(database, folder, place, await restores.plan(database, place), progress=look)

    assert {True} == set(seen)
    async with database.transaction("default") as tx:
        assert None is await queues.state(tx)
    async with database.transaction("other") as tx:
        state = await queues.state(tx)
    assert state is not None
    assert (True, "ours", None) == (state.paused, state.reason, state.paused_until)


async def test_nobody_goes_on_from_before_a_restore(database: Database, folder: Backups) -> None:
    """Events are as they were, but no longer tell how what there is came about."""
    backup = await saved(folder, database)
    async with database.transaction("default") as tx:
        await events.record(tx, events.Kind.QUEUE_CHANGED, "default", {})
    async with database.transaction("default") as tx:
        [told] = await events.after(tx, events.START)
        before = await events.floor(tx)

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        floor, edge = await events.floor(tx), await events.edge(tx)
    assert events.START == before < told.cursor < floor <= edge


async def test_the_audit_trail_is_left_alone(furnished: Database, folder: Backups, people: People) -> None:
    backup = await saved(folder, furnished)
    async with furnished.transaction("default") as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO audit (tenant_id, seq, action, outcome, previous, hash) "
                "VALUES ('default', 0, 'job.cancel', 'done', '', '')"
            )
        )

    await restored(folder, furnished, backup)

    assert {"audit", "pii_subjects"}.isdisjoint(table.name for table in backup.manifest.tables)
    async with furnished.transaction("default") as tx:
        assert 1 == await tx.scalar(sa.text("SELECT count(*) FROM audit"))


async def test_a_revoked_token_stays_revoked(database: Database, folder: Backups, people: People) -> None:
    user = people[Role.ADMIN]
    backup = await saved(folder, database)
    async with database.transaction("default") as tx:
        await users.revoke_tokens(tx, user.id)
        version = await users.token_version(tx, user.id)

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        assert version == await users.token_version(tx, user.id)


async def test_who_was_locked_out_since_stays_so(database: Database, folder: Backups, people: People) -> None:
    user = people[Role.ADMIN]
    backup = await saved(folder, database)
    async with database.transaction("default") as tx:
        await users.mark_disabled(tx, user.id)
        locked_out = await users.by_id(tx, user.id)

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        after = await users.by_id(tx, user.id)
    assert locked_out is not None
    assert locked_out.disabled_at is not None
    assert locked_out == after


async def test_who_was_locked_out_at_the_time_is_so_again(database: Database, folder: Backups, people: People) -> None:
    user = people[Role.ADMIN]
    async with database.transaction("default") as tx:
        await users.mark_disabled(tx, user.id)
    backup = await saved(folder, database)
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE users SET disabled_at = NULL"))

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        assert await users.token_version(tx, user.id) is None


async def test_without_user_data_people_keep_what_makes_them_out(
    database: Database, folder: Backups, people: People
) -> None:
    """Who is still there keeps name, address and password; who is not comes back without them."""
    backup = await saved(folder, database, Includes())
    staying, leaving = people[Role.ADMIN], people[Role.USER]
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM users WHERE id = :id"), {"id": leaving.id})
        changed = sa.text("UPDATE users SET email = 'new@default.test', role = 'user' WHERE id = :id")
        await tx.execute(changed, {"id": staying.id})

    await restored(folder, database, backup)

    async with database.transaction("default") as tx:
        kept, back = await users.by_id(tx, staying.id), await users.by_id(tx, leaving.id)
    assert kept is not None
    assert back is not None
    assert ("new@default.test", staying.name, Role.ADMIN) == (kept.email, kept.name, kept.role)
    assert (f"{leaving.id}@left-out.invalid", "", Role.USER) == (back.email, back.name, back.role)


async def test_a_part_is_restored_only_with_all_that_refers_to_it(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    before = await fingerprint(furnished)
    await upset(furnished)
    upside = await fingerprint(furnished)
    place = folder.place(backup.filename)

    for only, why in (
        (["jobs"], "refer to jobs: restore them as well"),
        (["nothing"], "the backup has no table nothing"),
    ):
        with pytest.raises(Unfit, match=why):
            await restores.plan(furnished, place, only=only)
    await restored(folder, furnished, backup, only=["logs", "system_events"])

    parts = {"logs", "system_events"}
    assert {name: before[name] if name in parts else upside[name] for name in before} == await fingerprint(furnished)


async def test_another_revision_is_refused(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    async with apart.bare(furnished) as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))

    try:
        with pytest.raises(Unfit, match=r"of revision \w+, the database is at 0001"):
            await restores.plan(furnished, folder.place(backup.filename))
    finally:
        # The next test gets this database again, with all of its rows swept but this one.
        async with apart.bare(furnished) as connection:
            await connection.execute(
                sa.text("UPDATE alembic_version SET version_num = :was"), {"was": backup.manifest.revision}
            )


async def test_rows_that_would_point_nowhere_change_nothing(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    place = folder.place(backup.filename)
    async with furnished.system() as tx:
        await tx.execute(sa.text("DELETE FROM users"))
    before = await fingerprint(furnished)
    job_data = sorted(layout.JOB_DATA)

    with pytest.raises(Unfit, match="refer to rows that are not there"):
        await restores.restore(furnished, place, await restores.plan(furnished, place, only=job_data), progress=nowhere)

    assert before == await fingerprint(furnished)


async def test_a_damaged_backup_is_not_even_begun(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    place = folder.place(backup.filename)
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    before = await fingerprint(furnished)

    with pytest.raises(Damaged):
        await restores.plan(furnished, place)

    assert before == await fingerprint(furnished)


async def test_a_file_exchanged_after_it_was_verified_changes_nothing(furnished: Database, folder: Backups) -> None:
    backup = await saved(folder, furnished)
    place = folder.place(backup.filename)
    planned = await restores.plan(furnished, place)
    await upset(furnished)
    other = await saved(folder, furnished)
    place.write_bytes(folder.place(other.filename).read_bytes())
    before = await fingerprint(furnished)

    with pytest.raises(Damaged):
        await restores.restore(furnished, place, planned, progress=nowhere)

    assert before == await fingerprint(furnished)
