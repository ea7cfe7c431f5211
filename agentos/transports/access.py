"""The access log and the request metrics: one line and one observation for every request that was answered.

An answer that goes on is one as well, once it has ended. What is measured of it is how long it took to begin.

The path is logged without its query string, where GET queries carry what is nobody's business, and without the part of
a signed link that opens its file.
"""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentos.metrics import Metrics
from agentos.transports.measures import Measures
from guards import links

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})

LASTING = "lasting"
"""Set in the state of a request whose answer goes on: it ends when somebody has enough, not when it is done."""

log = structlog.get_logger("agentos.access")


class Access:
    """Writes down what was asked, by whom it was answered how, and how long it took."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, measures: Measures | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        answered = began

        async def seen(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            ended = time.perf_counter()
            lasting = scope.get("state", {}).get(LASTING, False)
            took = (answered if lasting else ended) - began
            method = scope["method"] if scope["method"] in METHODS else "other"
            # 499: the client went away before there was an answer.
            route = _route(scope)
            self._metrics.request(route, method, status or 499, took)
            if self._measures is not None:
                self._measures.count(scope, route, status or 499, took)
            write = log.debug if scope["path"] in PROBES else log.info
            write(
                "request",
                method=method,
                path=links.hidden(scope["path"])[:200],
                status=status or 499,
                ms=round(took * 1000, 2),
                address=scope["client"][0],
                **({"lasted_s": round(ended - answered, 1)} if lasting else {}),
            )


def _route(scope: Scope) -> str:
    """The template of the route that answered, so that ids in paths do not become labels."""
    return getattr(scope.get("route"), "path", "none")
