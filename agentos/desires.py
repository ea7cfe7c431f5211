"""Desires: the supervisor's way to the database, where it reads what shall run and writes down what does.

Twice a second, and whenever a process begins or ends, it says that it is in charge, reports what it sees, and does what
has changed since. Nobody calls it: an action writes what is desired and waits for the report. PostgreSQL away: what
runs goes on running and what ends is started again; nothing new is obeyed until it is back. A second supervisor over
the same database keeps its own processes running by itself, and takes over when the first has been silent for five
seconds.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID, uuid4

from msgspec.structs import replace

from agentos import VERSION
from agentos.supervisor import Gone, Observed, Program, State, Supervisor
from db import leases, services, workers
from db.database import Database, Transaction
from db.health import DATABASE_FAILED
from db.models.control import ProcessState
from db.models.work import WorkerState
from db.services import NewProcess, Process, Seen, Service
from db.tasks import going_on

LOOK_EVERY_S: Final = 0.5
SAY_EVERY_S: Final = 2.0
UP_WITHIN_S: Final = 15.0
"""How long the next renewal waits for the process of the one before to be heard of."""

RENEWAL_GRACE_S: Final = 10.0
"""What a process that is renewed gets to finish with SIGTERM; nobody waits for its port or its jobs meanwhile."""

log = logging.getLogger(__name__)

_STATES: Final = {
    State.RUNNING: ProcessState.RUNNING,
    State.WAITING: ProcessState.WAITING,
    State.STOPPING: ProcessState.STOPPING,
}


class Desires:
    """Has one supervisor do what is desired."""

    def __init__(
        self,
        database: Database,
        supervisor: Supervisor,
        *,
        first: Callable[[Transaction], Awaitable[Sequence[NewProcess]]],
        program: Callable[[Process], Program],
    ) -> None:
        """
        Args:
            first: what is desired as long as nobody has said otherwise.
            program: what a desired process is started as.
        """
        self._database = database
        self._supervisor = supervisor
        self._first = first
        self._program = program
        self._id = uuid4().hex
        self._hostname = socket.gethostname()
        self._begun = False
        self._away = False
        self._desired: dict[str, Process] = {}
        self._acted: dict[str, int] = {}
        self._deadlines: dict[str, tuple[int, float]] = {}
        self._renewing: dict[str, float] = {}
        self._killing: dict[str, int] = {}
        self._missed: list[str] = []
        self._retiring: set[str] = set()
        self._gone: list[Gone] = []
        self._said: list[Seen] = []
        self._said_at = 0.0

    async def run(self) -> None:
        """Look and obey until cancelled."""
        while going_on():
            self._supervisor.changed.clear()
            try:
                await self._look()
                self._away = False
            except DATABASE_FAILED as error:
                if not self._away:
                    log.warning("what is desired cannot be read, what runs goes on: %s", error)
                self._away = True
            await self._changed_or_due()

    async def last(self) -> None:
        """Say that this supervisor is no more."""
        try:
            async with self._database.system() as tx:
                await services.leave_charge(tx, self._id)
        except DATABASE_FAILED as error:
            log.warning("the supervisor's farewell was not heard: %s", error)

    async def _changed_or_due(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._supervisor.changed.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        self._gone += self._supervisor.gone()
        buried, missed = len(self._gone), len(self._missed)
        async with self._database.system() as tx:
            # Who changes what is desired does so one process after the other, and so is written what became of them.
            await services.hold(tx)
            charge = await services.take_charge(
                tx, id=self._id, hostname=self._hostname, pid=os.getpid(), version=VERSION
            )
            if charge is None:
                self._begun = False
                return
            if not self._begun:
                await services.begin(tx, await self._first(tx))
            await self._settle(tx)
            desired = await services.everything(tx)
            heard = await workers.heard(tx, self._hostname)
        # Only now that it is committed: what was rolled back is done again with the next look.
        self._begun = True
        self._killing = {name: pid for name, pid in self._killing.items() if not _among(pid, self._gone[:buried])}
        self._gone, self._missed = self._gone[buried:], self._missed[missed:]
        self._desired = {process.name: process for process in sorted(desired, key=lambda each: each.turn)}
        if charge.ending:
            log.info("ending everything, as was asked")
            self._supervisor.stop()
            return
        self._obey(heard)
        if self._retiring:
            async with self._database.system() as tx:
                await workers.desire(tx, self._retiring, WorkerState.DRAINING)
            self._retiring.clear()

    async def _settle(self, tx: Transaction) -> None:
        """Write down what has happened since the last look."""
        for one in self._gone:
            await self._bury(tx, one)
        for name in self._missed:
            await services.killed(tx, name, [])
        seen = self._seen()
        plain = [replace(one, cpu=None, rss=None) for one in seen]
        if plain != self._said or time.monotonic() - self._said_at >= SAY_EVERY_S:
            await services.report(tx, seen)
            self._said, self._said_at = plain, time.monotonic()
        await services.forget(tx, [one.name for one in seen if one.state is ProcessState.STOPPED])

    async def _bury(self, tx: Transaction, gone: Gone) -> None:
        """Give back at once what a worker held when it ended; its lease need not run out first."""
        meant = next((name for name, pid in self._killing.items() if pid == gone.pid), None)
        requeued: list[UUID] = []
        if gone.service == Service.WORKERS:
            for worker_id in await workers.mark_gone(tx, self._hostname, gone.pid):
                jobs = await leases.take_back(tx, worker_id, count_attempt=meant is None)
                requeued += [job.id for job in jobs]
        if requeued:
            log.warning("%d jobs were in the hands of the worker with pid %d when it ended", len(requeued), gone.pid)
        if meant is not None:
            await services.killed(tx, meant, requeued)

    def _seen(self) -> list[Seen]:
        observed = {one.name: one for one in self._supervisor.observed()}
        return [
            _seen(process, observed.get(process.name), self._acted.get(process.name, 0))
            for process in self._desired.values()
        ]

    def _obey(self, heard: Mapping[int, str]) -> None:
        there = {one.name: one for one in self._supervisor.observed()}
        for name in there.keys() - self._desired.keys():
            self._supervisor.part(name)
            self._supervisor.ask(name)
        for process in self._desired.values():
            one = there.get(process.name)
            if process.wanted and (one is None or one.leaving):
                self._supervisor.keep(self._program(process))
            elif not process.wanted and one is not None:
                self._supervisor.part(process.name)
                self._urge(process, one, heard)
            if process.kill_pid is not None and process.name not in self._killing:
                self._kill(process.name, process.kill_pid)
            self._acted[process.name] = process.generation
        self._renew(there, heard)

    def _kill(self, name: str, pid: int) -> None:
        # Noted first: its end may be noticed before the next line is reached.
        self._killing[name] = pid
        if not self._supervisor.kill_one(name, pid):
            log.warning("%s is not the process %d any more: nothing is killed", name, pid)
            del self._killing[name]
            self._missed.append(name)

    def _renew(self, there: Mapping[str, Observed], heard: Mapping[int, str]) -> None:
        """Have another process take the place of each that is due, where it matters one after the other."""
        self._renewing = {
            name: began
            for name, began in self._renewing.items()
            if name in self._desired and not self._is_up(self._desired[name], there.get(name), began, heard)
        }
        for name, process in self._desired.items():
            one = there.get(name)
            if one is None or one.leaving or not process.wanted or one.renewal >= process.renewals or not process.due:
                continue
            if name not in self._renewing:
                if process.rolling and self._renewing:
                    continue
                self._renewing[name] = time.monotonic()
            self._supervisor.renew(self._program(process))
            self._urge(process, one, heard)

    def _is_up(self, process: Process, one: Observed | None, began: float, heard: Mapping[int, str]) -> bool:
        """Whether a renewal is over, so that the next may begin."""
        if one is None or one.leaving:
            return True
        if one.renewal < process.renewals:
            return False
        told = process.service != Service.WORKERS or one.pid in heard
        patience = UP_WITHIN_S + process.patience_s
        return (one.state is State.RUNNING and told) or time.monotonic() - began > patience

    def _urge(self, process: Process, one: Observed, heard: Mapping[int, str]) -> None:
        """Have a process end: a worker once it has done what it holds, if that is given time; any other now."""
        now = time.monotonic()
        generation, deadline = self._deadlines.get(process.name, (0, 0.0))
        if generation != process.generation:
            deadline = now + process.patience_s
            self._deadlines[process.name] = (process.generation, deadline)
        worker_id = None if one.pid is None else heard.get(one.pid)
        if now < deadline and worker_id is not None:
            self._retiring.add(worker_id)
        elif one.pid is not None:
            grace_s = RENEWAL_GRACE_S if process.service == Service.API else None
            self._supervisor.ask(process.name, grace_s=grace_s)


def _seen(process: Process, one: Observed | None, acted: int) -> Seen:
    if one is None:
        return Seen(
            name=process.name,
            seen_generation=acted,
            renewed=process.renewals if not process.wanted else process.renewed,
            state=ProcessState.STOPPED,
            pid=None,
            since=None,
            restarts=process.restarts,
            cpu=None,
            rss=None,
        )
    return Seen(
        name=process.name,
        seen_generation=acted,
        renewed=one.renewal,
        state=_STATES[one.state],
        pid=one.pid,
        since=one.started_at,
        restarts=one.restarts,
        cpu=one.cpu,
        rss=one.rss,
    )


def _among(pid: int, gone: Sequence[Gone]) -> bool:
    return any(one.pid == pid for one in gone)
