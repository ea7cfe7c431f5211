"""Services and their processes: what is desired of them, and what the supervisor last saw.

One supervisor is in charge at a time; it says so every second. What is desired has a generation that every change
raises; the supervisor writes down which one it has acted upon. A supervisor that fell silent counts as none.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.control import ProcessState, Wish, processes, services, supervisor
from db.rows import Row, Shape

SILENT_AFTER: Final = timedelta(seconds=5)
"""How long a supervisor may say nothing before it counts as gone."""


class Service(StrEnum):
    """What a supervisor runs, in the order in which it is renewed."""

    WARMER = "warmer"
    WORKERS = "workers"
    WEBSOCKET = "websocket"
    API = "api"


class Charge(Row, frozen=True):
    """The supervisor that is or was in charge."""

    id: str
    hostname: str
    pid: int
    version: str
    stop_at: datetime | None
    """When it shall end everything, itself included; None when nobody wants that."""

    started_at: datetime
    heartbeat_at: datetime
    present: bool
    """Whether it was heard of within the last five seconds."""

    ending: bool
    """Whether the time to end everything has come."""


class Process(Row, frozen=True):
    """One process under the supervisor: what is desired of it, and what was seen."""

    name: str
    service: str
    desired: Wish
    settings: dict[str, Any]
    """What it is started with."""

    profile: str | None
    """The worker profile it serves."""

    generation: int
    renewals: int
    """How often another process was asked for in its place."""

    rolling: bool
    """Whether it is renewed only when it is its turn."""

    not_before: datetime | None
    """When it may be renewed at the earliest."""

    patience_s: int
    """Seconds it gets to finish what it has, before it is asked to end."""

    kill_pid: int | None
    """Which process is to be killed at once."""

    seen_generation: int
    renewed: int
    """How many of the renewals were carried out."""

    state: ProcessState
    pid: int | None
    since: datetime | None
    restarts: int
    """How often it ended by itself and was started again."""

    cpu: float | None
    """Share of one core."""

    rss: int | None
    """Bytes of memory."""

    requeued: list[UUID]
    """Jobs that were taken from its last process when that was killed."""

    service_desired: Wish
    due: bool
    """Whether the time for its renewal has come, should one be asked for."""

    @property
    def number(self) -> tuple[str, int]:
        """Where it stands among its like: by what it is called, and then by its number."""
        stem, _, number = self.name.rpartition("-")
        return (stem, int(number)) if number.isdigit() else (self.name, 0)

    @property
    def turn(self) -> tuple[int, str, int]:
        """Where it stands among all when they are renewed one after the other."""
        return (tuple(Service).index(Service(self.service)), *self.number)

    @property
    def wanted(self) -> bool:
        """Whether it shall run."""
        return self.desired is Wish.RUNNING and self.service_desired is Wish.RUNNING

    @property
    def settled(self) -> bool:
        """Whether it is as desired, as far as the supervisor can see."""
        if self.seen_generation < self.generation or self.kill_pid is not None:
            return False
        if not self.wanted:
            return self.state is ProcessState.STOPPED
        return self.state is ProcessState.RUNNING and self.renewed >= self.renewals


class Seen(Row, frozen=True, kw_only=True):
    """What a supervisor says of one of its processes."""

    name: str
    seen_generation: int
    renewed: int
    state: ProcessState
    pid: int | None
    since: datetime | None
    restarts: int
    cpu: float | None
    rss: int | None


class NewProcess(Row, frozen=True, kw_only=True):
    """A process that is desired."""

    name: str
    service: Service
    settings: Mapping[str, Any] = {}
    profile: str | None = None


_PRESENT = supervisor.c.heartbeat_at > sa.func.now() - SILENT_AFTER
CHARGE = Shape(
    Charge,
    supervisor,
    present=_PRESENT,
    ending=sa.func.coalesce(supervisor.c.stop_at <= sa.func.now(), sa.false()),
)
PROCESS = Shape(
    Process,
    processes,
    service_desired=sa.select(services.c.desired).where(services.c.name == processes.c.service).scalar_subquery(),
    due=sa.func.coalesce(processes.c.not_before <= sa.func.now(), sa.true()),
)


async def take_charge(tx: Transaction, *, id: str, hostname: str, pid: int, version: str) -> Charge | None:
    """Be, or stay, the supervisor in charge; None when another one is."""
    told = {"hostname": hostname, "pid": pid, "version": version, "heartbeat_at": sa.func.now()}
    statement = insert(supervisor).values(id=id, **told)
    same = supervisor.c.id == id
    statement = statement.on_conflict_do_update(
        index_elements=[supervisor.c.single],
        set_={
            "id": id,
            **told,
            "started_at": sa.case((same, supervisor.c.started_at), else_=sa.func.now()),
            "stop_at": sa.case((same, supervisor.c.stop_at), else_=None),
        },
        where=sa.or_(same, ~_PRESENT),
    )
    return await CHARGE.first(tx, statement.returning(*CHARGE.columns))


async def leave_charge(tx: Transaction, id: str) -> None:
    """Say that this supervisor is no more, and neither are its processes."""
    if await tx.changed(sa.delete(supervisor).where(supervisor.c.id == id)):
        await tx.execute(sa.delete(processes))


async def in_charge(tx: Transaction) -> Charge | None:
    """The supervisor that is in charge, or None when there is none that is heard of."""
    return await CHARGE.first(tx, CHARGE.select().where(_PRESENT))


async def begin(tx: Transaction, desired: Sequence[NewProcess]) -> None:
    """Desire just these processes, whatever was desired before: a supervisor begins."""
    await hold(tx)
    await tx.execute(sa.delete(processes))
    for service in Service:
        fresh = insert(services).values(name=service, desired=Wish.RUNNING)
        await tx.execute(
            fresh.on_conflict_do_update(
                index_elements=[services.c.name], set_={"desired": Wish.RUNNING, "changed_at": sa.func.now()}
            )
        )
    await add(tx, desired)


async def hold(tx: Transaction) -> None:
    """Have everybody else who wants to change what is desired wait until this transaction ends."""
    await tx.hold("processes")


async def everything(tx: Transaction) -> list[Process]:
    """Every process that is desired or still there, by name."""
    return await PROCESS.all(tx, PROCESS.select().order_by(processes.c.name))


async def of_service(tx: Transaction, service: Service) -> list[Process]:
    """The processes of one service, by name."""
    return await PROCESS.all(tx, PROCESS.select().where(processes.c.service == service).order_by(processes.c.name))


async def wish_of(tx: Transaction, service: Service) -> Wish:
    """What is desired of a service; one that nobody ever spoke of shall run."""
    found: Wish | None = await tx.scalar(sa.select(services.c.desired).where(services.c.name == service))
    return found or Wish.RUNNING


async def add(tx: Transaction, desired: Sequence[NewProcess]) -> None:
    """Desire more processes."""
    for new in desired:
        await tx.execute(
            sa.insert(processes).values(
                name=new.name, service=new.service, settings=dict(new.settings), profile=new.profile
            )
        )


async def drop(tx: Transaction, names: Collection[str], *, patience_s: int = 0) -> None:
    """Desire some processes no more; their rows go with them.

    Args:
        patience_s: what they get to finish what they have, before they are asked to end.
    """
    await _change(tx, names, desired=Wish.STOPPED, patience_s=patience_s)


async def renew(
    tx: Transaction, names: Collection[str], *, patience_s: int = 0, rolling: bool = True, delay_s: int = 0
) -> None:
    """Desire another process in the place of each.

    Args:
        patience_s: what the old ones get to finish what they have.
        rolling: one after the other.
        delay_s: how long nothing shall happen yet.
    """
    await _change(
        tx,
        names,
        renewals=processes.c.renewals + 1,
        patience_s=patience_s,
        rolling=rolling,
        not_before=sa.func.now() + timedelta(seconds=delay_s) if delay_s else None,
    )


async def set_to(tx: Transaction, names: Collection[str], settings: Mapping[str, Any]) -> None:
    """Have processes started with these settings, over those they have, from the next start on."""
    merged = processes.c.settings.concat(sa.literal(dict(settings), processes.c.settings.type))
    await _change(tx, names, settings=merged)


async def kill(tx: Transaction, name: str, pid: int) -> None:
    """Desire the death of one process, and another one in its place."""
    await _change(tx, [name], kill_pid=pid, requeued=[])


async def switch(tx: Transaction, service: Service, wish: Wish, *, patience_s: int = 0) -> None:
    """Desire that a service runs, or that none of its processes does; which ones there are, is kept."""
    await tx.execute(
        sa.update(services).where(services.c.name == service).values(desired=wish, changed_at=sa.func.now())
    )
    names = [name for (name,) in await tx.rows(sa.select(processes.c.name).where(processes.c.service == service))]
    await _change(tx, names, patience_s=patience_s)


async def end_all(tx: Transaction, *, delay_s: float) -> None:
    """Desire that the supervisor in charge ends everything, itself included."""
    await tx.execute(sa.update(supervisor).values(stop_at=sa.func.now() + timedelta(seconds=delay_s)))


async def killed(tx: Transaction, name: str, requeued: Sequence[UUID]) -> None:
    """Note that a process was killed as desired, and what became of its jobs."""
    await tx.execute(
        sa.update(processes).where(processes.c.name == name).values(kill_pid=None, requeued=list(requeued))
    )


async def report(tx: Transaction, seen: Sequence[Seen]) -> None:
    """Write down what a supervisor sees."""
    for one in seen:
        told = {name: getattr(one, name) for name in Seen.__struct_fields__ if name != "name"}
        await tx.execute(sa.update(processes).where(processes.c.name == one.name).values(**told))


async def forget(tx: Transaction, names: Collection[str]) -> None:
    """Remove processes that are gone and not desired."""
    if names:
        await tx.execute(sa.delete(processes).where(processes.c.name.in_(names), processes.c.desired == Wish.STOPPED))


async def warmer_there(tx: Transaction) -> bool:
    """Whether a supervisor looks after a warmer, so that nobody else need warm anything; stopped, none shall."""
    there: bool = await tx.scalar(
        sa.select(sa.and_(sa.exists().where(_PRESENT), sa.exists().where(processes.c.service == Service.WARMER)))
    )
    return there


async def _change(tx: Transaction, names: Collection[str], **values: Any) -> None:
    if names:
        await tx.execute(
            sa.update(processes)
            .where(processes.c.name.in_(names))
            .values(generation=processes.c.generation + 1, **values)
        )
