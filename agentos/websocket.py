"""The process of the legacy WebSocket, from its settings to its last word; it loads no codec.

It speaks on a port of its own, under any path, as its clients expect. Of HTTP it knows `/livez` and `/readyz`, for
probes; any other request is told that this is no place for it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from agentos import logs, serving
from agentos.connections import limits_of
from agentos.health import Health
from agentos.logs import Journal
from agentos.metrics import Metrics
from agentos.ports import PortTaken, in_url
from agentos.services import opened
from agentos.settings import Settings
from agentos.tracing import Tracing
from agentos.transports import probes
from agentos.transports.addresses import Addresses
from agentos.transports.callers import Callers
from agentos.transports.contexts import Contexts
from agentos.transports.departures import Departures
from agentos.transports.legacy_feeds import Feeds
from agentos.transports.legacy_sockets import LegacySockets
from agentos.transports.seats import Seats
from agentos.transports.stays import Stays
from db.services import Service
from resolvers.context import Services

log = logging.getLogger(__name__)


async def serve(settings: Settings, *, supervised: bool) -> int:
    """Serve until told to stop; returns the status to exit with.

    Args:
        settings: with the addresses of both stores.
        supervised: the standard input is a lifeline to the supervisor.

    Raises:
        PortTaken: somebody else listens there, or the address is none of this machine.
    """
    logs.configure(settings.log_level, settings.log_format)
    try:
        listening = serving.bound(settings.host, settings.ws_port)
    except OSError as error:
        raise PortTaken(settings.host, settings.ws_port, "AGENTOS_WS_PORT =", error) from error
    async with opened(settings, pool_size=6, application="agentos websocket") as services:
        app, limits = create_app(settings, services), limits_of(settings)
        return await serving.serve(app, listening, ready=_say, lifeline=supervised, limits=limits)


def create_app(settings: Settings, services: Services) -> Starlette:
    """The application over services that are open for as long as it runs.

    `app.state.health` is what a server drains through, `app.state.departures` how its sockets go, `app.state.legacy`
    what has them.
    """
    metrics, journal = Metrics(), Journal(source=Service.WEBSOCKET)
    health = Health(services.database, services.redis)
    callers = Callers(services.tokens, services.database)
    contexts = Contexts(services, callers)
    seats = Seats(Stays(callers), contexts, origins=(*settings.cors_origins, settings.origin))
    departures = Departures()
    legacy = LegacySockets(services, seats, contexts, metrics, Feeds(services), departures)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(services.hub.run(), name="hub"),
                group.create_task(health.run(), name="health"),
                group.create_task(legacy.run(Service.WEBSOCKET), name="legacy sockets"),
                group.create_task(journal.run(services.database), name="journal"),
                group.create_task(
                    logs.follow(services.database, settings.log_level, settings.log_format), name="log level"
                ),
            ]
            yield
            for task in tasks:
                task.cancel()
        await journal.write(services.database)

    app = Starlette(
        routes=[
            *probes.routes(health),
            Route("/{path:path}", _elsewhere),
            WebSocketRoute("/{path:path}", legacy),
        ],
        middleware=[Middleware(Tracing), Middleware(Addresses, trusted=settings.trusted_proxies)],
        lifespan=lifespan,
    )
    # A redirect would lead wherever `Host` says.
    app.router.redirect_slashes = False
    app.state.health, app.state.departures, app.state.legacy = health, departures, legacy
    return app


def _say(host: str, port: int) -> None:
    log.info("the legacy WebSocket listens on ws://%s:%d", in_url(host), port)


async def _elsewhere(request: Request) -> Response:
    """That only sockets are served here."""
    told = "this port speaks WebSocket; everything else is at the API's\n"
    return PlainTextResponse(told, 426, {"upgrade": "websocket", "connection": "upgrade"})
