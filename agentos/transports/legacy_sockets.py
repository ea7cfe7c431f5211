"""The legacy WebSocket: the messages that clients from before this API speak, behind the doors that it did not have.

A socket is somebody's: by the `Authorization` of its handshake, by the cookie `agentos_token` of a page whose origin is
allowed, or by a first message `{"type": "authenticate", "token": …}` within five seconds. Before that it hears
`connection_established` and nothing of the house. It ends with its token, or within five seconds of its user being
signed out; another `authenticate` keeps it open longer. What it asks for is admitted and charged as over REST. What
cannot be understood is answered with an `error`; who floods, or sends one such message after the other, is let go, and
so is who takes nothing for ten seconds. Jobs are told to who has subscribed to them, a snapshot to who follows it.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final
from uuid import UUID

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from agentos.metrics import Metrics
from agentos.transports import bodies, seats
from agentos.transports import legacy_messages as messages
from agentos.transports.contexts import Contexts
from agentos.transports.departures import GOING, Departures
from agentos.transports.legacy_feeds import Feed, Feeds
from agentos.transports.legacy_jobs import Followed
from agentos.transports.seats import MOST_BYTES, Ended, Seats
from db import sockets
from db.database import DatabaseUnavailable
from db.events import Event, Kind
from db.redis import REDIS_AWAY
from db.services import Service
from db.tasks import going_on
from guards.allowances import of_new_sockets
from guards.callers import Caller
from guards.errors import BadInput, QuotaExceeded, RateLimited, Refusal, Unauthenticated, Unavailable
from guards.permissions import Permission
from resolvers.context import Context, Services
from resolvers.live import SlowConsumer
from resolvers.queries import queues
from schema.plan import admit_native

COOKIE: Final = "agentos_token"
CHANNEL: Final = "admin_updates"
INIT_S: Final = 5.0
BEAT_S: Final = 20.0
"""How often a client is asked whether it is there. One that has ever answered is let go after two that it did not."""

PER_SECOND: Final = 50
MOST_FAULTS: Final = 10
"""Messages in a row that cannot be understood, before a client is let go."""

MOST_JOBS: Final = 100
SAY_EVERY_S: Final = 3.0
"""How often is said how many sockets are open."""

LONGEST_ID: Final = 128
TOKENS_IN_ADDRESS: Final = frozenset({"token", "access_token", "authorization", "jwt"})
EVENTS: Final = {
    Kind.QUEUE_CHANGED: Permission.QUEUE_READ,
    Kind.AGENT_CHANGED: Permission.AGENT_READ,
    Kind.CONFIG_CHANGED: Permission.CONFIG_READ,
    Kind.SECURITY_ALERTED: Permission.EVENT_READ,
}
"""What is told as a `system_event`, and to whom."""

log = logging.getLogger(__name__)


class LegacySockets:
    """The route of the legacy WebSocket, and all of its sockets in this process."""

    def __init__(
        self,
        services: Services,
        seats: Seats,
        contexts: Contexts,
        metrics: Metrics,
        feeds: Feeds,
        departures: Departures,
        *,
        init_s: float = INIT_S,
        beat_s: float = BEAT_S,
        most_jobs: int = MOST_JOBS,
    ) -> None:
        """
        Args:
            init_s: seconds a socket has to say who it is.
            beat_s: seconds between two pings.
            most_jobs: how many jobs one socket may follow.
        """
        self.services = services
        self.seats = seats
        self.contexts = contexts
        self.feeds = feeds
        self.init_s = init_s
        self.beat_s = beat_s
        self.most_jobs = most_jobs
        self.open: set[_Socket] = set()
        """Sockets that say, or still may say, who they are."""

        self._metrics = metrics
        self._departures = departures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if not self.seats.welcome(websocket):
            # Closed before it was accepted: the handshake is answered with 403.
            await websocket.close(1008)
            return
        if not await self._admitted(websocket):
            return
        await websocket.accept()
        one = _Socket(self, websocket)
        with self._metrics.sockets.track_inprogress(), self._departures.staying(one.part):
            self.open.add(one)
            try:
                await one.live()
            finally:
                self.open.discard(one)

    async def run(self, process: Service) -> None:
        """Say how many sockets are open, every few seconds until cancelled; with Redis away nobody is told.

        Args:
            process: which this one is.
        """
        name = f"{process}-{socket.gethostname()}-{os.getpid()}"
        try:
            while going_on():
                with suppress(*REDIS_AWAY):
                    await sockets.say(self.services.redis, name, len(self.open))
                await asyncio.sleep(SAY_EVERY_S)
        finally:
            with suppress(*REDIS_AWAY):
                await sockets.unsay(self.services.redis, name)

    async def _admitted(self, websocket: WebSocket) -> bool:
        address = websocket.client.host if websocket.client else ""
        try:
            self._departures.admit()
            await self.services.rates.charge("", (of_new_sockets(address),))
        except (RateLimited, Unavailable) as refusal:
            await seats.deny(websocket, refusal)
            return False
        return True


class _Socket:
    """One socket, from the accepted handshake to its end."""

    def __init__(self, route: LegacySockets, websocket: WebSocket) -> None:
        self._route = route
        self._websocket = websocket
        self._group = asyncio.TaskGroup()
        self._stack = AsyncExitStack()
        self._caller: Caller | None = None
        self._feed: Feed | None = None
        self._parting = asyncio.Event()
        self._greeted = asyncio.Event()
        self._listening = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held while something about jobs is read and told, so that nothing older is told after it."""

        self._jobs: dict[UUID, Followed] = {}
        self._follows = False
        self._heard_at = time.monotonic()
        self._answers = False
        self._second, self._in_second = 0, 0
        self._faults = 0

    async def live(self) -> None:
        """Serve the socket until either side ends it."""
        ended = Ended()
        try:
            async with self._stack, self._group:
                self._group.create_task(self._part(), name="legacy socket part")
                self._group.create_task(self._watch(), name="legacy socket watch")
                await self._say(messages.message("connection_established", server_status="online"))
                await self._recognize()
                self._group.create_task(self._beat(), name="legacy socket beat")
                await self._listen()
        except* Ended as group:
            ended = seats.first(group)
        finally:
            if self._caller is not None:
                self._route.seats.leave(self._caller)
        await seats.close(self._websocket, ended)

    def part(self) -> None:
        """Close the socket, because this process is going down."""
        self._parting.set()

    async def _part(self) -> None:
        await self._parting.wait()
        raise Ended(1012, GOING)

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(self._route.init_s):
                await self._greeted.wait()
        except TimeoutError as error:
            raise Ended(4401, "nobody has signed in: send authenticate with a token first") from error
        await self._route.seats.watch(self._present)

    def _present(self) -> Caller:
        assert self._caller is not None
        return self._caller

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._route.beat_s)
            silent_s = time.monotonic() - self._heard_at
            if self._answers and silent_s > 2 * self._route.beat_s:
                raise Ended(4408, f"nothing was heard for {silent_s:.0f} s")
            await self._say(messages.message("ping"))

    async def _recognize(self) -> None:
        """Take the handshake's word for who it is, if it brings one."""
        if not TOKENS_IN_ADDRESS.isdisjoint(name.lower() for name in self._websocket.query_params):
            raise Ended(4400, "addresses end up in logs: send the token as a header, a cookie or the first message")
        authorization = seats.presented(self._websocket)
        # Only pages are stopped by the check of origins; what says none could be one that an attacker has stripped.
        if authorization is None and "origin" in self._websocket.headers:
            token = self._websocket.cookies.get(COOKIE)
            authorization = None if token is None else f"Bearer {token}"
        if authorization is not None:
            await self._greet(authorization)

    async def _greet(self, authorization: str) -> None:
        caller = await self._route.seats.verified(self._websocket, authorization)
        self._route.seats.take(caller)
        self._caller = caller
        # Known from here on, however long it takes to read what it is told first.
        self._greeted.set()
        self._feed = await self._stack.enter_async_context(self._route.feeds.of(caller.tenant))
        number = self._feed.numbers.number
        await self._admit_and(self._ask_numbers, {})
        if self._context().may(Permission.QUEUE_READ):
            self._group.create_task(self._tell(number, self._feed.numbers.after), name="legacy socket numbers")
        self._group.create_task(self._tell_events(), name="legacy socket events")
        await self._listening.wait()

    async def _listen(self) -> None:
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                raise Ended
            self._heard_at = time.monotonic()
            self._count()
            try:
                taken = await self._take(_understood(received.get("text")))
            except (BadInput, Unauthenticated) as refusal:
                self._faults += 1
                if self._faults > MOST_FAULTS:
                    raise Ended(4400, "too many messages that cannot be understood") from refusal
                await self._say(messages.error(refusal.code, str(refusal)))
            else:
                self._faults = 0 if taken else self._faults

    def _count(self) -> None:
        second = int(self._heard_at)
        self._in_second = self._in_second + 1 if second == self._second else 1
        self._second = second
        if self._in_second > PER_SECOND:
            raise Ended(4429, f"more than {PER_SECOND} messages in a second")

    async def _take(self, said: dict[str, Any]) -> bool:
        """Do what a message asks for; whether it was one that says something.

        Raises:
            BadInput: it cannot be understood.
            Unauthenticated: nobody has signed in yet.
        """
        kind = said.get("type")
        if kind == "authenticate":
            await self._authenticate(said)
        elif kind == "pong":
            self._answers = True
            return False
        elif not isinstance(kind, str) or kind not in TAKEN:
            raise BadInput(f"there is no message of that type: {', '.join(sorted((*TAKEN, 'authenticate', 'pong')))}")
        elif self._caller is None:
            raise Unauthenticated("send authenticate with a token first")
        else:
            await TAKEN[kind](self, said)
        return True

    async def _authenticate(self, said: dict[str, Any]) -> None:
        token = said.get("token")
        if not isinstance(token, str) or not token.strip():
            raise BadInput("token: an access token is needed")
        authorization = f"Bearer {token.strip()}"
        if self._caller is None:
            await self._greet(authorization)
        else:
            self._caller = await self._route.seats.renewed(self._websocket, authorization, self._caller)

    async def _ping(self, said: dict[str, Any]) -> None:
        await self._say(messages.message("pong"))

    async def _ignore(self, said: dict[str, Any]) -> None:
        """Rooms were never anything: who subscribes to one is told nothing more for it."""

    async def _numbers(self, said: dict[str, Any]) -> None:
        await self._admit_and(self._ask_numbers, said)

    async def _ask_numbers(self, context: Context, said: dict[str, Any]) -> None:
        await admit_native(context, Permission.QUEUE_READ)
        counted = await queues.numbers(self._route.services.database, context.caller.tenant)
        await self._say(messages.queue_stats(counted))

    async def _subscribe(self, said: dict[str, Any]) -> None:
        await self._admit_and(self._follow, said)

    async def _follow(self, context: Context, said: dict[str, Any]) -> None:
        if said.get("channel") != CHANNEL:
            raise BadInput(f"channel: the one channel is {CHANNEL}")
        client_id = said.get("client_id")
        if not isinstance(client_id, str | int | None) or len(str(client_id)) > LONGEST_ID:
            raise BadInput(f"client_id: a name of at most {LONGEST_ID} characters is taken")
        await admit_native(context, Permission.SNAPSHOT_READ)
        snapshots = None
        if not self._follows and self._feed is not None:
            self._follows = True
            # Before it is confirmed: what changes from then on is told.
            snapshots = await self._stack.enter_async_context(self._feed.following())
        number = 0 if snapshots is None else snapshots.number
        await self._say(messages.message("subscription_confirmed", channel=CHANNEL, client_id=client_id))
        if snapshots is not None:
            self._group.create_task(self._tell(number, snapshots.after), name="legacy socket snapshots")

    async def _subscribe_job(self, said: dict[str, Any]) -> None:
        await self._admit_and(self._show, said, follow=True)

    async def _ask_job(self, said: dict[str, Any]) -> None:
        await self._admit_and(self._show, said, follow=False)

    async def _show(self, context: Context, said: dict[str, Any], *, follow: bool) -> None:
        given = said.get("job_id")
        job_id = _id(given)
        if job_id is None:
            echoed = given[:LONGEST_ID] if isinstance(given, str) else None
            await self._say(messages.message("invalid_job_id", job_id=echoed))
            return
        await admit_native(context, Permission.JOB_READ)
        if follow and job_id not in self._jobs and len(self._jobs) >= self._route.most_jobs:
            raise QuotaExceeded(f"a socket follows at most {self._route.most_jobs} jobs")
        async with self._turn:
            # Events up to here are in what is read after it; later ones are told after it.
            edge = await self._route.services.hub.edge()
            job = await context.loaders.job.load(job_id)
            if job is None:
                await self._say(messages.message("job_not_found", job_id=job_id))
                return
            if follow:
                self._jobs[job_id] = Followed(job, edge)
            await self._say(messages.job_status(job, await context.loaders.steps_by_job.load(job_id)))

    async def _unsubscribe_job(self, said: dict[str, Any]) -> None:
        job_id = _id(said.get("job_id"))
        if job_id is not None:
            self._jobs.pop(job_id, None)

    async def _admit_and(self, ask: Callable[..., Awaitable[None]], said: dict[str, Any], **how: Any) -> None:
        """Answer a question, or say why not; the socket lives on."""
        try:
            await ask(self._context(), said, **how)
        except BadInput:
            raise
        except Refusal as refusal:
            await self._say(messages.error(refusal.code, str(refusal), retry_after=refusal.retry_after))
        except DatabaseUnavailable:
            told = "what was asked for cannot be read just now: try again"
            await self._say(messages.error(Unavailable.code, told, retry_after=1))

    def _context(self) -> Context:
        return self._route.contexts.of(self._websocket, self._present())

    async def _tell(self, number: int, after: Callable[[int], Awaitable[tuple[int, str]]]) -> None:
        while True:
            number, text = await after(number)
            await self._say(text)

    async def _tell_events(self) -> None:
        context = self._context()
        caller = context.caller
        kinds = [Kind.JOB_CHANGED, *(kind for kind, permission in EVENTS.items() if context.may(permission))]
        listener = self._route.services.hub.listen(
            caller.tenant, kinds, owner=caller.owner_filter, owned=(Kind.JOB_CHANGED,)
        )
        try:
            async with listener:
                self._listening.set()
                async for event in listener:
                    await self._tell_event(event)
        except SlowConsumer as error:
            raise Ended(4413, f"{error.code}: nothing was taken for too long") from error
        except Unavailable as error:
            raise Ended(1012, str(error)) from error
        except DatabaseUnavailable as error:
            raise Ended(1013, "events cannot be read just now: connect again in a moment") from error

    async def _tell_event(self, event: Event) -> None:
        if event.kind is not Kind.JOB_CHANGED:
            data = {"id": event.entity_id, **event.payload}
            await self._say(messages.message("system_event", event_type=event.kind, event_data=data))
            return
        job_id = UUID(event.entity_id)
        async with self._turn:
            followed = self._jobs.get(job_id)
            if followed is None:
                return
            for text in followed.told(event):
                await self._say(text)
            if followed.gone:
                del self._jobs[job_id]

    async def _say(self, text: str) -> None:
        await seats.send(self._websocket, text)


TAKEN: Final[dict[str, Callable[[_Socket, dict[str, Any]], Awaitable[None]]]] = {
    "subscribe": _Socket._subscribe,
    "subscribe_job": _Socket._subscribe_job,
    "unsubscribe_job": _Socket._unsubscribe_job,
    "request_job_status": _Socket._ask_job,
    "request_queue_stats": _Socket._numbers,
    "subscribe_room": _Socket._ignore,
    "ping": _Socket._ping,
}
"""What a client that has signed in may say."""


def _understood(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > MOST_BYTES:
        raise BadInput(f"messages are text of at most {MOST_BYTES} bytes")
    value = bodies.parsed(text, what="the message")
    if not isinstance(value, dict):
        raise BadInput("a message is a JSON object")
    return value


def _id(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
