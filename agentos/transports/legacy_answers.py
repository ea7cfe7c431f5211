"""What a legacy socket is told once it is somebody's: what it asks for, what it follows, what happens to the system.

What it asks for is admitted and charged as over REST; a refusal is an answer like any other, and the socket lives on.
Jobs are told to who has subscribed to them, a snapshot to who follows it, and everything else to who may see it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

from agentos.closes import Close
from agentos.transports import legacy_messages as messages
from agentos.transports.legacy_feeds import Feed
from agentos.transports.legacy_jobs import Followed
from agentos.transports.seats import Ended
from db.database import DatabaseUnavailable
from db.events import Event, Kind
from guards.errors import BadInput, QuotaExceeded, Refusal, Unavailable
from guards.permissions import Permission
from resolvers import hearing
from resolvers.context import Context
from resolvers.live import SlowConsumer
from resolvers.queries import queues
from schema.plan import admit_native

CHANNEL: Final = "admin_updates"
LONGEST_ID: Final = 128
EVENTS: Final = frozenset({Kind.QUEUE_CHANGED, Kind.AGENT_CHANGED, Kind.CONFIG_CHANGED, Kind.SECURITY_ALERTED})
"""What is told as a `system_event`, to who may hear of it."""

UNASKED: Final = EVENTS | {Kind.WORKER_CHANGED}
"""What is told to everybody who may hear of it; of jobs, only those that were asked for."""


class Answers:
    """What one socket is told."""

    def __init__(
        self,
        say: Callable[[str], Awaitable[None]],
        context: Callable[[], Context],
        feed: Feed,
        *,
        group: asyncio.TaskGroup,
        stack: AsyncExitStack,
        most_jobs: int,
    ) -> None:
        """
        Args:
            say: sends a message.
            context: makes the context of one question, of who the socket is by now.
            feed: what all sockets of the tenant are told alike.
            group: in which it is told what it did not ask for; ends with the socket.
            stack: by which it leaves what it follows; unwound with the socket.
            most_jobs: how many jobs it may follow.
        """
        self._say = say
        self._context = context
        self._feed = feed
        self._group = group
        self._stack = stack
        self._most_jobs = most_jobs
        self._listening = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held while something about jobs is read and told, so that nothing older is told after it."""

        self._jobs: dict[UUID, Followed] = {}
        self._follows = False

    async def begin(self) -> None:
        """Tell how many jobs are where; from then on, what changes is told unasked."""
        number = self._feed.numbers.number
        await self.take("request_queue_stats", {})
        if self._context().may(Permission.QUEUE_READ):
            self._group.create_task(self._tell(number, self._feed.numbers.after), name="legacy socket numbers")
        self._group.create_task(self._tell_events(), name="legacy socket events")
        await self._listening.wait()

    async def take(self, kind: str, said: dict[str, Any]) -> None:
        """Do what a message of a kind that is among `TAKEN` asks for, or say why not.

        Raises:
            BadInput: it cannot be understood.
        """
        try:
            await TAKEN[kind](self, self._context(), said)
        except BadInput:
            raise
        except Refusal as refusal:
            await self._say(messages.error(refusal.code, str(refusal), retry_after=refusal.retry_after))
        except DatabaseUnavailable:
            told = "what was asked for cannot be read just now: try again"
            await self._say(messages.error(Unavailable.code, told, retry_after=1))

    async def _ping(self, _context: Context, _said: dict[str, Any]) -> None:
        await self._say(messages.message("pong"))

    async def _ignore(self, _context: Context, _said: dict[str, Any]) -> None:
        """Rooms were never anything: who subscribes to one is told nothing more for it."""

    async def _ask_numbers(self, context: Context, _said: dict[str, Any]) -> None:
        await admit_native(context, Permission.QUEUE_READ)
        counted = await queues.numbers(context.services.database, context.caller.tenant)
        await self._say(messages.queue_stats(counted))

    async def _follow(self, context: Context, said: dict[str, Any]) -> None:
        if said.get("channel") != CHANNEL:
            raise BadInput(f"channel: the one channel is {CHANNEL}")
        client_id = said.get("client_id")
        if not isinstance(client_id, str | int | None) or len(str(client_id)) > LONGEST_ID:
            raise BadInput(f"client_id: a name of at most {LONGEST_ID} characters is taken")
        await admit_native(context, Permission.SNAPSHOT_READ)
        snapshots = None
        if not self._follows:
            self._follows = True
            # Before it is confirmed: what changes from then on is told.
            snapshots = await self._stack.enter_async_context(self._feed.following())
        number = 0 if snapshots is None else snapshots.number
        await self._say(messages.message("subscription_confirmed", channel=CHANNEL, client_id=client_id))
        if snapshots is not None:
            self._group.create_task(self._tell(number, snapshots.after), name="legacy socket snapshots")

    async def _follow_job(self, context: Context, said: dict[str, Any]) -> None:
        await self._show(context, said, follow=True)

    async def _ask_job(self, context: Context, said: dict[str, Any]) -> None:
        await self._show(context, said, follow=False)

    async def _show(self, context: Context, said: dict[str, Any], *, follow: bool) -> None:
        given = said.get("job_id")
        job_id = _id(given)
        if job_id is None:
            echoed = given[:LONGEST_ID] if isinstance(given, str) else None
            await self._say(messages.message("invalid_job_id", job_id=echoed))
            return
        await admit_native(context, Permission.JOB_READ)
        if follow and job_id not in self._jobs and len(self._jobs) >= self._most_jobs:
            raise QuotaExceeded(f"a socket follows at most {self._most_jobs} jobs")
        async with self._turn:
            # Events up to here are in what is read after it; later ones are told after it.
            edge = await context.services.hub.edge()
            job = await context.loaders.job.load(job_id)
            if job is None:
                await self._say(messages.message("job_not_found", job_id=job_id))
                return
            if follow:
                self._jobs[job_id] = Followed(job, edge)
            await self._say(messages.job_status(job, await context.loaders.steps_by_job.load(job_id)))

    async def _leave_job(self, _context: Context, said: dict[str, Any]) -> None:
        job_id = _id(said.get("job_id"))
        if job_id is not None:
            self._jobs.pop(job_id, None)

    async def _tell(self, number: int, after: Callable[[int], Awaitable[tuple[int, str]]]) -> None:
        while True:
            number, text = await after(number)
            await self._say(text)

    async def _tell_events(self) -> None:
        context = self._context()
        caller = context.caller
        kinds = {Kind.JOB_CHANGED} | (UNASKED & hearing.audible(context))
        hub = context.services.hub
        listener = hub.listen(caller.tenant, kinds, owner=caller.owner_filter, owned=(Kind.JOB_CHANGED,))
        try:
            async with listener:
                self._listening.set()
                async for event in listener:
                    await self._tell_event(event)
        except SlowConsumer as error:
            raise Ended(Close.SLOW, f"{error.code}: nothing was taken for too long") from error
        except Unavailable as error:
            raise Ended(Close.RESTARTING, str(error)) from error
        except DatabaseUnavailable as error:
            raise Ended(Close.TRY_LATER, "events cannot be read just now: connect again in a moment") from error

    async def _tell_event(self, event: Event) -> None:
        match event.kind:
            case Kind.JOB_CHANGED:
                await self._tell_job(event)
            case Kind.WORKER_CHANGED:
                await self._say(await self._feed.worker(event))
            case _:
                data = {"id": event.entity_id, **event.payload}
                await self._say(messages.message("system_event", event_type=event.kind, event_data=data))

    async def _tell_job(self, event: Event) -> None:
        job_id = UUID(event.entity_id)
        async with self._turn:
            followed = self._jobs.get(job_id)
            if followed is None:
                return
            for text in followed.told(event):
                await self._say(text)
            if followed.gone:
                del self._jobs[job_id]


TAKEN: Final[dict[str, Callable[[Answers, Context, dict[str, Any]], Awaitable[None]]]] = {
    "subscribe": Answers._follow,
    "subscribe_job": Answers._follow_job,
    "unsubscribe_job": Answers._leave_job,
    "request_job_status": Answers._ask_job,
    "request_queue_stats": Answers._ask_numbers,
    "subscribe_room": Answers._ignore,
    "ping": Answers._ping,
}
"""What a client that has signed in may say."""


def _id(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
