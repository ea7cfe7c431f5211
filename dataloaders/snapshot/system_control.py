"""What can be controlled, and how it stands: services, machine, actions, maintenance."""

from datetime import datetime

import msgspec

from dataloaders.snapshot.about import OfferedAction
from dataloaders.snapshot.host import Machine
from dataloaders.snapshot.probes import Health, listening
from dataloaders.snapshot.sockets import standing
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.wording import size, span
from dataloaders.snapshot.work import counted
from db import health, house


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """The API process."""

    status: Health | None
    port: int
    uptime: str


class WebSocket(msgspec.Struct, frozen=True, kw_only=True):
    """The legacy WebSocket."""

    status: Health | None
    port: int
    connections: int | None
    """Open now, those at the API included; None when nobody tells."""


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """The worker processes."""

    status: Health
    """Healthy while one is there."""

    count: int
    """Those that are there."""

    queue_size: int


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL."""

    status: Health
    size: str
    connections: int


class Redis(msgspec.Struct, frozen=True, kw_only=True):
    """Redis or Valkey."""

    status: Health


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What runs."""

    api: Api
    websocket: WebSocket
    workers: Workers
    database: Store
    redis: Redis


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk that the data directory is on."""

    total: str
    used: str
    free: str


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine."""

    uptime: str
    """Of this AgentOS."""

    load_average: tuple[float, float, float]
    disk_space: Disk


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How everything stands."""

    services: Services
    system: Host


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned or under way."""

    maintenance_mode: bool
    """Whether no new work is taken just now."""

    maintenance_message: str | None
    """What people are told meanwhile."""

    maintenance_until: datetime | None
    """When it ends by itself; None when it is not on, or somebody has to end it."""

    last_backup: datetime | None
    next_scheduled_maintenance: datetime | None
    pending_updates: list[str]


class SystemControl(msgspec.Struct, frozen=True, kw_only=True):
    """What can be controlled, and how it stands."""

    timestamp: datetime
    system_status: Status
    available_actions: tuple[OfferedAction, ...]
    maintenance_info: Maintenance
    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> SystemControl:
    """The control view, from what was counted, one transaction and three probes."""
    work = await counted(sources, frame)
    async with sources.database.transaction(frame.tenant) as tx:
        bytes_taken, connections = await health.database_extent(tx)
        state = await house.state(tx)
    about, alive, legacy = sources.about, len(work.alive), await standing(sources)
    in_maintenance = state is not None and state.maintenance
    uptime = span(frame.now - about.started_at)
    return SystemControl(
        timestamp=frame.now,
        system_status=Status(
            services=Services(
                api=Api(status=await listening(about.host, about.port), port=about.port, uptime=uptime),
                websocket=WebSocket(status=legacy.status, port=about.ws_port, connections=legacy.connections),
                workers=Workers(status=Health.of(alive > 0), count=alive, queue_size=work.pending),
                database=Store(status=Health.HEALTHY, size=size(bytes_taken), connections=connections),
                redis=Redis(status=Health.of(await health.redis_answers(sources.redis))),
            ),
            system=_host(sources.host.machine(), uptime),
        ),
        available_actions=about.actions,
        maintenance_info=Maintenance(
            maintenance_mode=in_maintenance,
            maintenance_message=state.message if state and in_maintenance else None,
            maintenance_until=state.until if state and in_maintenance else None,
            last_backup=None,
            next_scheduled_maintenance=None,
            pending_updates=[],
        ),
    )


def _host(machine: Machine, uptime: str) -> Host:
    return Host(
        uptime=uptime,
        load_average=machine.load_average,
        disk_space=Disk(total=size(machine.disk_total), used=size(machine.disk_used), free=size(machine.disk_free)),
    )
