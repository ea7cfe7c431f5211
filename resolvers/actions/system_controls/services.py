"""Services: the processes under the supervisor, started, stopped and looked at."""

import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from db import services
from db.models.control import ProcessState, Wish
from db.rows import Row
from db.services import Process, Service
from guards.breakers import Dependency
from guards.errors import Conflict, NotControllable
from resolvers import processes
from resolvers.actions.contract import Action, Call, Payload, View, Work, action, operation
from resolvers.actions.supervising import renewed, require_supervisor

RESTART_S: Final = 30
"""What workers get to finish their jobs when a service is restarted, unless somebody says otherwise."""


class ServiceId(StrEnum):
    """What the console calls a service; some have another name with older clients."""

    WORKERS = "workers"
    WEBSOCKET = "websocket"
    WARMER = "warmer"
    SCHEDULER = "scheduler"
    MANAGERS = "managers"
    CELERY_WORKERS = "celery-workers"
    """The workers."""

    WEBSOCKET_SERVER = "websocket-server"
    """The WebSocket."""

    API_SERVER = "api-server"
    DATABASE = "database"
    REDIS_QUEUE = "redis-queue"


CONTROLLED: Final[Mapping[ServiceId, Service]] = {
    ServiceId.WORKERS: Service.WORKERS,
    ServiceId.CELERY_WORKERS: Service.WORKERS,
    ServiceId.WARMER: Service.WARMER,
    ServiceId.WEBSOCKET: Service.WEBSOCKET,
    ServiceId.WEBSOCKET_SERVER: Service.WEBSOCKET,
}

ID_OF: Final[Mapping[Service, str]] = {
    Service.API: ServiceId.API_SERVER,
    Service.WEBSOCKET: ServiceId.WEBSOCKET,
    Service.WARMER: ServiceId.WARMER,
    Service.WORKERS: ServiceId.WORKERS,
}
"""What each is called in an answer."""

UNTOUCHED: Final[Mapping[ServiceId, str]] = {
    ServiceId.API_SERVER: "the API answers this very call; system.restart has it started again",
    ServiceId.DATABASE: "PostgreSQL is looked at, and never started or stopped by an action",
    ServiceId.REDIS_QUEUE: "Redis is looked at, and never started or stopped by an action",
}
"""What is no matter of an action, and why."""

NO_PROCESS: Final[Mapping[ServiceId, str]] = {
    ServiceId.SCHEDULER: (
        "what is scheduled runs in the warmer and in every worker: stop the warmer, or a manager with manager.stop"
    ),
    ServiceId.MANAGERS: "managers run inside every worker: start and stop each with manager.start and manager.stop",
}
"""What is no process here, and where to turn instead."""


class ServiceState(StrEnum):
    """How a service is as a whole."""

    RUNNING = "running"
    """Everything that is to run does."""

    DEGRADED = "degraded"
    """Some of it does not run, or not yet."""

    STOPPED = "stopped"
    """Nothing runs, and nothing is to."""

    DOWN = "down"
    """Nothing runs, though it should, or it does not answer."""


class ServiceStartInput(Payload, frozen=True, kw_only=True):
    """Which service to start."""

    service_id: ServiceId


class ServiceChanged(Row, frozen=True, kw_only=True):
    """The service, and how it was before."""

    service_id: str
    previous_state: ServiceState
    state: ServiceState
    pid: int | None
    """Of its first process; null when none runs."""

    pids: list[int]
    converged: bool
    """Whether everything is as desired; if not, it goes on without anybody waiting."""

    took_ms: int


@action("service.start", View.SYSTEM_CONTROLS, depends_on=Dependency.SUPERVISOR, target="service_id")
async def service_start(call: Call[ServiceChanged], asked: ServiceStartInput) -> ServiceChanged:
    """Start a service, with the processes it had.

    Raises:
        NotControllable: there is no supervisor, or it is no process here.
        Conflict: it is never started or stopped by an action.
    """
    service, present = await _controlled(call, asked.service_id)
    await services.switch(call.tx, service, Wish.RUNNING)
    return _changing(call, service, present)


class ServiceStopInput(Payload, frozen=True, kw_only=True):
    """Which service to stop, and how long it gets."""

    service_id: ServiceId
    timeout: Annotated[int, Meta(ge=1, le=300)] = 30
    """Seconds that workers get to finish their jobs; what is not finished then, is put back."""


@action(
    "service.stop",
    View.SYSTEM_CONTROLS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    target="service_id",
)
async def service_stop(call: Call[ServiceChanged], asked: ServiceStopInput) -> ServiceChanged:
    """Stop a service; it remembers which processes it had.

    Raises:
        NotControllable: there is no supervisor, or it is no process here.
        Conflict: it is never started or stopped by an action.
    """
    service, present = await _controlled(call, asked.service_id)
    await services.switch(call.tx, service, Wish.STOPPED, patience_s=asked.timeout)
    return _changing(call, service, present)


class ServiceRestartInput(Payload, frozen=True, kw_only=True):
    """Which service to restart, and how long its processes get."""

    service_id: ServiceId
    timeout: Annotated[int, Meta(ge=1, le=300)] = RESTART_S
    """Seconds that a worker gets to finish its jobs."""


@action(
    "service.restart",
    View.SYSTEM_CONTROLS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    target="service_id",
)
async def service_restart(call: Call[ServiceChanged], asked: ServiceRestartInput) -> ServiceChanged:
    """Start a service again, one process after the other; a stopped one is started.

    Raises:
        NotControllable: there is no supervisor, or it is no process here.
        Conflict: it is never started or stopped by an action.
    """
    service, present = await _controlled(call, asked.service_id)
    await services.switch(call.tx, service, Wish.RUNNING)
    running = [one.name for one in present if one.wanted]
    await services.renew(call.tx, running, patience_s=asked.timeout)
    return _changing(call, service, present)


class ServiceRestartAllInput(Payload, frozen=True, kw_only=True):
    """How to restart them."""

    rolling: bool = True
    """One process after the other."""


class ServiceRestarted(Row, frozen=True, kw_only=True):
    """One service, after it was restarted."""

    service_id: str
    state: ServiceState
    pids: list[int]
    renewed: int
    """How many of its processes are others than before."""


class ServicesRestarted(Row, frozen=True, kw_only=True):
    """The services, each with other processes."""

    results: list[ServiceRestarted]
    converged: bool
    took_ms: int


@operation(
    "service.restart_all",
    View.SYSTEM_CONTROLS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    prepare=require_supervisor,
)
async def service_restart_all(work: Work, asked: ServiceRestartAllInput) -> ServicesRestarted:
    """Start every service but the API again; stopped ones stay stopped.

    Raises:
        NotControllable: there is no supervisor that could.
    """
    began = time.monotonic()
    async with work.services.database.transaction(work.caller.tenant) as tx:
        await processes.supervised(tx)
        meant = [one for one in await services.everything(tx) if one.wanted and one.service != Service.API]
        names = [one.name for one in meant]
        await services.renew(tx, names, patience_s=RESTART_S, rolling=asked.rolling)
    outcome = await renewed(work, names, began, patience_s=RESTART_S, rolling=asked.rolling)
    results = [
        _restarted(service, [one for one in outcome.processes.values() if one.service == service], outcome)
        for service in Service
        if any(one.service == service for one in meant)
    ]
    return ServicesRestarted(results=results, converged=outcome.converged, took_ms=outcome.took_ms)


def _restarted(service: Service, present: Sequence[Process], outcome: processes.Outcome) -> ServiceRestarted:
    return ServiceRestarted(
        service_id=ID_OF[service],
        state=state_of(present, outcome.running),
        pids=pids_of(present),
        renewed=sum(one.renewed >= one.renewals for one in present),
    )


async def _controlled(call: Call[Any], service_id: ServiceId) -> tuple[Service, list[Process]]:
    if service_id in UNTOUCHED:
        raise Conflict(UNTOUCHED[service_id])
    if service_id in NO_PROCESS:
        raise NotControllable(NO_PROCESS[service_id])
    await processes.supervised(call.tx)
    service = CONTROLLED[service_id]
    return service, await services.of_service(call.tx, service)


def _changing(call: Call[ServiceChanged], service: Service, present: Sequence[Process]) -> ServiceChanged:
    call.afterwards(partial(_changed, call, [one.name for one in present], time.monotonic()))
    before = state_of(present, present)
    return ServiceChanged(
        service_id=ID_OF[service],
        previous_state=before,
        state=before,
        pid=next(iter(pids_of(present)), None),
        pids=pids_of(present),
        converged=False,
        took_ms=0,
    )


async def _changed(
    call: Call[ServiceChanged], names: list[str], since: float, changed: ServiceChanged
) -> ServiceChanged:
    outcome = await processes.settled(call.services.database, names, since=since)
    present = list(outcome.processes.values())
    return replace(
        changed,
        state=state_of(present, outcome.running),
        pid=next(iter(pids_of(present)), None),
        pids=pids_of(present),
        converged=outcome.converged,
        took_ms=outcome.took_ms,
    )


def state_of(present: Sequence[Process], up: Sequence[Process]) -> ServiceState:
    """How a service is, of whose processes these are up."""
    wanted = [one for one in present if one.wanted]
    running = [one for one in up if one.state is ProcessState.RUNNING]
    if not wanted:
        return ServiceState.DEGRADED if pids_of(present) else ServiceState.STOPPED
    if not running:
        return ServiceState.DOWN
    return ServiceState.RUNNING if len(running) >= len(wanted) else ServiceState.DEGRADED


def pids_of(present: Sequence[Process]) -> list[int]:
    return [one.pid for one in sorted(present, key=lambda one: one.number) if one.pid is not None]


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    service_start,
    service_stop,
    service_restart,
    service_restart_all,
)
