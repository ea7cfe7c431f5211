"""Processes as people steer them: what is desired is written down, and then one waits for the supervisor to report.

Nothing here starts or ends a process. Without a supervisor that was heard of within five seconds nothing is written
either: what nobody would carry out is refused. Two who want different things at once take turns, and the later wish
stands.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from db import services, workers
from db.database import Database, Transaction
from db.health import DATABASE_FAILED
from db.models.control import ProcessState, Wish
from db.services import Charge, NewProcess, Process, Service
from db.workers import OnDuty
from guards.errors import Conflict, NotControllable, NotFound
from resolvers import waiting

PATIENCE_S: Final = 7.0
"""How long a call waits for what it asked for."""

MOST_WORKERS: Final = 20
NO_SUPERVISOR: Final = (
    "nobody here starts and stops processes: no supervisor was heard of within five seconds. "
    "`python -m agentos up` runs one; elsewhere ask whoever runs the processes"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of a wish, as far as it was waited for."""

    processes: Mapping[str, Process]
    """Those that are still there, by name."""

    heard: Collection[int]
    """Pids of workers that are heard of."""

    converged: bool
    """Whether everything is as desired."""

    took_ms: int

    @property
    def running(self) -> list[Process]:
        """Those that run, and are heard of where they are workers."""
        return [one for one in self.processes.values() if _is_up(one, self.heard)]

    def pid(self, name: str) -> int | None:
        """The pid of one of them, or None when it does not run."""
        found = self.processes.get(name)
        return None if found is None else found.pid


async def supervised(tx: Transaction) -> Charge:
    """The supervisor in charge, with everybody else who wants to change something waiting until this ends.

    Raises:
        NotControllable: there is none.
    """
    await services.hold(tx)
    charge = await services.in_charge(tx)
    if charge is None:
        raise NotControllable(NO_SUPERVISOR)
    return charge


async def desired_workers(tx: Transaction, *, profile: str | None = None, all: bool = False) -> list[Process]:
    """The workers that are to be there, by number; of a profile, or those without one, unless `all` are asked for.

    Raises:
        Conflict: the service is stopped, so that no worker runs at all.
    """
    if await services.wish_of(tx, Service.WORKERS) is Wish.STOPPED:
        raise Conflict("the service workers is stopped: start it first with service.start")
    found = await services.of_service(tx, Service.WORKERS)
    wanted = [one for one in found if one.desired is Wish.RUNNING and (all or one.profile == profile)]
    return sorted(wanted, key=lambda one: one.number)


async def more_workers(
    tx: Transaction, count: int, *, profile: str | None = None, settings: Mapping[str, Any] | None = None
) -> list[str]:
    """Desire so many more workers under the lowest numbers that are free; their names.

    Raises:
        Conflict: there would be more than twenty.
    """
    everything = await services.of_service(tx, Service.WORKERS)
    wanted = sum(one.desired is Wish.RUNNING for one in everything)
    require_room(wanted + count)
    taken = {one.name for one in everything}
    stem = profile or "worker"
    free = [f"{stem}-{number}" for number in range(1, len(taken) + count + 1) if f"{stem}-{number}" not in taken]
    made = [
        NewProcess(name=name, service=Service.WORKERS, settings=settings or {}, profile=profile)
        for name in free[:count]
    ]
    await services.add(tx, made)
    return [one.name for one in made]


def require_room(count: int) -> None:
    """Make sure that so many workers may be.

    Raises:
        Conflict: they may not.
    """
    if count > MOST_WORKERS:
        raise Conflict(f"that would be {count} workers: at most {MOST_WORKERS} are run here")


async def fewer_workers(tx: Transaction, present: Sequence[Process], count: int, *, patience_s: int) -> list[str]:
    """Desire so many workers fewer: those that do nothing first, and of these the newest numbers; their names."""
    busy = {worker.pid for worker in await workers.on_duty(tx) if worker.current_jobs}
    ordered = sorted(present, key=lambda one: one.number, reverse=True)
    idle_first = sorted(ordered, key=lambda one: one.pid in busy)
    names = [one.name for one in idle_first[:count]]
    await services.drop(tx, names, patience_s=patience_s)
    return names


async def worker_process(tx: Transaction, which: str) -> tuple[Process, OnDuty | None]:
    """The process of a worker, by its name or its id, with what the worker says of itself.

    Raises:
        NotFound: there is no such worker.
        NotControllable: there is, but the supervisor here did not start it.
    """
    charge = await supervised(tx)
    there = {one.name: one for one in await services.of_service(tx, Service.WORKERS)}
    said = next(iter(await workers.on_duty(tx, which)), None)
    if said is not None and said.id == which:
        found = next((one for one in there.values() if (charge.hostname, one.pid) == (said.hostname, said.pid)), None)
        if found is None:
            raise NotControllable(
                f"worker {which} runs on {said.hostname} under pid {said.pid}, and the supervisor here did not start it"
            )
        return found, said
    found = there.get(which)
    if found is None or found.desired is Wish.STOPPED:
        raise NotFound(f"there is no worker {which}")
    own = next((one for one in await workers.on_duty(tx) if _same(charge, found, one)), None)
    return found, own


def _same(charge: Charge, process: Process, worker: OnDuty) -> bool:
    return (charge.hostname, process.pid) == (worker.hostname, worker.pid)


Judgement = Callable[[Process, Collection[int]], bool]
"""Whether a process is as it should be, given the pids of the workers that are heard of."""


def as_desired(process: Process, heard: Collection[int]) -> bool:
    """Whether nothing is left to be done about a process, and it is heard of if it is a worker."""
    if not process.wanted:
        # One that is not desired by itself goes with its row; one whose service is stopped stays as stopped.
        return process.desired is Wish.RUNNING and process.settled
    return process.settled and _is_up(process, heard)


async def settled(
    database: Database,
    names: Iterable[str],
    *,
    since: float,
    within_s: float | None = None,
    judged: Judgement = as_desired,
) -> Outcome:
    """Wait until processes are as they should be, or until `within_s` has gone by.

    Args:
        since: when that was asked for, by the monotonic clock.
        within_s: `PATIENCE_S`, unless somebody has more of it.
    """
    wanted, last = set(names), Outcome({}, (), False, _ms(since))

    async def look() -> Outcome:
        nonlocal last
        # What was asked for is committed; that it cannot be watched just now changes nothing about it.
        with suppress(*DATABASE_FAILED):
            last = await _seen(database, wanted, since, judged)
        return last

    left_s = (PATIENCE_S if within_s is None else within_s) - (time.monotonic() - since)
    return await waiting.until(look, lambda seen: seen.converged, within_s=left_s)


async def _seen(database: Database, names: Collection[str], since: float, judged: Judgement) -> Outcome:
    async with database.system() as tx:
        charge = await services.in_charge(tx)
        there = {one.name: one for one in await services.everything(tx) if one.name in names}
        heard = {} if charge is None else await workers.heard(tx, charge.hostname)
    converged = charge is not None and all(judged(one, heard) for one in there.values())
    return Outcome(there, frozenset(heard), converged, _ms(since))


def _is_up(process: Process, heard: Collection[int]) -> bool:
    running = process.state is ProcessState.RUNNING and process.pid is not None
    return running and (process.service != Service.WORKERS or process.pid in heard)


def _ms(since: float) -> int:
    return round((time.monotonic() - since) * 1000)
