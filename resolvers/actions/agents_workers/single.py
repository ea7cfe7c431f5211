"""One worker: stopped, restarted, killed, or started with settings of its own."""

import time
from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta
from msgspec.structs import replace

from db import agents, profiles, services, workers
from db.jobs import DEFAULT_QUEUE
from db.models.control import Wish
from db.models.work import WorkerState
from db.rows import Row
from db.services import NewProcess, Process, Service
from db.workers import OnDuty
from guards.breakers import Dependency
from guards.errors import BadInput, Conflict
from resolvers import processes
from resolvers.actions.contract import KEPT, Action, Call, Payload, View, WorkerId, action

FINISH_S: Final = 600
"""What a worker that is restarted gets to finish its jobs."""

RESERVED: Final = frozenset({"api", "warmer", "supervisor", "worker", DEFAULT_QUEUE})

Concurrency = Annotated[int, Meta(ge=1, le=16)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$", extra=KEPT)]
Queues = Annotated[list[Annotated[str, Meta(max_length=32, extra=KEPT)]], Meta(min_length=1, max_length=20)]


class WorkerStopInput(Payload, frozen=True, kw_only=True):
    """Which worker to stop, and how."""

    worker_id: WorkerId
    """Its id, or what its supervisor calls it."""

    wait: bool = True
    """Its jobs are finished; otherwise they are put back at once."""

    timeout: Annotated[int, Meta(ge=1, le=600)] = 60
    """Seconds its jobs get; those that are not finished then, are put back."""


class WorkerStopped(Row, frozen=True, kw_only=True):
    """The worker, which ends."""

    worker_id: str
    state: WorkerState | None
    """What it last said; null if it was never heard of."""

    jobs_finished: int | None
    """While it was waited for; null if it was not heard of."""

    converged: bool
    """Whether it is gone; if not, it still finishes its jobs."""

    took_ms: int


@action(
    "worker.stop",
    View.AGENTS_WORKERS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    target="worker_id",
)
async def worker_stop(call: Call[WorkerStopped], asked: WorkerStopInput) -> WorkerStopped:
    """Stop a worker and start none in its place.

    Raises:
        NotFound: there is no such worker.
        NotControllable: there is no supervisor, or it did not start that worker.
    """
    process, said = await processes.worker_process(call.tx, asked.worker_id)
    await services.drop(call.tx, [process.name], patience_s=asked.timeout if asked.wait else 0)
    call.afterwards(partial(_stopped, call, process.name, said, time.monotonic()))
    state = None if said is None else said.state
    return WorkerStopped(worker_id=process.name, state=state, jobs_finished=None, converged=False, took_ms=0)


async def _stopped(
    call: Call[WorkerStopped], name: str, said: OnDuty | None, since: float, stopped: WorkerStopped
) -> WorkerStopped:
    outcome = await processes.settled(call.services.database, [name], since=since)
    result = replace(stopped, converged=outcome.converged, took_ms=outcome.took_ms)
    if said is None:
        return result
    async with call.services.database.system() as tx:
        last = await workers.last_of(tx, said.id)
    if last is None:
        return result
    finished = last.jobs_completed + last.jobs_failed - said.jobs_completed - said.jobs_failed
    return replace(result, state=last.state, jobs_finished=finished)


class WorkerRestartInput(Payload, frozen=True, kw_only=True):
    """Which worker to restart, and how."""

    worker_id: WorkerId | None = None
    """Left out, all of them, one after the other."""

    force: bool = False
    """Its jobs are put back at once, whatever is said of waiting."""

    wait_for_completion: bool = True
    """Its jobs are finished first, within ten minutes."""


class WorkerRestarted(Row, frozen=True, kw_only=True):
    """The workers, each with another process."""

    restarted: list[str]
    """Those that have another process by now."""

    pids: list[int]
    converged: bool
    """Whether all have; if not, it goes on without anybody waiting."""

    took_ms: int


@action("worker.restart", View.AGENTS_WORKERS, depends_on=Dependency.SUPERVISOR, target="worker_id")
async def worker_restart(call: Call[WorkerRestarted], asked: WorkerRestartInput) -> WorkerRestarted:
    """Start a worker again, or all of them.

    Raises:
        NotFound: there is no such worker.
        NotControllable: there is no supervisor, or it did not start that worker.
    """
    if asked.worker_id is None:
        await processes.supervised(call.tx)
        names = [one.name for one in await processes.desired_workers(call.tx, all=True)]
    else:
        process, _ = await processes.worker_process(call.tx, asked.worker_id)
        names = [process.name]
    patience_s = 0 if asked.force or not asked.wait_for_completion else FINISH_S
    await services.renew(call.tx, names, patience_s=patience_s)
    call.afterwards(partial(_restarted, call, names, time.monotonic()))
    return WorkerRestarted(restarted=[], pids=[], converged=False, took_ms=0)


async def _restarted(
    call: Call[WorkerRestarted], names: list[str], since: float, restarted: WorkerRestarted
) -> WorkerRestarted:
    outcome = await processes.settled(call.services.database, names, since=since)
    done = [one for one in outcome.running if one.renewed >= one.renewals]
    return replace(
        restarted,
        restarted=[one.name for one in done],
        pids=[one.pid for one in done if one.pid is not None],
        converged=outcome.converged,
        took_ms=outcome.took_ms,
    )


class WorkerKillInput(Payload, frozen=True, kw_only=True):
    """Which worker to kill."""

    worker_id: WorkerId
    confirm: bool
    """Has to be true."""


class WorkerKilled(Row, frozen=True, kw_only=True):
    """The worker, whose process was killed; another one takes its place."""

    worker_id: str
    pid: int
    """Of the process that was to be killed."""

    killed: bool
    """Whether it is gone; false also if the pid was no longer that of this worker."""

    requeued_jobs: list[UUID]
    """What it was at; queued again, without counting as an attempt."""

    took_ms: int


@action(
    "worker.kill",
    View.AGENTS_WORKERS,
    per_minute=10,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    target="worker_id",
)
async def worker_kill(call: Call[WorkerKilled], asked: WorkerKillInput) -> WorkerKilled:
    """Kill a worker's process at once; its jobs are queued again.

    Raises:
        NotFound: there is no such worker.
        NotControllable: there is no supervisor, or it did not start that worker.
        Conflict: it has no process just now.
    """
    if not asked.confirm:
        raise BadInput("confirm: say true to kill the worker in the middle of its jobs")
    process, _ = await processes.worker_process(call.tx, asked.worker_id)
    if process.pid is None:
        raise Conflict(f"worker {process.name} has no process just now")
    await services.kill(call.tx, process.name, process.pid)
    call.afterwards(partial(_killed, call, process.name, time.monotonic()))
    return WorkerKilled(worker_id=process.name, pid=process.pid, killed=False, requeued_jobs=[], took_ms=0)


async def _killed(call: Call[WorkerKilled], name: str, since: float, killed: WorkerKilled) -> WorkerKilled:
    outcome = await processes.settled(call.services.database, [name], since=since, judged=_is_done_with)
    row = outcome.processes.get(name)
    return replace(
        killed,
        killed=outcome.converged and (row is None or row.pid != killed.pid),
        requeued_jobs=[] if row is None else row.requeued,
        took_ms=outcome.took_ms,
    )


def _is_done_with(process: Process, heard: Collection[int]) -> bool:
    return process.kill_pid is None and process.seen_generation >= process.generation


class WorkerSpawnNewInput(Payload, frozen=True, kw_only=True):
    """What the worker is to be."""

    name: Name | None = None
    """Left out, it gets the lowest number that is free."""

    concurrency: Concurrency = 4
    """Jobs at once."""

    queues: Queues | None = None
    """From which it takes jobs; left out, from the default one."""


class WorkerSpawned(Row, frozen=True, kw_only=True):
    """A worker that was started."""

    worker_id: str
    pid: int | None
    """Null while it is not started yet."""

    converged: bool
    """Whether it is heard of."""

    took_ms: int


@action("worker.spawn_new", View.AGENTS_WORKERS, per_minute=10, depends_on=Dependency.SUPERVISOR)
async def worker_spawn_new(call: Call[WorkerSpawned], asked: WorkerSpawnNewInput) -> WorkerSpawned:
    """Start one worker with settings of its own.

    Raises:
        NotControllable: there is no supervisor that could.
        Conflict: there is something of that name, there would be more than twenty, or the service is stopped.
    """
    await processes.supervised(call.tx)
    await processes.desired_workers(call.tx)
    settings: dict[str, Any] = {"max_jobs": asked.concurrency}
    if asked.queues is not None:
        settings["queues"] = await known_queues(call, asked.queues)
    if asked.name is None:
        [name] = await processes.more_workers(call.tx, 1, settings=settings)
    else:
        name = asked.name
        await _add_named(call, NewProcess(name=name, service=Service.WORKERS, settings=settings))
    call.afterwards(partial(_spawned, call, time.monotonic()))
    return WorkerSpawned(worker_id=name, pid=None, converged=False, took_ms=0)


async def _spawned(call: Call[WorkerSpawned], since: float, spawned: WorkerSpawned) -> WorkerSpawned:
    outcome = await processes.settled(call.services.database, [spawned.worker_id], since=since)
    return replace(
        spawned,
        pid=outcome.pid(spawned.worker_id),
        converged=outcome.converged,
        took_ms=outcome.took_ms,
    )


async def known_queues(call: Call[Any], asked: list[str]) -> list[str]:
    """Queues, each once, all of which there are.

    Raises:
        BadInput: one of them is none.
    """
    known = {DEFAULT_QUEUE, *await profiles.queues(call.tx)}
    if unknown := [name for name in asked if name not in known]:
        raise BadInput(f"queues: there is no queue {unknown[0]}; there are {', '.join(sorted(known))}")
    return list(dict.fromkeys(asked))


async def _add_named(call: Call[Any], new: NewProcess) -> None:
    everything = await services.everything(call.tx)
    if new.name in RESERVED or any(one.name == new.name for one in everything):
        raise Conflict(f"the name {new.name} is taken")
    wanted = sum(one.service == Service.WORKERS and one.desired is Wish.RUNNING for one in everything)
    processes.require_room(wanted + 1)
    await services.add(call.tx, [new])


class WorkerCreateGenericInput(Payload, frozen=True, kw_only=True):
    """What workers of a new profile are to be."""

    name: Name
    """Of the profile, and of its queue."""

    agent_chain: Annotated[list[Annotated[str, Meta(max_length=50, extra=KEPT)]], Meta(min_length=1, max_length=11)]
    """What jobs of the profile go through."""

    concurrency: Concurrency = 1
    timeout_s: Annotated[int, Meta(ge=10, le=3600)] = 900
    """How long one of its jobs may be at work."""


class WorkerProfileCreated(Row, frozen=True, kw_only=True):
    """The profile, and the worker that serves it."""

    profile_id: UUID
    queue: str
    worker_id: str
    pid: int | None
    converged: bool
    """Whether the worker is heard of."""

    took_ms: int


@action("worker.create_generic", View.AGENTS_WORKERS, per_minute=10, depends_on=Dependency.SUPERVISOR)
async def worker_create_generic(
    call: Call[WorkerProfileCreated], asked: WorkerCreateGenericInput
) -> WorkerProfileCreated:
    """Make a kind of workers with a queue of its own, and start one; jobs get there by naming the profile.

    Raises:
        NotControllable: there is no supervisor that could start one.
        Conflict: there is such a profile, there would be more than twenty workers, or the service is stopped.
        BadInput: there is no such agent.
    """
    await processes.supervised(call.tx)
    await processes.desired_workers(call.tx)
    known = {agent.id for agent in await agents.by_ids(call.tx, asked.agent_chain)}
    if unknown := [agent_id for agent_id in asked.agent_chain if agent_id not in known]:
        raise BadInput(f"agent_chain: there is no agent {unknown[0]}")
    if len(set(asked.agent_chain)) < len(asked.agent_chain):
        raise BadInput("agent_chain: an agent can have only one turn")
    if asked.name in RESERVED:
        raise Conflict(f"the name {asked.name} is taken")
    profile = await profiles.add(
        call.tx, asked.name, chain=asked.agent_chain, concurrency=asked.concurrency, timeout_s=asked.timeout_s
    )
    if profile is None:
        raise Conflict(f"there is a worker profile {asked.name} already; worker.scale changes how many serve it")
    [name] = await processes.more_workers(call.tx, 1, profile=profile.name, settings=profile.settings)
    call.afterwards(partial(_serving, call, time.monotonic()))
    return WorkerProfileCreated(
        profile_id=profile.id, queue=profile.name, worker_id=name, pid=None, converged=False, took_ms=0
    )


async def _serving(call: Call[Any], since: float, made: WorkerProfileCreated) -> WorkerProfileCreated:
    outcome = await processes.settled(call.services.database, [made.worker_id], since=since)
    return replace(made, pid=outcome.pid(made.worker_id), converged=outcome.converged, took_ms=outcome.took_ms)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    worker_stop,
    worker_restart,
    worker_kill,
    worker_spawn_new,
    worker_create_generic,
)
