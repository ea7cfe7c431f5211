"""Removing jobs: what goes along, what stays, and that nothing goes which somebody is at work on."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import leases
from db.database import Database, Transaction
from db.files import FileKind
from db.models.identity import Role
from db.models.work import JobStatus
from guards.errors import Conflict
from resolvers.context import Context, Services
from tests.acting import act, refused
from tests.conftest import People
from tests.standing import found, job_in, standing, steps_of, with_clip
from tests.workers.conftest import Bench

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


async def test_a_cancel_takes_along_what_was_made_of_it(admin: Context, database: Database) -> None:
    parent = await job_in(database, COMPLETED)
    root = await job_in(database, QUEUED, parent=parent)
    child = await job_in(database, PROCESSING, parent=root)
    over = await job_in(database, COMPLETED, parent=root)
    grandchild = await job_in(database, QUEUED, parent=child)
    beside = await job_in(database, QUEUED, parent=parent)

    cancelled = await act(admin, "job.cancel", job_id=str(root), cascade=True, force=True)

    assert [child, grandchild] == cancelled.cascaded
    stands = [job.status for each in (root, child, over, grandchild, beside) if (job := await found(database, each))]
    assert [CANCELLED, CANCELLED, COMPLETED, CANCELLED, QUEUED] == stands


async def test_without_being_asked_nothing_is_taken_along(admin: Context, database: Database) -> None:
    root = await job_in(database, QUEUED)
    child = await job_in(database, QUEUED, parent=root)

    assert [] == (await act(admin, "job.cancel", job_id=str(root))).cascaded
    kept = await found(database, child)
    assert kept is not None
    assert QUEUED is kept.status


async def test_a_user_takes_along_only_what_is_theirs(user: Context, people: People, database: Database) -> None:
    root = await job_in(database, QUEUED, owner=user.caller.user_id)
    own = await job_in(database, QUEUED, owner=user.caller.user_id, parent=root)
    foreign = await job_in(database, QUEUED, owner=people[Role.OPERATOR].id, parent=root)

    assert [own] == (await act(user, "job.cancel", job_id=str(root), cascade=True)).cascaded
    kept = await found(database, foreign)
    assert kept is not None
    assert QUEUED is kept.status


async def stored(services: Services, folder: Path, content: bytes) -> str:
    """Where the store keeps some bytes."""
    made = folder / f"{uuid4().hex}.mp4"
    made.write_bytes(content)
    kept = await services.files.adopt(made, "default", FileKind.CLIPS)
    return kept.path


async def test_a_job_goes_with_its_rows_and_the_files_nobody_else_names(
    admin: Context, services: Services, tmp_path: Path
) -> None:
    database = services.database
    own, shared = await stored(services, tmp_path, b"mine alone"), await stored(services, tmp_path, b"ours")
    job_id, other = await job_in(database, COMPLETED), await job_in(database, COMPLETED)
    await with_clip(database, job_id, own, thumbnail=shared)
    await with_clip(database, other, shared)
    before = await standing(database)

    would = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True, dry_run=True)

    assert before == await standing(database)
    assert services.files.resolve(own).exists()
    gone = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)
    assert (1, 1, 1, 1, len(b"mine alone"), False) == (
        gone.jobs_deleted,
        gone.clips_deleted,
        gone.steps_deleted,
        gone.files_deleted,
        gone.bytes_freed,
        gone.dry_run,
    )
    assert (1, 1, 1, 1, len(b"mine alone"), True) == (
        would.jobs_deleted,
        would.clips_deleted,
        would.steps_deleted,
        would.files_deleted,
        would.bytes_freed,
        would.dry_run,
    )
    assert (None, [], False, True) == (
        await found(database, job_id),
        await steps_of(database, job_id),
        services.files.resolve(own).exists(),
        services.files.resolve(shared).exists(),
    )


async def test_files_stay_unless_they_are_meant_too(admin: Context, services: Services, tmp_path: Path) -> None:
    path = await stored(services, tmp_path, b"kept")
    job_id = await job_in(services.database, COMPLETED)
    await with_clip(services.database, job_id, path)

    gone = await act(admin, "job.delete", job_id=str(job_id))

    assert (1, 0, 0) == (gone.clips_deleted, gone.files_deleted, gone.bytes_freed)
    assert services.files.resolve(path).exists()


async def test_bytes_that_a_job_at_work_may_be_about_to_name_stay(
    admin: Context, services: Services, tmp_path: Path
) -> None:
    """It has stored the same bytes already, and its rows come only when it completes."""
    job_id = await job_in(services.database, COMPLETED)
    await job_in(services.database, PROCESSING)
    path = await stored(services, tmp_path, b"the same moment")
    await with_clip(services.database, job_id, path)

    gone = await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)

    assert (1, 0) == (gone.clips_deleted, gone.files_deleted)
    assert services.files.resolve(path).exists()


async def test_control_without_looking_who_is_at_work_they_go(
    admin: Context, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(_: Transaction) -> None:
        return None

    monkeypatch.setattr(leases, "oldest_at_work", nobody)
    job_id = await job_in(services.database, COMPLETED)
    await job_in(services.database, PROCESSING)
    path = await stored(services, tmp_path, b"the same moment")
    await with_clip(services.database, job_id, path)

    await act(admin, "job.delete", job_id=str(job_id), delete_outputs=True)

    assert not services.files.resolve(path).exists()


async def test_what_was_made_of_a_job_goes_along_or_stays(admin: Context, database: Database) -> None:
    root = await job_in(database, FAILED)
    child = await job_in(database, COMPLETED, parent=root)
    other = await job_in(database, FAILED)
    kept = await job_in(database, COMPLETED, parent=other)

    assert 2 == (await act(admin, "job.delete", job_id=str(root), cascade=True)).jobs_deleted
    assert 1 == (await act(admin, "job.delete", job_id=str(other))).jobs_deleted

    orphan = await found(database, kept)
    assert (None, None) == (await found(database, root), await found(database, child))
    assert orphan is not None
    assert orphan.parent_job_id is None


async def test_a_job_at_work_is_not_removed(admin: Context, database: Database) -> None:
    root = await job_in(database, FAILED)
    child = await job_in(database, PROCESSING, parent=root)

    for given in ({"job_id": str(child)}, {"job_id": str(root), "cascade": True}):
        refusal = await refused(admin, "job.delete", **given)
        assert ("CONFLICT", f"job {child} is at work: cancel it first") == (refusal.code, str(refusal))
    assert "NOT_FOUND" == (await refused(admin, "job.delete", job_id=str(uuid4()))).code


async def test_a_job_is_removed_or_claimed_never_both(admin: Context, bench: Bench) -> None:
    for _ in range(5):
        job = await bench.submitted()

        async def removed(job_id: UUID = job.id) -> bool:
            try:
                await act(admin, "job.delete", job_id=str(job_id))
            except Conflict:
                return False
            return True

        async def claimed() -> int:
            async with bench.database.system() as tx:
                return len(await leases.claim(tx, "w1", most=1))

        gone, taken = await asyncio.gather(removed(), claimed())

        assert (True, gone) == (gone is not bool(taken), await found(bench.database, job.id) is None)
        async with bench.database.system() as tx:
            await tx.execute(sa.text("DELETE FROM jobs"))
