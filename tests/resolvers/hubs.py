"""A hub in the process of a test, and what happens for it to tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from db import events
from db.database import Database, Transaction
from db.events import Kind
from db.redis import Redis
from resolvers import live
from resolvers.live import Hub, Listener
from tests.waiting import PATIENCE_S

KINDS = (Kind.JOB_CHANGED,)


@asynccontextmanager
async def running(
    database: Database, redis: Redis, *, patience_s: float = live.PATIENCE_S, kind: type[Hub] = Hub
) -> AsyncIterator[Hub]:
    """A hub that reads until the block ends."""
    async with reading(kind(database, redis, patience_s=patience_s)) as hub:
        yield hub


@asynccontextmanager
async def reading(hub: Hub) -> AsyncIterator[Hub]:
    """A hub that is there already, at work until the block ends."""
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(hub.run())
        yield hub
        reader.cancel()


async def next_of(listener: Listener) -> str:
    """The id of what the next event is about."""
    async with asyncio.timeout(PATIENCE_S):
        return (await anext(listener)).entity_id


async def tell(tx: Transaction, entity: str, *, owner: UUID | None = None, number: int = 0) -> None:
    await events.record(tx, Kind.JOB_CHANGED, entity, {"number": number}, owner=owner)


async def told(database: Database, tenant: str, *entities: str, owner: UUID | None = None) -> None:
    """Commit an event for each, in one transaction."""
    async with database.transaction(tenant) as tx:
        for number, entity in enumerate(entities):
            await tell(tx, entity, owner=owner, number=number)
