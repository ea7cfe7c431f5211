"""The workers as a whole: more of them, fewer, other ones in their place."""

import time
from functools import partial
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from db import profiles, services, tallies
from db.models.work import JobStatus
from db.rows import Row
from guards.breakers import Dependency
from guards.errors import Conflict, NotFound
from resolvers import processes
from resolvers.actions.contract import KEPT, Action, Call, Payload, View, Work, action, operation
from resolvers.actions.supervising import UP_S, followed, renewed, require_workers

ANY_TYPE: Final = "default"
DRAIN_S: Final = 300
"""What a worker that is too many gets to finish its jobs, unless somebody says otherwise."""

Count = Annotated[int, Meta(ge=1, le=10)]
Patience = Annotated[int, Meta(ge=1, le=600)]
"""Seconds that jobs get to be finished; those that are not, are put back."""


class WorkerStartInput(Payload, frozen=True, kw_only=True):
    """How many to start."""

    count: Annotated[int, Meta(ge=1, le=20)] = 1


class FleetChanged(Row, frozen=True, kw_only=True):
    """How many workers there are to be, and are."""

    previous_count: int
    """How many there were to be."""

    desired: int
    observed: int
    """How many run and are heard of."""

    converged: bool
    """Whether everything is as desired; if not, it goes on without anybody waiting."""

    started: list[str]
    stopped: list[str]
    """Workers that end, at once or when they have done what they hold."""

    took_ms: int
    """How long that was waited for."""


@action("worker.start", View.AGENTS_WORKERS, depends_on=Dependency.SUPERVISOR)
async def worker_start(call: Call[FleetChanged], asked: WorkerStartInput) -> FleetChanged:
    """Start workers.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: there would be more than twenty, or the service is stopped.
    """
    return await _more(call, asked.count)


class WorkerScaleUpInput(Payload, frozen=True, kw_only=True):
    """How many more."""

    count: Count = 1


@action(
    "worker.scale_up",
    View.AGENTS_WORKERS,
    per_minute=10,
    depends_on=Dependency.SUPERVISOR,
    aliases={"factor": "count"},
)
async def worker_scale_up(call: Call[FleetChanged], asked: WorkerScaleUpInput) -> FleetChanged:
    """Have more workers.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: there would be more than twenty, or the service is stopped.
    """
    return await _more(call, asked.count)


class WorkerScaleDownInput(Payload, frozen=True, kw_only=True):
    """How many fewer."""

    count: Count = 1


@action(
    "worker.scale_down",
    View.AGENTS_WORKERS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    aliases={"factor": "count"},
)
async def worker_scale_down(call: Call[FleetChanged], asked: WorkerScaleDownInput) -> FleetChanged:
    """Have fewer workers, idle ones first; those at work finish their jobs, and one always stays.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: there is only one, or the service is stopped.
    """
    await processes.supervised(call.tx)
    present = await processes.desired_workers(call.tx)
    fewer = min(asked.count, len(present) - 1)
    if fewer < 1:
        raise Conflict("one worker always stays; worker.stop ends it all the same")
    stopped = await processes.fewer_workers(call.tx, present, fewer, patience_s=DRAIN_S)
    return _waited_for(call, [one.name for one in present], [], stopped)


class WorkerScaleInput(Payload, frozen=True, kw_only=True):
    """How many there are to be."""

    count: Annotated[int, Meta(ge=1, le=100)]
    worker_type: Annotated[str, Meta(max_length=32, extra=KEPT)] = ANY_TYPE
    """A worker profile, or `default` for the workers without one."""

    timeout_seconds: Annotated[int, Meta(ge=60, le=600)] = DRAIN_S
    """What those that are too many get to finish their jobs."""


@action(
    "worker.scale",
    View.EXTRA,
    per_minute=10,
    depends_on=Dependency.SUPERVISOR,
    aliases={"worker_count": "count"},
)
async def worker_scale(call: Call[FleetChanged], asked: WorkerScaleInput) -> FleetChanged:
    """Have just so many workers.

    Raises:
        NotControllable: there is no supervisor that could.
        NotFound: there is no such profile.
        Conflict: there would be more than twenty, or the service is stopped.
    """
    await processes.supervised(call.tx)
    profile = None
    if asked.worker_type != ANY_TYPE:
        profile = await profiles.by_name(call.tx, asked.worker_type)
        if profile is None:
            raise NotFound(f"there is no worker profile {asked.worker_type}")
    name = None if profile is None else profile.name
    settings = None if profile is None else profile.settings
    present = await processes.desired_workers(call.tx, profile=name)
    before = [one.name for one in present]
    if asked.count < len(present):
        surplus = len(present) - asked.count
        stopped = await processes.fewer_workers(call.tx, present, surplus, patience_s=asked.timeout_seconds)
        return _waited_for(call, before, [], stopped)
    more = await processes.more_workers(call.tx, asked.count - len(present), profile=name, settings=settings)
    return _waited_for(call, before, more, [])


class WorkerRestartAllInput(Payload, frozen=True, kw_only=True):
    """How to restart them."""

    rolling: bool = True
    """One after the other, each next one when the last is heard of."""

    timeout: Patience = 60


class FleetRestarted(Row, frozen=True, kw_only=True):
    """The workers, each with another process."""

    restarted: list[str]
    took_ms: int
    converged: bool


@operation(
    "worker.restart_all",
    View.AGENTS_WORKERS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    prepare=require_workers,
)
async def worker_restart_all(work: Work, asked: WorkerRestartAllInput) -> FleetRestarted:
    """Start every worker again once it has finished its jobs, or put them back when it does not in time.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: the service is stopped.
    """
    began = time.monotonic()
    async with work.services.database.transaction(work.caller.tenant) as tx:
        await processes.supervised(tx)
        names = [one.name for one in await processes.desired_workers(tx, all=True)]
        await services.renew(tx, names, patience_s=asked.timeout, rolling=asked.rolling)
    outcome = await renewed(work, names, began, patience_s=asked.timeout, rolling=asked.rolling)
    restarted = [one.name for one in outcome.processes.values() if one.renewed >= one.renewals]
    return FleetRestarted(restarted=restarted, took_ms=outcome.took_ms, converged=outcome.converged)


class WorkerStopAllInput(Payload, frozen=True, kw_only=True):
    """How to stop them."""

    wait: bool = True
    """Their jobs are finished; otherwise they are put back at once."""

    timeout: Patience = 60


class FleetStopped(Row, frozen=True, kw_only=True):
    """No worker is left."""

    stopped: list[str]
    remaining_jobs: int
    """Jobs of the caller's tenant that are not done yet and wait for workers."""

    took_ms: int
    converged: bool


@operation(
    "worker.stop_all",
    View.AGENTS_WORKERS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    prepare=require_workers,
)
async def worker_stop_all(work: Work, asked: WorkerStopAllInput) -> FleetStopped:
    """Stop every worker; jobs wait until somebody starts one.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: the service is stopped.
    """
    began = time.monotonic()
    patience_s = asked.timeout if asked.wait else 0
    async with work.services.database.transaction(work.caller.tenant) as tx:
        await processes.supervised(tx)
        names = [one.name for one in await processes.desired_workers(tx, all=True)]
        await services.drop(tx, names, patience_s=patience_s)
    outcome = await followed(work, names, began, within_s=patience_s + UP_S)
    async with work.services.database.transaction(work.caller.tenant) as tx:
        counts = await tallies.counts(tx)
    return FleetStopped(
        stopped=[name for name in names if name not in outcome.processes],
        remaining_jobs=counts[JobStatus.QUEUED] + counts[JobStatus.PROCESSING],
        took_ms=outcome.took_ms,
        converged=outcome.converged,
    )


async def _more(call: Call[FleetChanged], count: int) -> FleetChanged:
    await processes.supervised(call.tx)
    before = [one.name for one in await processes.desired_workers(call.tx)]
    return _waited_for(call, before, await processes.more_workers(call.tx, count), [])


def _waited_for(call: Call[FleetChanged], before: list[str], started: list[str], stopped: list[str]) -> FleetChanged:
    names = [*before, *started]
    call.afterwards(partial(_converged, call, names, time.monotonic()))
    return FleetChanged(
        previous_count=len(before),
        desired=len(names) - len(stopped),
        observed=0,
        converged=False,
        started=started,
        stopped=stopped,
        took_ms=0,
    )


async def _converged(call: Call[Any], names: list[str], since: float, changed: FleetChanged) -> FleetChanged:
    outcome = await processes.settled(call.services.database, names, since=since)
    return replace(changed, observed=len(outcome.running), converged=outcome.converged, took_ms=outcome.took_ms)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    worker_start,
    worker_scale_up,
    worker_scale_down,
    worker_restart_all,
    worker_stop_all,
    worker_scale,
)
