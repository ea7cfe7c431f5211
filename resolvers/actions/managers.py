"""Managers: the loops that keep the house in order, started, stopped, set and looked at.

What an action decides is a wish in the database that every process obeys within a second; the answer says how many did.
Where no process runs managers, nothing could be decided, and it is refused.
"""

import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from db import logs, managers, workers
from db.database import Transaction
from db.logs import LogLine
from db.managers import Run, Spell, Wish
from db.models.managers import ManagerId, ManagerState, ManagerWish
from db.rows import Row
from guards.errors import BadInput, Conflict, NotControllable
from resolvers import waiting
from resolvers.actions.contract import Action, Call, Empty, Payload, View, action
from resolvers.context import Services
from workers.managers import OPTIONS, NoOptions, options

PATIENCE_S: Final = 3.0

ALIASES: Final = {"id": "manager_id", "manager": "manager_id", "name": "manager_id"}


class ManagerInput(Payload, frozen=True, kw_only=True):
    """Which manager."""

    manager_id: ManagerId


class ManagerChanged(Row, frozen=True, kw_only=True):
    """A manager after something was decided about it."""

    manager_id: ManagerId
    previous_state: ManagerState
    state: ManagerState
    """Running as soon as it runs in one process."""

    processes: int
    """How many processes have it."""

    obeyed: int
    """How many of them had obeyed when this was answered."""

    took_ms: float


@action("manager.start", View.MANAGERS, target="manager_id", aliases=ALIASES)
async def manager_start(call: Call[ManagerChanged], asked: ManagerInput) -> ManagerChanged:
    """Have a manager run, in every process that has one; also one that was killed."""
    return await _decided(call, asked.manager_id, wish=ManagerWish.RUNNING)


@action("manager.stop", View.MANAGERS, per_minute=10, destructive=True, target="manager_id", aliases=ALIASES)
async def manager_stop(call: Call[ManagerChanged], asked: ManagerInput) -> ManagerChanged:
    """Have a manager end its round and do no other."""
    _require_stoppable(asked.manager_id)
    return await _decided(call, asked.manager_id, wish=ManagerWish.STOPPED)


@action("manager.restart", View.MANAGERS, per_minute=10, target="manager_id", aliases=ALIASES)
async def manager_restart(call: Call[ManagerChanged], asked: ManagerInput) -> ManagerChanged:
    """Have a manager end its round and begin again, in every process that has one."""
    return await _decided(call, asked.manager_id, wish=ManagerWish.RUNNING, generation=True)


class ManagersChanged(Row, frozen=True, kw_only=True):
    """All managers after something was decided about them."""

    results: list[ManagerChanged]


@action("manager.start_all", View.MANAGERS, per_minute=10)
async def manager_start_all(call: Call[ManagersChanged], asked: Empty) -> ManagersChanged:
    """Have every manager run."""
    return await _all_decided(call, generation=False)


@action("manager.restart_all", View.MANAGERS, per_minute=10, destructive=True)
async def manager_restart_all(call: Call[ManagersChanged], asked: Empty) -> ManagersChanged:
    """Have every manager end its round and begin again."""
    return await _all_decided(call, generation=True)


class ManagerConfigureInput(Payload, frozen=True, kw_only=True):
    """What to change of a manager; what is left out stays as it is."""

    manager_id: ManagerId
    interval_s: Annotated[float, Meta(ge=1, le=3600)] | None = None
    """Seconds between its rounds."""

    enabled: bool | None = None
    """Whether it runs."""

    options: dict[str, Any] | None = None
    """What else can be set of it, such as `{"most": 50}` of the queue; what is named takes the place of what was."""


class ManagerConfigured(Row, frozen=True, kw_only=True):
    """A manager as it is set now."""

    manager_id: ManagerId
    applied: dict[str, Any]
    """What was changed, as it is in force."""

    version: int
    state: ManagerState
    processes: int
    obeyed: int


@action("manager.configure", View.MANAGERS, target="manager_id", aliases={**ALIASES, "interval": "interval_s"})
async def manager_configure(call: Call[ManagerConfigured], asked: ManagerConfigureInput) -> ManagerConfigured:
    """Change how often a manager does its rounds, and with what options; taken over while it runs."""
    if asked.enabled is False:
        _require_stoppable(asked.manager_id)
    runs = await _running(call.tx, (asked.manager_id,))
    present = await managers.asked(call.tx, asked.manager_id)
    values = _settings(present, asked)
    if not values:
        raise BadInput("say at least one thing that is to be changed: interval_s, enabled or options")
    wish = await managers.ask(call.tx, asked.manager_id, **values)
    applied = {"interval_s": wish.every_s, "enabled": wish.wish is ManagerWish.RUNNING, "options": wish.options}
    changed = ManagerConfigured(
        manager_id=wish.id,
        applied={name: value for name, value in applied.items() if getattr(asked, name) is not None},
        version=wish.version,
        state=managers.liveliest(runs),
        processes=len(runs),
        obeyed=0,
    )

    async def finish(result: ManagerConfigured) -> ManagerConfigured:
        obeying = await _obeyed(call.services, [wish])
        return msgspec.structs.replace(
            result, state=managers.liveliest(obeying), processes=len(obeying), obeyed=_how_many(obeying, wish)
        )

    call.afterwards(finish)
    return changed


class ManagerViewLogsInput(Payload, frozen=True, kw_only=True):
    """Whose lines, and how many."""

    manager_id: ManagerId
    lines: Annotated[int, Meta(ge=1, le=1000)] = 100
    """The newest ones."""


class ManagerLogs(Row, frozen=True):
    """What a manager wrote, the newest first."""

    entries: list[LogLine]
    truncated: bool
    """Whether there is more."""


@action("manager.view_logs", View.MANAGERS, natural=True, target="manager_id", aliases=ALIASES)
async def manager_view_logs(call: Call[ManagerLogs], asked: ManagerViewLogsInput) -> ManagerLogs:
    """Read what a manager wrote."""
    wanted = logs.Filter(category=f"workers.managers.{asked.manager_id}")
    found = await logs.stretch(call.tx, wanted, most=asked.lines + 1)
    return ManagerLogs(found[: asked.lines], len(found) > asked.lines)


class ManagerForceKillInput(Payload, frozen=True, kw_only=True):
    """Which manager to end in the middle of its round."""

    manager_id: ManagerId
    confirm: bool
    """Has to be true."""


@action("manager.force_kill", View.MANAGERS, per_minute=10, destructive=True, target="manager_id", aliases=ALIASES)
async def manager_force_kill(call: Call[ManagerChanged], asked: ManagerForceKillInput) -> ManagerChanged:
    """End a manager at once, in the middle of its round; it stays so until it is started."""
    if not asked.confirm:
        raise BadInput("confirm: say true to end the manager in the middle of its round")
    _require_stoppable(asked.manager_id)
    return await _decided(call, asked.manager_id, wish=ManagerWish.KILLED)


class ManagerReset(Row, frozen=True, kw_only=True):
    """What a manager had counted before it was set to zero."""

    manager_id: ManagerId
    rounds: int
    errors: int
    processes: int
    obeyed: int


@action("manager.reset_state", View.MANAGERS, per_minute=10, destructive=True, target="manager_id", aliases=ALIASES)
async def manager_reset_state(call: Call[ManagerReset], asked: ManagerInput) -> ManagerReset:
    """Have a manager begin anew: its counters at zero, what it held let go, its interval and options the usual ones."""
    runs = await _running(call.tx, (asked.manager_id,))
    await managers.asked(call.tx, asked.manager_id)
    wish = await managers.ask(
        call.tx,
        asked.manager_id,
        wish=ManagerWish.RUNNING,
        every_s=None,
        options={},
        generation=True,
        resets=True,
    )
    reset = ManagerReset(
        manager_id=asked.manager_id,
        rounds=sum(run.rounds for run in runs),
        errors=sum(run.errors for run in runs),
        processes=len(runs),
        obeyed=0,
    )

    async def finish(result: ManagerReset) -> ManagerReset:
        obeying = await _obeyed(call.services, [wish])
        return msgspec.structs.replace(result, processes=len(obeying), obeyed=_how_many(obeying, wish))

    call.afterwards(finish)
    return reset


class Stretch(StrEnum):
    """How far back is looked."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    QUARTER = "15m"
    HOUR = "1h"
    SIX_HOURS = "6h"
    DAY = "24h"


LASTING: Final = {
    Stretch.MINUTE: timedelta(minutes=1),
    Stretch.FIVE_MINUTES: timedelta(minutes=5),
    Stretch.QUARTER: timedelta(minutes=15),
    Stretch.HOUR: timedelta(hours=1),
    Stretch.SIX_HOURS: timedelta(hours=6),
    Stretch.DAY: timedelta(hours=24),
}


class ManagerPerformanceMetricsInput(Payload, frozen=True, kw_only=True):
    """Whose rounds, and how far back."""

    manager_id: ManagerId | None = None
    """Left out, all of them."""

    window: Stretch = Stretch.HOUR


class ManagerFigures(Row, frozen=True, kw_only=True):
    """How the rounds of a manager went; what was not measured is null."""

    id: ManagerId
    state: ManagerState | None
    """Null where no process has it."""

    response_time_ms: float | None
    """What half of the rounds took at most."""

    p95_ms: float | None
    rounds: int
    success_rate: float | None
    """Share of the rounds that did not fail, in 0.0..1.0."""

    error_rate: float | None
    requests_per_minute: float
    """Rounds per minute of the stretch."""

    last_error: str | None
    cpu_usage: float | None
    """Percent of one core that the processes use which have it, with all they do."""

    memory_usage: float | None
    """Megabytes of those processes."""


class ManagersFigures(Row, frozen=True):
    """The managers, by name."""

    managers: list[ManagerFigures]


@action("manager.performance_metrics", View.MANAGERS, natural=True, aliases=ALIASES)
async def manager_performance_metrics(
    call: Call[ManagersFigures], asked: ManagerPerformanceMetricsInput
) -> ManagersFigures:
    """How the rounds of the managers went in a stretch of time, as it was measured."""
    lasting = LASTING[asked.window]
    spells = {spell.manager: spell for spell in await managers.spells(call.tx, lasting=lasting)}
    runs = await managers.runs(call.tx)
    wanted = list(ManagerId) if asked.manager_id is None else [asked.manager_id]
    hosts = {worker.id: worker for worker in await workers.by_ids(call.tx, {run.process for run in runs})}
    return ManagersFigures(
        [
            _figures(manager, lasting, [run for run in runs if run.manager is manager], spells.get(manager), hosts)
            for manager in wanted
        ]
    )


def _figures(
    manager: ManagerId, lasting: timedelta, runs: Sequence[Run], spell: Spell | None, hosts: dict[str, workers.Worker]
) -> ManagerFigures:
    there = [hosts[run.process] for run in runs if run.process in hosts]
    failed = None if spell is None or not spell.rounds else spell.errors / spell.rounds
    return ManagerFigures(
        id=manager,
        state=managers.liveliest(runs) if runs else None,
        response_time_ms=None if spell is None else spell.quantile_ms(0.5),
        p95_ms=None if spell is None else spell.quantile_ms(0.95),
        rounds=0 if spell is None else spell.rounds,
        success_rate=None if failed is None else round(1 - failed, 4),
        error_rate=None if failed is None else round(failed, 4),
        requests_per_minute=0.0 if spell is None else round(spell.rounds / (lasting / timedelta(minutes=1)), 3),
        last_error=next((run.last_error for run in runs if run.last_error), None),
        cpu_usage=_sum(worker.cpu_percent for worker in there),
        memory_usage=_sum(worker.memory_mb for worker in there),
    )


def _sum(measured: Any) -> float | None:
    known = [value for value in measured if value is not None]
    return round(sum(known), 1) if known else None


def _settings(present: Wish, asked: ManagerConfigureInput) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if asked.interval_s is not None:
        values["every_s"] = asked.interval_s
    if asked.enabled is not None:
        values["wish"] = ManagerWish.RUNNING if asked.enabled else ManagerWish.STOPPED
    if asked.options is not None:
        merged = {**present.options, **asked.options}
        try:
            options(asked.manager_id, merged)
        except msgspec.ValidationError as error:
            known = ", ".join(OPTIONS.get(asked.manager_id, NoOptions).__struct_fields__) or "none"
            raise BadInput(f"options: {str(error)[0].lower()}{str(error)[1:]}; there are: {known}") from error
        values["options"] = merged
    return values


def _require_stoppable(manager: ManagerId) -> None:
    if manager is ManagerId.DATABASE:
        raise Conflict("the database manager only watches: it is not stopped")


async def _decided(call: Call[ManagerChanged], manager: ManagerId, **values: Any) -> ManagerChanged:
    runs = await _running(call.tx, (manager,))
    await managers.asked(call.tx, manager)
    wish = await managers.ask(call.tx, manager, **values)
    call.afterwards(partial(_changed, call.services, wish, time.monotonic()))
    before = managers.liveliest(runs)
    return ManagerChanged(
        manager_id=manager, previous_state=before, state=before, processes=len(runs), obeyed=0, took_ms=0.0
    )


async def _all_decided(call: Call[ManagersChanged], *, generation: bool) -> ManagersChanged:
    runs = await _running(call.tx, list(ManagerId))
    began, wishes, results = time.monotonic(), [], []
    for manager in sorted({run.manager for run in runs}):
        await managers.asked(call.tx, manager)
        wishes.append(await managers.ask(call.tx, manager, wish=ManagerWish.RUNNING, generation=generation))
        own = [run for run in runs if run.manager is manager]
        before = managers.liveliest(own)
        results.append(
            ManagerChanged(
                manager_id=manager, previous_state=before, state=before, processes=len(own), obeyed=0, took_ms=0.0
            )
        )

    async def finish(result: ManagersChanged) -> ManagersChanged:
        await _obeyed(call.services, wishes)
        return ManagersChanged(
            results=[
                await _changed(call.services, wish, began, before)
                for wish, before in zip(wishes, result.results, strict=True)
            ]
        )

    call.afterwards(finish)
    return ManagersChanged(results=results)


async def _changed(services: Services, wish: Wish, began: float, before: ManagerChanged) -> ManagerChanged:
    """What was decided about a manager, once its processes have obeyed or had long enough to."""
    runs = await _obeyed(services, [wish])
    return msgspec.structs.replace(
        before,
        state=managers.liveliest(runs),
        processes=len(runs),
        obeyed=_how_many(runs, wish),
        took_ms=round((time.monotonic() - began) * 1000, 1),
    )


async def _running(tx: Transaction, wanted: Collection[ManagerId]) -> list[Run]:
    """The managers of those kinds in all processes.

    Raises:
        NotControllable: no process has any.
    """
    runs = [run for run in await managers.runs(tx) if run.manager in wanted]
    if not runs:
        raise NotControllable("no process is running that has this manager: start a worker first")
    return runs


async def _obeyed(services: Services, wishes: Sequence[Wish]) -> list[Run]:
    """How managers are once every process has obeyed, or after a few seconds."""
    versions = {wish.id: wish.version for wish in wishes}

    async def look() -> list[Run]:
        async with services.database.system() as tx:
            return [run for run in await managers.runs(tx) if run.manager in versions]

    def obeyed(runs: Sequence[Run]) -> bool:
        return all(run.version >= versions[run.manager] for run in runs)

    return await waiting.until(look, obeyed, within_s=PATIENCE_S)


def _how_many(runs: Sequence[Run], wish: Wish) -> int:
    return sum(run.version >= wish.version for run in runs if run.manager is wish.id)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    manager_start,
    manager_stop,
    manager_restart,
    manager_start_all,
    manager_restart_all,
    manager_configure,
    manager_view_logs,
    manager_force_kill,
    manager_reset_state,
    manager_performance_metrics,
)
