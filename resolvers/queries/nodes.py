"""Anything by its id, if the caller may read what it is."""

from typing import Final
from uuid import UUID

from db import agents, clips, jobs, logs, nodes, system_events, uploads, users, workers
from db.database import Transaction
from db.nodes import Kind
from db.rows import Row
from guards.permissions import Permission
from resolvers.context import Context

READ_BY: Final = {
    Kind.JOB: Permission.JOB_READ,
    Kind.CLIP: Permission.CLIP_READ,
    Kind.UPLOAD: Permission.UPLOAD_READ,
    Kind.USER: Permission.ME_READ,
    Kind.LOG_LINE: Permission.LOG_READ,
    Kind.SYSTEM_EVENT: Permission.EVENT_READ,
    Kind.AGENT: Permission.AGENT_READ,
    Kind.WORKER: Permission.WORKER_READ,
}
"""What a caller needs in order to find something of a kind."""


async def by_id(context: Context, key: UUID | str) -> Row | None:
    """What has that id, or None if there is nothing or the caller may not see it."""
    caller = context.caller
    kinds = {kind for kind, permission in READ_BY.items() if context.may(permission)}
    async with context.services.database.transaction(caller.tenant) as tx:
        kind = await nodes.kind_of(tx, key, kinds)
        if kind is None:
            return None
        if isinstance(key, str):
            return await (agents.by_id(tx, key) if kind is Kind.AGENT else workers.by_id(tx, key))
        return await _row(tx, kind, key, caller.owner_filter)


async def _row(tx: Transaction, kind: Kind, key: UUID, owner: UUID | None) -> Row | None:
    match kind:
        case Kind.JOB:
            return await jobs.by_id(tx, key, owner=owner)
        case Kind.CLIP:
            return await clips.by_id(tx, key, owner=owner)
        case Kind.UPLOAD:
            return await uploads.by_id(tx, key, owner=owner)
        case Kind.USER:
            return await users.by_id(tx, key) if owner in (None, key) else None
        case Kind.LOG_LINE:
            return await logs.by_id(tx, key)
        case Kind.SYSTEM_EVENT:
            return await system_events.by_id(tx, key)
        case _:
            raise LookupError(f"a {kind} has no UUID")
