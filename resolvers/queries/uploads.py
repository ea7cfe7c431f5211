"""Uploads, as far as the caller may see them."""

from uuid import UUID

from db import uploads
from db.pages import Order, Page, Window
from db.rows import Row
from db.uploads import Filter, Range, Upload
from guards.errors import NotFound
from resolvers.context import Context


class Progress(Row, frozen=True):
    """How far an upload has come."""

    upload: Upload
    received: list[Range]
    """The bytes that are there, as few ranges as possible."""

    missing: list[Range]
    """The bytes that are still to be sent; empty when it can be finalized."""


async def status(context: Context, upload_id: UUID) -> Progress:
    """How far an upload has come that the caller may see.

    Raises:
        NotFound: there is none.
    """
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        upload = await uploads.by_id(tx, upload_id, owner=caller.owner_filter)
        chunks = await uploads.chunks_of(tx, upload_id) if upload else []
    if upload is None:
        raise NotFound(f"there is no upload {upload_id}")
    there = uploads.received(chunks)
    return Progress(upload, there, uploads.missing(upload, there))


async def listed(context: Context, wanted: Filter, order: Order, window: Window) -> Page[Upload]:
    """One page of uploads."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await uploads.listed(tx, wanted, order, window, owner=caller.owner_filter)


async def how_many(context: Context, wanted: Filter) -> int:
    """How many uploads a filter selects."""
    caller = context.caller
    async with context.services.database.transaction(caller.tenant) as tx:
        return await uploads.how_many(tx, wanted, owner=caller.owner_filter)
