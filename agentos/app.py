"""The ASGI application: which path is served by what, and what every call passes on its way there.

Made from settings and services, so that a test has one of its own in the same way as a process.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from agentos import VERSION, logs
from agentos.health import Health, Report
from agentos.logs import Journal
from agentos.metrics import Metrics
from agentos.settings import Settings
from agentos.tracing import Tracing
from agentos.transports import files, pages, probes, tus
from agentos.transports.access import Access
from agentos.transports.addresses import Addresses
from agentos.transports.answers import Failures, on_database_away, on_http_error, on_refusal
from agentos.transports.bodies import Sizes
from agentos.transports.callers import Callers
from agentos.transports.contexts import Contexts
from agentos.transports.departures import Departures
from agentos.transports.flows import Flows
from agentos.transports.graphql import AnySchema, GraphQLOverHTTP
from agentos.transports.headers import SecurityHeaders
from agentos.transports.legacy_feeds import Feeds
from agentos.transports.legacy_sockets import LegacySockets
from agentos.transports.measures import Measures
from agentos.transports.roots import Roots
from agentos.transports.seats import Seats
from agentos.transports.sockets import GraphQLOverWebSocket
from agentos.transports.stays import Stays
from agentos.transports.streams import GraphQLOverSSE
from db import tallies
from db.database import DatabaseUnavailable
from db.services import Service
from guards import networks
from guards.errors import Forbidden, Refusal, Unavailable
from resolvers.context import Context, Services
from resolvers.relay import Relay
from resolvers.timing import ms_since
from schema import root
from schema.rest import envelope, serving
from schema.rest.envelope import JSON
from schema.rest.rows import Direct, Own
from schema.rest.serving import Identify
from schema.watching import Watching

Rest = Callable[[Identify, Mapping[Own, Direct]], Sequence[BaseRoute]]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TAKEN: Final = (
    "authorization",
    "content-type",
    "idempotency-key",
    "x-idempotency-key",
    "x-trace-id",
    "traceparent",
    "x-admin-request",
    "cache-control",
    "if-none-match",
    "last-event-id",
    *tus.TAKEN,
)
SHOWN: Final = (
    "x-trace-id",
    "traceparent",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "idempotent-replayed",
    "etag",
    "server-timing",
    "deprecation",
    "link",
    "content-disposition",
    "content-range",
    *tus.SHOWN,
)


def create_app(settings: Settings, services: Services) -> Starlette:
    """The application over services that are open for as long as it runs.

    `app.state.health` is what a server drains through, `app.state.departures` how what stays open goes.
    """

    def rest(identify: Identify, own: Mapping[Own, Direct]) -> Sequence[BaseRoute]:
        return (*serving.routes(root.schema, identify, own), *tus.routes(root.schema, identify))

    return assembled(settings, services, root.schema, rest)


def assembled(settings: Settings, services: Services, schema: AnySchema, rest: Rest) -> Starlette:
    """The same for any schema, with the routes that `rest` makes of it."""
    metrics, roots, journal = Metrics(), Roots(), Journal(source=Service.API)
    health = Health(services.database, services.redis)
    callers = Callers(services.tokens, services.database)
    contexts = Contexts(services, callers)
    departures = Departures()
    stays = Stays(callers)
    seats = Seats(stays, contexts, origins=(*settings.cors_origins, settings.origin))
    sockets = GraphQLOverWebSocket(schema, seats, callers, contexts, metrics, roots, departures)
    legacy = LegacySockets(services, seats, contexts, metrics, Feeds(services), departures)
    flows = Flows(schema, stays, metrics, roots, departures, most=settings.connections // 2)
    own = _Own(settings, services, health, metrics)
    relay = Relay(services.database, services.redis)
    _watch(metrics, services, journal, relay, schema.watching(services.hub))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Asked about its health, it must not say what nobody has looked at yet.
        await health.probe()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(services.hub.run(), name="hub"),
                group.create_task(relay.run(), name="relay"),
                group.create_task(health.run(), name="health"),
                group.create_task(services.operations.run(), name="operations"),
                group.create_task(legacy.run(Service.API), name="legacy sockets"),
                group.create_task(services.traffic.run(), name="traffic"),
                group.create_task(journal.run(services.database), name="journal"),
                group.create_task(
                    logs.follow(services.database, settings.log_level, settings.log_format), name="log level"
                ),
            ]
            yield
            for task in tasks:
                task.cancel()
        await services.traffic.flush()
        await journal.write(services.database)

    app = Starlette(
        routes=[
            Route("/graphql", GraphQLOverHTTP(schema, contexts, metrics, roots, flows)),
            Route("/graphql/stream", GraphQLOverSSE(seats, contexts, roots, flows)),
            WebSocketRoute("/graphql", sockets),
            WebSocketRoute("/ws", legacy),
            Route("/graphql/schema.graphql", _Sdl(schema).show),
            *rest(contexts.identify, {Own.ROOT: own.root, Own.HEALTH: own.health}),
            *files.routes(services.links, services.files),
            *pages.routes(),
            *probes.routes(health),
            *own.routes(),
        ],
        middleware=_middleware(settings, services, metrics),
        exception_handlers={
            Refusal: on_refusal,
            DatabaseUnavailable: on_database_away,
            HTTPException: on_http_error,
        },
        lifespan=lifespan,
    )
    # A redirect would lead wherever `Host` says.
    app.router.redirect_slashes = False
    app.state.health, app.state.departures = health, departures
    return app


def _middleware(settings: Settings, services: Services, metrics: Metrics) -> list[Middleware]:
    """What every request goes through, the outermost first."""
    return [
        Middleware(Tracing),
        Middleware(Addresses, trusted=settings.trusted_proxies),
        Middleware(Access, metrics=metrics, measures=Measures(services.traffic)),
        Middleware(SecurityHeaders, https=settings.base_url.startswith("https://")),
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=TAKEN,
            expose_headers=SHOWN,
            max_age=600,
        ),
        Middleware(Sizes),
        Middleware(Failures),
    ]


class _Sdl:
    """The schema as text, for code generators and for readers."""

    def __init__(self, schema: AnySchema) -> None:
        self._schema = schema

    async def show(self, request: Request) -> Response:
        """The whole SDL."""
        text = await asyncio.to_thread(self._schema.as_str)
        return PlainTextResponse(text, media_type="application/graphql")


class _Own:
    """What a server says about itself."""

    def __init__(self, settings: Settings, services: Services, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self._services = services
        self._health = health
        self._metrics = metrics

    def routes(self) -> list[BaseRoute]:
        """The paths of Prometheus and of verifiers of tokens, which are no endpoints for clients."""
        return [
            Route("/metrics", self.metrics),
            Route("/.well-known/jwks.json", self.keys),
        ]

    async def root(self, request: Request, context: Context) -> Response:
        """What this is, and where to go on."""
        began = time.perf_counter()
        links = {
            "graphql": "/graphql",
            "schema": "/graphql/schema.graphql",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "health": "/health",
        }
        told = {"name": "AgentOS", "version": VERSION, "links": links}
        return envelope.told(told, 200, taken_ms=ms_since(began), beside=told)

    async def health(self, request: Request, context: Context) -> Response:
        """How everything stood a moment ago, for anybody."""
        began = time.perf_counter()
        report: Report = self._health.last
        checks = {name: "ok" if check.ok else "down" for name, check in report.checks.items()}
        told = {"status": report.status, "version": VERSION, "checks": checks}
        if report.ready:
            return envelope.told(told, 200, taken_ms=ms_since(began), beside=told)
        return envelope.failed(Unavailable.code, "this server is not ready to serve", legacy=True, beside=told)

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted, for who may see the whole house.

        Raises:
            Forbidden: asked from an address that is in none of the networks of `ADMIN_ALLOW`.
        """
        address = request.client.host if request.client else ""
        if not networks.allowed(address, self._settings.admin_allow):
            raise Forbidden("metrics are served to the networks of AGENTOS_ADMIN_ALLOW only")
        try:
            async with self._services.database.system() as tx:
                for status, jobs in (await tallies.counts(tx)).items():
                    self._metrics.jobs.labels(status).set(jobs)
        except DatabaseUnavailable:
            # An old number would look like a quiet queue; none looks like what it is.
            self._metrics.jobs.clear()
        return Response(self._metrics.exposed(), media_type=self._metrics.media_type)

    async def keys(self, request: Request) -> Response:
        """The public keys that tokens are verified with."""
        return JSON(self._services.tokens.ring.jwks, headers={"cache-control": "public, max-age=300"})


def _watch(metrics: Metrics, services: Services, journal: Journal, relay: Relay, watching: Watching) -> None:
    hub, pool = services.hub, services.database.engine.pool
    metrics.watch_breakers(services.breakers.of)
    metrics.watch("hub_listeners", "Subscriptions listening for events now.", lambda: hub.listeners)
    metrics.watch("hub_behind_seconds", "Since when not every event has been handed out.", lambda: hub.behind_s)
    metrics.watch("relay_leading", "Whether this process takes events to the streams.", lambda: relay.leading)
    metrics.watch("relay_events", "Events this process has taken to the streams.", lambda: relay.relayed)
    metrics.watch("hub_slow_consumers", "Listeners let go because they were too slow.", lambda: hub.dropped)
    metrics.watch("events_executed", "Events executed, once for all who ask the same.", lambda: watching.executed)
    metrics.watch("events_told", "Answers to events told to those who watch.", lambda: watching.told)
    metrics.watch("log_lines_dropped", "Log lines not kept in the table.", lambda: journal.dropped)
    metrics.watch("pool_connections_used", "Connections to PostgreSQL in use.", lambda: pool.checkedout())  # type: ignore[attr-defined]  # every pool that has a size has it
    metrics.watch("pool_connections_most", "Connections to PostgreSQL at most.", lambda: pool.size())  # type: ignore[attr-defined]  # as above
