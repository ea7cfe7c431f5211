"""A small schema to try the transports with, and a process that serves it."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

import strawberry
from starlette.applications import Starlette

from agentos import logs
from agentos import services as opening
from agentos.app import assembled
from agentos.serving import bound, serve
from agentos.settings import Settings
from db.database import DatabaseUnavailable
from db.events import Cursor, Kind
from db.redis import REDIS_AWAY, Redis
from guards.callers import require
from guards.permissions import Permission
from resolvers.context import Context, Services
from resolvers.live import SlowConsumer
from schema.build import Schema
from schema.rest.serving import own_routes
from schema.telling import Executor

Info = strawberry.Info[Context, None]

GO = "stage:go"
"""The key in Redis that lets go what lingers."""

begun = asyncio.Event()
"""Set when a query that waits has begun."""


async def let_go(redis: Redis) -> bool:
    """Whether somebody outside has said so; not yet, when Redis was late to tell."""
    try:
        return bool(await redis.exists(GO))
    except REDIS_AWAY:
        return False


@strawberry.type
class Seen:
    """A job as a subscription shows it."""

    job_id: strawberry.Private[str]
    told: str

    @strawberry.field
    async def loaded(self, info: Info) -> str:
        """Its status, through the loader."""
        job = await info.context.loaders.job.load(UUID(self.job_id))
        return "gone" if job is None else job.status


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    def open(self) -> int:
        """Anybody may."""
        return 1

    @strawberry.field
    def me(self, info: Info) -> str:
        """Who asks."""
        return str(info.context.caller.user_id)

    @strawberry.field
    def house(self, info: Info) -> str:
        """For who may administrate."""
        return require(info.context.viewer, Permission.ADMIN).role

    @strawberry.field
    def address(self, info: Info) -> str:
        """Where the caller is."""
        return info.context.address

    @strawberry.field
    def echo(self, text: str) -> str:
        """What was said."""
        return text

    @strawberry.field
    def breaks(self) -> int:
        """A fault of ours."""
        raise RuntimeError("an inside with the password hunter2")

    @strawberry.field
    async def waits(self) -> int:
        """Never ends by itself."""
        begun.set()
        await asyncio.Event().wait()
        return 1

    @strawberry.field
    async def lingers(self, info: Info) -> int:
        """Ends when somebody outside says so."""
        begun.set()
        while not await let_go(info.context.services.redis):  # noqa: ASYNC110 - said from another process
            await asyncio.sleep(0.02)
        return 1

    @strawberry.field
    async def begun(self) -> int:
        """Answers once one of the two above has begun."""
        await begun.wait()
        return 1


@strawberry.type
class Mutation:
    """What can be done."""

    @strawberry.mutation
    def touch(self) -> bool:
        """Nothing."""
        return True


@strawberry.type
class Subscription:
    """What can be watched."""

    @strawberry.subscription
    async def job(self, info: Info, id: str) -> AsyncGenerator[Seen, None]:
        """A job, now and whenever it changes."""
        caller, hub = info.context.caller, info.context.services.hub
        async with hub.listen(caller.tenant, [Kind.JOB_CHANGED], owner=caller.owner_filter, entity=id) as changes:
            yield Seen(job_id=id, told="now")
            async for change in changes:
                yield Seen(job_id=id, told=change.payload["status"])

    @strawberry.subscription
    async def jobs(self, info: Info) -> AsyncGenerator[str, None]:
        """The ids of jobs that change."""
        caller, hub = info.context.caller, info.context.services.hub
        async with hub.listen(caller.tenant, [Kind.JOB_CHANGED], owner=caller.owner_filter) as changes:
            yield "listening"
            async for change in changes:
                yield change.entity_id

    @strawberry.subscription
    async def twice(self) -> AsyncGenerator[int, None]:
        """Two answers, and no more."""
        yield 1
        yield 2

    @strawberry.subscription
    async def lags(self) -> AsyncGenerator[int, None]:
        """One answer, and then too many for who reads them."""
        yield 1
        raise SlowConsumer("events were not taken for too long", cursor=Cursor(7, 1))

    @strawberry.subscription
    async def fails(self) -> AsyncGenerator[int, None]:
        """One answer, and then a fault of ours."""
        yield 1
        raise RuntimeError("an inside with the password hunter2")

    @strawberry.subscription
    async def starves(self, after: int = 1) -> AsyncGenerator[int, None]:
        """Some answers, and then no database to read the next from."""
        for number in range(after):
            yield number
        raise DatabaseUnavailable("somewhere inside")

    @strawberry.subscription
    async def pours(self, bytes: int) -> AsyncGenerator[str, None]:
        """More than anybody takes."""
        while True:
            yield "x" * bytes
            # Others have their turn, also while the client takes it all.
            await asyncio.sleep(0)


schema = Schema(Query, Mutation, Subscription, execution_context_class=Executor)


def staged(settings: Settings, services: Services) -> Starlette:
    """The application with this schema in the place of ours, and without REST."""
    return assembled(settings, services, schema, own_routes)


async def serving() -> int:
    """Serve it with the settings of the environment, and print where."""
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    async with opening.opened(settings) as opened:
        listening = bound(settings.host, settings.port)
        app = staged(settings, opened)
        return await serve(app, listening, ready=lambda host, port: print(f"http://{host}:{port}", flush=True))


def main() -> int:
    """Serve it as a process."""
    return asyncio.run(serving())
