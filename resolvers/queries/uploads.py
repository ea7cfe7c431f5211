"""Uploads, as far as the caller may see them."""

from uuid import UUID

from db import uploads
from db.models.work import UploadStatus
from db.pages import Order, Page, Window
from db.uploads import Filter, Range, Upload
from resolvers.context import Context


async def received(context: Context, upload: Upload) -> list[Range]:
    """The bytes that are there, as few ranges as possible."""
    if upload.status is UploadStatus.COMPLETED:
        return [Range(0, upload.size_bytes)]
    return uploads.received(await context.loaders.chunks_by_upload.load(upload.id))


async def missing(context: Context, upload: Upload) -> list[Range]:
    """The bytes that are still to be sent; empty when it can be finalized."""
    return uploads.missing(upload, await received(context, upload))


async def listed(context: Context, wanted: Filter, order: Order, window: Window, *, mine: bool = False) -> Page[Upload]:
    """One page of uploads.

    Args:
        mine: only the caller's own, also where they may see those of others.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await uploads.listed(tx, wanted, order, window, owner=_owner(context, mine))


async def how_many(context: Context, wanted: Filter, *, mine: bool = False) -> int:
    """How many uploads a filter selects."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await uploads.how_many(tx, wanted, owner=_owner(context, mine))


def _owner(context: Context, mine: bool) -> UUID | None:
    return context.caller.user_id if mine else context.caller.owner_filter
