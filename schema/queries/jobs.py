"""What can be read of people's work: their jobs, the clips made of them, the videos they sent."""

from functools import partial
from typing import Any

import strawberry

from db import clips as clip_rows
from db import jobs as job_rows
from db import uploads as upload_rows
from guards.permissions import Permission
from resolvers.queries import jobs, system, uploads
from resolvers.queries.jobs import Statistics
from schema.connections import Connection, connection, window
from schema.fields import Info, described, requires
from schema.inputs import (
    ClipFilter,
    ClipOrder,
    JobFilter,
    JobOrder,
    UploadFilter,
    UploadOrder,
)
from schema.scalars import uuid_of
from schema.types.jobs import Clip, Job, JobStatistics, Upload
from schema.types.system import Queue


@described
class Jobs:
    """Work, and what came of it."""

    @requires(Permission.JOB_READ, gives=Job | None)
    async def job(self, info: Info, id: strawberry.ID) -> job_rows.Job | None:
        """One job; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await jobs.by_id(info.context, key)

    @requires(Permission.JOB_READ, gives=Connection[Job] | None)
    async def jobs(
        self,
        info: Info,
        filter: JobFilter | None = None,
        order_by: JobOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """The jobs that the caller may see, the newest first unless told otherwise."""
        wanted = (filter or JobFilter()).wanted()
        page = await jobs.listed(
            info.context, wanted, (order_by or JobOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(jobs.how_many, info.context, wanted))

    @requires(Permission.JOB_READ, gives=JobStatistics | None, weight=100)
    async def job_statistics(self, info: Info, filter: JobFilter | None = None) -> Statistics:
        """How the jobs that the caller may see stand, and how they went."""
        return await jobs.statistics(info.context, (filter or JobFilter()).wanted())

    @requires(Permission.CLIP_READ, gives=Clip | None)
    async def clip(self, info: Info, id: strawberry.ID) -> clip_rows.Clip | None:
        """One clip; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await jobs.clip_by_id(info.context, key)

    @requires(Permission.CLIP_READ, gives=Connection[Clip] | None)
    async def clips(
        self,
        info: Info,
        filter: ClipFilter | None = None,
        order_by: ClipOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """The clips that the caller may see, the newest first unless told otherwise."""
        wanted = (filter or ClipFilter()).wanted()
        page = await jobs.clips_listed(
            info.context, wanted, (order_by or ClipOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(jobs.how_many_clips, info.context, wanted))

    @requires(Permission.UPLOAD_READ, gives=Upload | None)
    async def upload(self, info: Info, id: strawberry.ID) -> upload_rows.Upload | None:
        """One upload; null when there is none that the caller may see."""
        key = uuid_of(id)
        return None if key is None else await info.context.loaders.upload.load(key)

    @requires(Permission.UPLOAD_READ, gives=Connection[Upload] | None)
    async def uploads(
        self,
        info: Info,
        filter: UploadFilter | None = None,
        order_by: UploadOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """The uploads that the caller may see, the newest first unless told otherwise."""
        wanted, mine = (filter or UploadFilter()).wanted(), filter is not None and filter.mine
        part = window(first, after, last, before, offset)
        page = await uploads.listed(info.context, wanted, (order_by or UploadOrder()).order(), part, mine=mine)
        return connection(page, partial(uploads.how_many, info.context, wanted, mine=mine))

    @requires(Permission.QUEUE_READ, gives=Queue | None)
    async def queue(self, info: Info) -> system.Queue:
        """The queue as it is now."""
        return await system.queue(info.context)
