"""Services looked at: how each is, and what its processes wrote."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from db import logs, probes, services, workers
from db.files import MB
from db.logs import LogLine
from db.models.records import Severity
from db.redis import REDIS_AWAY
from db.rows import Row
from db.services import Process, Service
from guards.errors import Conflict, NotControllable
from resolvers.actions.contract import Action, Call, Payload, View, action
from resolvers.actions.system_controls.services import (
    CONTROLLED,
    ID_OF,
    NO_PROCESS,
    ServiceId,
    ServiceState,
    pids_of,
    state_of,
)
from resolvers.timing import age_s, ms_since


class ServiceHealthCheckInput(Payload, frozen=True, kw_only=True):
    """Which service to look at."""

    service_id: ServiceId | None = None
    """Left out, all of them."""


class ServiceHealth(Row, frozen=True, kw_only=True):
    """How one service is."""

    service_id: str
    state: ServiceState | None
    """Null when nobody here can tell."""

    pid: int | None
    """Of its first process."""

    processes: int
    """How many run."""

    cpu: float | None
    """Percent of one core, all of its processes together; null when not measured."""

    rss_mb: float | None
    uptime_s: float | None
    """Of its oldest process."""

    heartbeat_age_s: float | None
    """Of the worker that was silent for longest; null for what has no heartbeat."""

    latency_ms: float | None
    """How long a store took to answer; null for what is no store."""

    detail: str | None


class ServicesHealth(Row, frozen=True, kw_only=True):
    """How the services are."""

    services: list[ServiceHealth]
    supervisor: bool
    """Whether there is one that could start and stop processes."""


@action("service.health_check", View.SYSTEM_CONTROLS, natural=True, target="service_id")
async def service_health_check(call: Call[ServicesHealth], asked: ServiceHealthCheckInput) -> ServicesHealth:
    """Look how a service is, or all of them."""
    charge = await services.in_charge(call.tx)
    there = [] if charge is None else await services.everything(call.tx)
    ages = {one.pid: one.heartbeat_at for one in await workers.on_duty(call.tx)}
    found = [
        _health(ID_OF[service], [one for one in there if one.service == service], ages, supervised=charge is not None)
        for service in Service
    ]
    found += [await _database_health(call), await _redis_health(call)]
    found += [_of_no_process(service_id, reason) for service_id, reason in _ELSEWHERE.items()]
    if asked.service_id is not None:
        wanted = _CANONICAL.get(asked.service_id, asked.service_id)
        found = [one for one in found if one.service_id == wanted]
    return ServicesHealth(services=found, supervisor=charge is not None)


class ServiceViewLogsInput(Payload, frozen=True, kw_only=True):
    """Whose lines, which, and how many."""

    service_id: ServiceId
    lines: Annotated[int, Meta(ge=1, le=1000)] = 100
    """The newest ones."""

    level: Severity | None = None
    """Only lines of this level."""


class ServiceLogs(Row, frozen=True):
    """What a service wrote, the newest first."""

    entries: list[LogLine]
    truncated: bool
    """Whether there is more."""


@action("service.view_logs", View.SYSTEM_CONTROLS, natural=True, target="service_id")
async def service_view_logs(call: Call[ServiceLogs], asked: ServiceViewLogsInput) -> ServiceLogs:
    """Read what the processes of a service wrote.

    Raises:
        Conflict: it keeps a log of its own elsewhere.
        NotControllable: it is no process here.
    """
    if asked.service_id in (ServiceId.DATABASE, ServiceId.REDIS_QUEUE):
        raise Conflict(f"{asked.service_id} keeps its log itself, beside its data")
    if asked.service_id in NO_PROCESS:
        raise NotControllable(NO_PROCESS[asked.service_id])
    service = CONTROLLED.get(asked.service_id, Service.API)
    levels = () if asked.level is None else (asked.level,)
    found: list[LogLine] = []
    for source in await _sources(call, service):
        found += await logs.stretch(call.tx, logs.Filter(source=source, levels=levels), most=asked.lines + 1)
    found.sort(key=lambda line: (line.created_at, line.id), reverse=True)
    return ServiceLogs(found[: asked.lines], len(found) > asked.lines)


async def _sources(call: Call[Any], service: Service) -> list[str]:
    """Under which names the processes of a service write, and wrote."""
    if service is not Service.WORKERS:
        return [service]
    names = {one.name for one in await services.of_service(call.tx, service)}
    names |= {one.source for one in await workers.on_duty(call.tx)}
    return [source for source in await logs.sources(call.tx) if source in names or source.startswith("worker-")]


def _health(
    service_id: str, present: Sequence[Process], ages: Mapping[int, datetime], *, supervised: bool
) -> ServiceHealth:
    now = datetime.now(UTC)
    cpus = [one.cpu for one in present if one.cpu is not None]
    sizes = [one.rss for one in present if one.rss is not None]
    began = [one.since for one in present if one.since is not None]
    beats = [ages[one.pid] for one in present if one.pid is not None and one.pid in ages]
    return ServiceHealth(
        service_id=service_id,
        state=state_of(present, present) if supervised else None,
        pid=next(iter(pids_of(present)), None),
        processes=len(pids_of(present)),
        cpu=round(100 * sum(cpus), 1) if cpus else None,
        rss_mb=round(sum(sizes) / MB, 1) if sizes else None,
        uptime_s=age_s(min(began), now) if began else None,
        heartbeat_age_s=age_s(min(beats), now) if beats else None,
        latency_ms=None,
        detail=None if supervised else "no supervisor is heard of that could tell",
    )


async def _database_health(call: Call[Any]) -> ServiceHealth:
    began = time.perf_counter()
    await probes.revision(call.services.database)
    return _store(ServiceId.DATABASE, ServiceState.RUNNING, ms_since(began))


async def _redis_health(call: Call[Any]) -> ServiceHealth:
    began = time.perf_counter()
    try:
        await call.services.redis.ping()
    except REDIS_AWAY:
        return _store(ServiceId.REDIS_QUEUE, ServiceState.DOWN, None, "does not answer")
    return _store(ServiceId.REDIS_QUEUE, ServiceState.RUNNING, ms_since(began))


def _store(
    service_id: ServiceId, state: ServiceState, latency_ms: float | None, detail: str | None = None
) -> ServiceHealth:
    return replace(_of_no_process(service_id, detail), state=state, latency_ms=latency_ms)


def _of_no_process(service_id: ServiceId, detail: str | None) -> ServiceHealth:
    return ServiceHealth(
        service_id=service_id,
        state=None,
        pid=None,
        processes=0,
        cpu=None,
        rss_mb=None,
        uptime_s=None,
        heartbeat_age_s=None,
        latency_ms=None,
        detail=detail,
    )


_CANONICAL: Final[Mapping[ServiceId, ServiceId]] = {
    ServiceId.CELERY_WORKERS: ServiceId.WORKERS,
    ServiceId.WEBSOCKET_SERVER: ServiceId.WEBSOCKET,
}
_ELSEWHERE: Final[Mapping[ServiceId, str]] = {
    service_id: reason for service_id, reason in NO_PROCESS.items() if service_id not in _CANONICAL
}

ACTIONS: Final[tuple[Action[Any, Any], ...]] = (service_health_check, service_view_logs)
