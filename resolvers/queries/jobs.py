"""Jobs and clips, as far as the caller may see them."""

from uuid import UUID

from db import clips, jobs
from db.clips import Clip
from db.jobs import Filter, Job
from db.pages import Order, Page, Window
from resolvers.context import Context


async def by_id(context: Context, job_id: UUID) -> Job | None:
    """One job, or None."""
    return await context.loaders.job.load(job_id)


async def listed(context: Context, wanted: Filter, order: Order, window: Window) -> Page[Job]:
    """One page of jobs."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await jobs.listed(tx, wanted, order, window, owner=caller.owner_filter)


async def how_many(context: Context, wanted: Filter) -> int:
    """How many jobs a filter selects."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await jobs.how_many(tx, wanted, owner=caller.owner_filter)


async def clip_by_id(context: Context, clip_id: UUID) -> Clip | None:
    """One clip, or None."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.by_id(tx, clip_id, owner=caller.owner_filter)


async def clips_listed(context: Context, wanted: clips.Filter, order: Order, window: Window) -> Page[Clip]:
    """One page of clips."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.listed(tx, wanted, order, window, owner=caller.owner_filter)


async def how_many_clips(context: Context, wanted: clips.Filter) -> int:
    """How many clips a filter selects."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await clips.how_many(tx, wanted, owner=caller.owner_filter)
