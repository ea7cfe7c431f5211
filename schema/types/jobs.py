"""Jobs: what they are made from, their steps, and what comes of them."""

from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import cast
from uuid import UUID

import msgspec
import strawberry
from strawberry import Private
from strawberry.scalars import JSON

from db import agents as agent_rows
from db import artifacts, clips, jobs, steps, uploads
from db import users as user_rows
from db.models.work import ArtifactKind, JobStatus, StepStatus, UploadStatus
from resolvers.queries import jobs as reads
from resolvers.queries import uploads as sending
from schema.fields import Info, described, nested, shows
from schema.scalars import BigInt, key
from schema.types.agents import Agent
from schema.types.nodes import Node
from schema.types.people import User
from workers.agents import contract
from workers.turn import MEDIA_SCHEME


class SourceKind(StrEnum):
    """Where a video comes from."""

    UPLOAD = "upload"
    URL = "url"
    FILE = "file"
    """A file of the server."""


@shows(contract.Reason)
class Reason:
    """A part of what a clip's score is made of."""

    reason: str
    points: float


@shows(uploads.Range)
class ByteRange:
    """A stretch of bytes of a file."""

    start: BigInt
    end: BigInt


@shows(uploads.Upload)
class Upload(Node):
    """A file that somebody sends, or has sent."""

    id: UUID = key()
    filename: str
    size_bytes: BigInt
    chunk_bytes: int
    chunk_count: int
    received_bytes: BigInt
    progress: int
    sha256: str | None
    media_type: str | None
    status: UploadStatus
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    completed_at: datetime | None
    user_id: Private[UUID | None]

    @nested(User | None)
    async def owner(self, info: Info) -> user_rows.User | None:
        """Who sends it; null when they were removed."""
        return None if self.user_id is None else await info.context.loaders.user.load(self.user_id)

    @nested(list[ByteRange])
    async def received(self, info: Info) -> list[uploads.Range]:
        """The bytes that are there, as few ranges as possible."""
        return await sending.received(info.context, cast(uploads.Upload, self))

    @nested(list[ByteRange])
    async def missing(self, info: Info) -> list[uploads.Range]:
        """The bytes that are still to be sent; empty when it can be finalized."""
        return await sending.missing(info.context, cast(uploads.Upload, self))


@shows(steps.Step)
class Step:
    """One agent's turn in a job."""

    id: UUID = key()
    ordinal: int
    agent_id: str
    status: StepStatus
    attempt: int
    progress: float
    message: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None

    @nested(Agent | None)
    async def agent(self, info: Info) -> agent_rows.Agent | None:
        """Whose turn it is; null when it was removed."""
        return await info.context.loaders.agent.load(self.agent_id)


@shows(artifacts.Artifact)
class Link:
    """A file that a job left behind beside its clips."""

    id: UUID = key()
    kind: ArtifactKind
    name: str
    media_type: str
    size_bytes: BigInt
    sha256: str
    created_at: datetime
    tenant_id: Private[str]
    path: Private[str]

    @nested()
    def url(self, info: Info) -> str:
        """Where it can be fetched for an hour, by whoever has the address."""
        return info.context.services.links.to(self.tenant_id, self.path, self.name)


@described
class Source:
    """Where a job's video comes from."""

    kind: SourceKind
    address: str | None
    """The URL, or the path below the server's media folder; null for an upload."""


@shows(clips.Clip)
class Clip(Node):
    """A finished clip."""

    id: UUID = key()
    ordinal: int
    title: str
    start_s: float
    end_s: float
    duration_s: float
    width: int
    height: int
    size_bytes: BigInt
    sha256: str
    score: float
    created_at: datetime
    job_id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The job it came of.")
    tenant_id: Private[str]
    path: Private[str]
    thumbnail_path: Private[str | None]

    @nested()
    def file_name(self) -> str:
        """What it is called when it is saved."""
        return reads.file_name(_clip(self))

    @nested(reads.Shape)
    def shape(self) -> reads.Shape:
        """How it stands."""
        return reads.shape(_clip(self))

    @nested()
    async def available(self, info: Info) -> bool:
        """Whether its file is where it should be."""
        return await reads.there(info.context, _clip(self))

    @nested()
    def url(self, info: Info) -> str:
        """Where it can be watched for an hour, by whoever has the address."""
        return info.context.services.links.to(self.tenant_id, self.path, reads.file_name(_clip(self)), inline=True)

    @nested()
    def download_url(self, info: Info) -> str:
        """Where it can be saved for an hour, by whoever has the address."""
        return info.context.services.links.to(self.tenant_id, self.path, reads.file_name(_clip(self)))

    @nested()
    def thumbnail_url(self, info: Info) -> str | None:
        """Where its picture can be seen for an hour; null when it has none."""
        if self.thumbnail_path is None:
            return None
        name = PurePath(reads.file_name(_clip(self))).with_suffix(PurePath(self.thumbnail_path).suffix).name
        return info.context.services.links.to(self.tenant_id, self.thumbnail_path, name, inline=True)

    @nested(list[Reason])
    def reasons(self) -> list[contract.Reason]:
        """What the score is made of; the points add up to it."""
        return msgspec.convert(_clip(self).reasons, list[contract.Reason])

    @nested("Job | None")
    async def job(self, info: Info) -> jobs.Job | None:
        """The job it came of."""
        return await info.context.loaders.job.load(self.job_id)


@shows(jobs.Job)
class Job(Node):
    """A video on its way through a chain of agents."""

    id: UUID = key()
    title: str
    workflow_type: str
    options: JSON
    chain: list[str]
    status: JobStatus
    progress: int
    """In percent; that of its steps is a share from 0 to 1."""

    priority: int
    current_step: str | None
    error_code: str | None
    error_message: str | None
    attempt: int
    max_attempts: int
    retry_count: int
    run_at: datetime
    worker_id: str | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    duration_s: float | None
    user_id: Private[UUID | None]
    upload_id: Private[UUID | None]
    source_url: Private[str | None]

    @nested()
    def message(self) -> str:
        """How it stands, in words."""
        return reads.message(_job(self))

    @nested(datetime | None)
    async def estimated_completion(self, info: Info) -> datetime | None:
        """When it will be done if it goes as others did in the last 24 hours; null when nothing tells."""
        return await reads.completion(info.context, _job(self))

    @nested(strawberry.ID | None)
    def owner_id(self) -> UUID | None:
        """Whose it is; null when they were removed."""
        return self.user_id

    @nested(list[Step])
    async def steps(self, info: Info) -> list[steps.Step]:
        """Its agents' turns, in the order of the chain."""
        return await info.context.loaders.steps_by_job.load(self.id)

    @nested(list[Clip])
    async def clips(self, info: Info) -> list[clips.Clip]:
        """Its clips, best first; none before it is completed."""
        return await info.context.loaders.clips_by_job.load(self.id)

    @nested(list[Link])
    async def links(self, info: Info) -> list[artifacts.Artifact]:
        """What else it left behind, such as captions, a script and posts."""
        return await info.context.loaders.artifacts_by_job.load(self.id)

    @nested(User | None)
    async def owner(self, info: Info) -> user_rows.User | None:
        """Whose it is; null when they were removed."""
        return None if self.user_id is None else await info.context.loaders.user.load(self.user_id)

    @nested(Upload | None)
    async def upload(self, info: Info) -> uploads.Upload | None:
        """The upload it is made from; null when it is made from something else."""
        return None if self.upload_id is None else await info.context.loaders.upload.load(self.upload_id)

    @nested(Source)
    def source(self) -> Source:
        """Where its video comes from."""
        if self.source_url is None:
            return Source(kind=SourceKind.UPLOAD, address=None)
        if self.source_url.startswith(MEDIA_SCHEME):
            return Source(kind=SourceKind.FILE, address=self.source_url.removeprefix(MEDIA_SCHEME))
        return Source(kind=SourceKind.URL, address=self.source_url)


@shows(reads.Statistics)
class JobStatistics:
    """How some jobs stand, and how those of them went that are over."""

    total: BigInt
    queued: BigInt
    processing: BigInt
    completed: BigInt
    failed: BigInt
    cancelled: BigInt
    success_percent: float | None
    average_run_s: float | None
    p50_run_s: float | None
    p95_run_s: float | None
    p99_run_s: float | None
    average_wait_s: float | None
    measured_jobs: int


def _job(shown: Job) -> jobs.Job:
    return cast(jobs.Job, shown)


def _clip(shown: Clip) -> clips.Clip:
    return cast(clips.Clip, shown)
