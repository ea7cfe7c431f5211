"""`/livez` and `/readyz`: whether a process lives, and whether to send clients there."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agentos.health import Health
from schema.rest.envelope import JSON


def routes(health: Health) -> list[BaseRoute]:
    """The paths that probes ask."""
    return [Route("/livez", _alive), Route("/readyz", partial(_ready, health))]


async def _alive(request: Request) -> Response:
    """That the event loop turns; nothing else."""
    return JSON({"status": "alive"})


async def _ready(health: Health, request: Request) -> Response:
    """Whether to send clients here, check by check."""
    report = await health.readiness()
    shown = {"status": "ready" if report.ready else "not ready", "draining": report.draining}
    return JSON({**shown, "checks": report.checks}, status_code=200 if report.ready else 503)
