"""Artifacts: what a job leaves behind beside its clips, by name."""

from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import artifacts, jobs
from db.artifacts import NewArtifact
from db.database import Database
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import ArtifactKind
from tests.conftest import People


def a_file(name: str, kind: ArtifactKind = ArtifactKind.CAPTIONS) -> NewArtifact:
    return NewArtifact(
        kind=kind, name=name, path=f"artifacts/{name}", media_type="text/plain", size_bytes=2**33, sha256="0" * 64
    )


async def a_job(database: Database, *names: str, owner: UUID | None = None) -> UUID:
    async with database.transaction("default") as tx:
        job = await jobs.add(tx, NewJob(user_id=owner, source_url="https://v.test", chain=("clipper",)))
        await artifacts.add(tx, job.id, [a_file(name) for name in names])
    return job.id


async def test_artifacts_are_given_by_name_and_as_they_were_made(database: Database) -> None:
    one, other = await a_job(database, "b.srt", "a.srt"), await a_job(database, "c.srt")

    async with database.transaction("default") as tx:
        found = await artifacts.of_jobs(tx, [one, other, uuid4()])

    assert [("a.srt", one), ("b.srt", one), ("c.srt", other)] == [(file.name, file.job_id) for file in found]
    assert (ArtifactKind.CAPTIONS, "artifacts/a.srt", 2**33, None) == (
        found[0].kind,
        found[0].path,
        found[0].size_bytes,
        found[0].expires_at,
    )


async def test_a_job_has_each_name_once(database: Database) -> None:
    job = await a_job(database, "a.srt")

    with pytest.raises(sa.exc.IntegrityError, match="artifacts_job_id_name_key"):
        async with database.transaction("default") as tx:
            await artifacts.add(tx, job, [a_file("a.srt")])


async def test_a_job_may_leave_nothing(database: Database) -> None:
    job = await a_job(database)

    async with database.transaction("default") as tx:
        assert [] == await artifacts.of_jobs(tx, [job])


async def test_artifacts_of_somebody_else_s_job_look_missing(database: Database, people: People) -> None:
    owner = people[Role.USER].id
    job = await a_job(database, "a.srt", owner=owner)

    async with database.transaction("default") as tx:
        assert 1 == len(await artifacts.of_jobs(tx, [job], owner=owner))
        assert [] == await artifacts.of_jobs(tx, [job], owner=people[Role.OPERATOR].id)
    async with database.transaction("other") as tx:
        assert [] == await artifacts.of_jobs(tx, [job])
