"""The legacy WebSocket: the messages that clients from before this API speak, behind the doors that it did not have.

Pages of other origins are kept out, and who opens too many sockets from one place is told to wait. What one socket says
and hears is its conversation; how many are open is said every few seconds.
"""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from agentos.closes import Close
from agentos.metrics import Metrics
from agentos.transports import seats
from agentos.transports.contexts import Contexts
from agentos.transports.departures import Departures
from agentos.transports.legacy_conversations import Conversation
from agentos.transports.legacy_feeds import Feeds
from agentos.transports.seats import Seats
from db import sockets
from db.redis import REDIS_AWAY
from db.services import Service
from db.tasks import going_on
from guards.allowances import of_new_sockets
from guards.errors import RateLimited, Unavailable
from resolvers.context import Services

INIT_S: Final = 5.0
BEAT_S: Final = 20.0
"""How often a client is asked whether it is there. One that has ever answered is let go after two that it did not."""

MOST_JOBS: Final = 100
SAY_EVERY_S: Final = 3.0
"""How often is said how many sockets are open."""


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
        self.open: set[Conversation] = set()
        """Sockets that say, or still may say, who they are."""

        self._metrics = metrics
        self._departures = departures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if not self.seats.welcome(websocket):
            # Closed before it was accepted: the handshake is answered with 403.
            await websocket.close(Close.POLICY)
            return
        if not await self._admitted(websocket):
            return
        await websocket.accept()
        one = Conversation(
            websocket,
            self.seats,
            self.contexts,
            self.feeds,
            init_s=self.init_s,
            beat_s=self.beat_s,
            most_jobs=self.most_jobs,
        )
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
