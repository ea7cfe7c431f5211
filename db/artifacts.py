"""Artifacts: files a job leaves behind beside its clips, such as captions, and files made for whoever asked.

The latter are no job's; they expire, and the sweeps then take row and file away.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.work import ArtifactKind, artifacts, jobs
from db.rows import Row, Shape


class Artifact(Row, frozen=True):
    """One stored file."""

    id: UUID
    tenant_id: str
    job_id: UUID | None
    kind: ArtifactKind
    name: str
    path: str
    """Where it is, relative to the file store."""

    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None


class NewArtifact(Row, frozen=True, kw_only=True):
    """A file that is in the store and has no row yet; without one the sweeps take it away within hours."""

    kind: ArtifactKind
    name: str
    path: str
    media_type: str
    size_bytes: int
    sha256: str


ARTIFACT = Shape(Artifact, artifacts)


async def of_jobs(tx: Transaction, job_ids: Collection[UUID], *, owner: UUID | None = None) -> list[Artifact]:
    """The artifacts of several jobs, by name; with `owner`, only of jobs that are theirs."""
    wanted = ARTIFACT.select().where(artifacts.c.job_id.in_(job_ids)).order_by(artifacts.c.name)
    if owner is not None:
        wanted = wanted.where(sa.exists().where(jobs.c.id == artifacts.c.job_id, jobs.c.user_id == owner))
    return await ARTIFACT.all(tx, wanted)


async def add(tx: Transaction, job_id: UUID, made: Sequence[NewArtifact]) -> None:
    """Store what a job left behind."""
    if made:
        await tx.execute(
            sa.insert(artifacts),
            [
                {"tenant_id": tx.tenant, "job_id": job_id}
                | {name: getattr(artifact, name) for name in NewArtifact.__struct_fields__}
                for artifact in made
            ],
        )


async def keep(tx: Transaction, made: NewArtifact, *, lasting: timedelta | None = None) -> Artifact:
    """Store a file that is no job's, for a time, or until it is removed."""
    values = {name: getattr(made, name) for name in NewArtifact.__struct_fields__}
    expires_at = None if lasting is None else sa.func.now() + lasting
    statement = sa.insert(artifacts).values(tenant_id=tx.tenant, expires_at=expires_at, **values)
    kept = await ARTIFACT.first(tx, statement.returning(*ARTIFACT.columns))
    assert kept is not None
    return kept


async def drop_expired(tx: Transaction, *, most: int) -> int:
    """Remove the rows of files whose time is over; how many those were. For a system transaction."""
    over = sa.select(artifacts.c.id).where(artifacts.c.expires_at <= sa.func.now()).limit(most)
    return await tx.changed(sa.delete(artifacts).where(artifacts.c.id.in_(over)))


async def newest_of(tx: Transaction, media_type: str, *, artifact_id: UUID | None = None) -> Artifact | None:
    """The newest file of a type that is no job's, or just the one of an id; None when there is none."""
    wanted = ARTIFACT.select().where(artifacts.c.job_id.is_(None), artifacts.c.media_type == media_type)
    if artifact_id is not None:
        wanted = wanted.where(artifacts.c.id == artifact_id)
    return await ARTIFACT.first(tx, wanted.order_by(artifacts.c.created_at.desc(), artifacts.c.id.desc()).limit(1))
