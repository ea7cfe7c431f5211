"""Serving: uvicorn on a socket of ours, from the first accepted connection to a quiet end.

Ten times a second every connection is asked whether its client is late, and let go if so, to the very end.

SIGTERM or Ctrl-C, or the supervisor gone: not ready any more, which a load balancer is given time to see; then sockets
and streams are told to go, one after the other, and no new ones are let in; then nothing new is accepted, requests get
up to 25 seconds to finish, and the process ends with 0. A second signal ends it at once.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette

from agentos.connections import Connection, Late, Limits, fitted
from agentos.health import Health
from agentos.lifeline import follow_parent
from agentos.transports.departures import Departures
from agentos.transports.seats import MOST_BYTES
from agentos.wires import Wire
from db.tasks import going_on

FINISH_S: Final = 25
TICK_S: Final = 0.1
LIMITS: Final = Limits()
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)

Ready = Callable[[str, int], None]
"""Told the address and the port once connections are accepted."""


class Server(uvicorn.Server):
    """uvicorn without its own way of handling signals, with a word when it is up, and with limits for its clients."""

    def __init__(
        self, app: Starlette, bound: socket.socket, *, ready: Ready | None = None, limits: Limits = LIMITS
    ) -> None:
        # Before uvicorn sets `should_exit`, which it is the state of.
        self._ending = asyncio.Event()
        self._bound = bound
        self._ready = ready
        self._let_go = Counter[Late]()
        config = uvicorn.Config(
            app,
            loop="none",
            http=functools.partial(Connection, limits=limits),  # type: ignore[arg-type]  # it is only ever called
            ws=functools.partial(Wire, limits=limits),  # type: ignore[arg-type]  # it is only ever called
            ws_max_size=MOST_BYTES,
            ws_max_queue=16,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=FINISH_S,
        )
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether to accept nothing more and end; noticed at once."""
        return self._ending.is_set()

    @should_exit.setter
    def should_exit(self, ending: bool) -> None:
        if ending:
            self._ending.set()
        else:
            self._ending.clear()

    async def live(self) -> None:
        """Accept connections until `should_exit` is set and the last request is answered."""
        await self.serve(sockets=[self._bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        if self.started and self._ready is not None:
            host, port = self._bound.getsockname()[:2]
            self._ready(host, port)

    async def main_loop(self) -> None:
        """Tick as uvicorn does, but for the last time as soon as this is to end."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def on_tick(self, counter: int) -> bool:
        """Let go whoever is late, and tell of it once a second at most."""
        self._let_go_of_the_late()
        if self._let_go and counter % 10 == 0:
            log.info("let go of connections that were too slow with: %s", dict(self._let_go))
            self._let_go.clear()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what has begun, and wait no longer for who is late than before."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(), name="late clients")
            await super().shutdown(sockets)
            watching.cancel()

    async def _watch(self) -> None:
        while going_on():
            self._let_go_of_the_late()
            await asyncio.sleep(TICK_S)

    def _let_go_of_the_late(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection | Wire) and (late := connection.late(now)) is not None:
                connection.let_go(late)
                self._let_go[late] += 1

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the loop."""
        yield


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        OSError: the address is taken or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    # Connections take it over. asyncio turns Nagle's algorithm off only where a socket names its protocol, which
    # these do not: the body of an answer would wait for the client's delayed acknowledgement of its head, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def serve(
    app: Starlette,
    listening: socket.socket,
    *,
    ready: Ready | None = None,
    lifeline: bool = False,
    limits: Limits = LIMITS,
) -> int:
    """Serve an application until this process is told to stop.

    Args:
        ready: called once connections are accepted.
        limits: what one client may take.
        lifeline: whether standard input is the supervisor's pipe, and its end the order to stop.

    Returns:
        The status to exit with: 0 after a quiet end, 1 when the application could not start.
    """
    server, stopping = Server(app, listening, ready=ready, limits=fitted(limits)), _Stopping()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.signalled, number)
    if lifeline:
        follow_parent(functools.partial(_from_thread, loop, stopping.ask))
    try:
        async with asyncio.TaskGroup() as group:
            stop = _stop(server, app.state.health, app.state.departures, stopping)
            waiting = group.create_task(stop, name="stop")
            await server.live()
            waiting.cancel()
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    return 0 if server.started else 1


def _from_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(act)


class _Stopping:
    """Whether this process was told to stop, and how often."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def ask(self) -> None:
        """Stop quietly."""
        self.asked.set()

    def signalled(self, number: signal.Signals) -> None:
        """Stop quietly, or at once when it is not the first time."""
        if self.asked.is_set():
            os._exit(128 + number)
        log.info("finishing what has begun")
        self.ask()


async def _stop(server: Server, health: Health, departures: Departures, stopping: _Stopping) -> None:
    await stopping.asked.wait()
    await health.drain()
    await departures.leave()
    server.should_exit = True
