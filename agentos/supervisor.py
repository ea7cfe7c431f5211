"""The supervisor: it owns the processes of all services and keeps them running.

One that ends is started again after a growing pause. Each child is the leader of a session of its own, so Ctrl-C
reaches the supervisor alone, and its standard input is a lifeline (`agentos.lifeline`), so that none is left when the
supervisor is killed. What shall run is said from outside (`agentos.desires`); here it is brought about.
"""

import asyncio
import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from agentos.processes import Backoff, Gauge, Identity, end, ended, identity, kill, same

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is kept running in one place."""

    name: str
    """`api`, `worker-2`: unique under one supervisor."""

    service: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own `environment`."""

    renewal: int = 0
    """Which of the processes that were asked for, one in the place of another, this is."""


class State(StrEnum):
    """What a process is doing, seen from outside."""

    RUNNING = "running"
    WAITING = "waiting"
    """It has ended and will be started again after a pause."""

    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One process as it is at this moment."""

    name: str
    service: str
    pid: int | None
    """None while it waits to be started again."""

    state: State
    leaving: bool
    """Whether none is started after it."""

    renewal: int
    """Of the program that was started last."""

    restarts: int
    """How often it ended by itself and was started again."""

    started_at: datetime | None
    """UTC; None while it waits."""

    cpu: float | None
    """Share of one core since it was last looked at, or since its start; 1.0 is one core busy, None is not known."""

    rss: int | None
    """Bytes of memory it holds; None is not known."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A process that is no more."""

    service: str
    pid: int


class Supervisor:
    """Owns the processes of all services, from `run` to its return."""

    def __init__(self, programs: Iterable[Program], *, environment: Mapping[str, str], grace_s: float = 25.0) -> None:
        """Take on programs; nothing is started before `run`.

        Args:
            environment: what every child starts with; nothing is inherited beside it.
            grace_s: seconds between SIGTERM and SIGKILL.
        """
        self.changed = asyncio.Event()
        """Set whenever a process has begun or ended; cleared by whoever looks."""

        self._programs = tuple(programs)
        self._environment = environment
        self._grace_s = grace_s
        self._places: dict[str, _Place] = {}
        self._gone: list[Gone] = []
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()

    async def run(self, *, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        """Run all programs until `stop` is called or one of `signals` comes; a second one kills at once.

        Returns once every child is gone, at most `grace_s` and one second after the stop.
        """
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            async with asyncio.TaskGroup() as self._group:
                for program in self._programs:
                    self.keep(program)
                await self._stop.wait()
                for place in self._places.values():
                    place.leave()
        finally:
            self._group = None
            for number in signals:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Ask all children to end (SIGTERM); those still there after the grace are killed."""
        self._stop.set()

    def kill(self) -> None:
        """End all children at once, without asking."""
        self._stop.set()
        for place in self._places.values():
            place.kill()

    def keep(self, program: Program) -> None:
        """Keep a program running; where its predecessor has not left yet, once it has."""
        if self._group is None or self._stop.is_set():
            return
        place = self._places.get(program.name)
        if place is None or place.empty:
            place = self._places[program.name] = _Place(program, self._environment, self._grace_s, self._noticed)
        place.keep(self._group, program)

    def renew(self, program: Program) -> None:
        """Start this program as soon as the one in its place has ended, which it is not asked for here."""
        self._places[program.name].renew(program)

    def part(self, name: str) -> None:
        """Start no other once the process of that name has ended, which it is not asked for here."""
        self._places[name].part()

    def ask(self, name: str, *, grace_s: float | None = None) -> None:
        """Ask the process of that name to end, and kill it when it does not within the grace.

        Args:
            grace_s: seconds between SIGTERM and SIGKILL, when it is not the supervisor's own.
        """
        self._places[name].ask(self._grace_s if grace_s is None else grace_s)

    def kill_one(self, name: str, pid: int) -> bool:
        """Kill a process at once, if it is still the one that is meant; whether it was."""
        place = self._places.get(name)
        return place is not None and place.kill_if(pid)

    def observed(self) -> list[Observed]:
        """Every process there is; one that has left is missing."""
        return [place.observed() for place in self._places.values() if not place.empty]

    def gone(self) -> list[Gone]:
        """The processes that have ended since this was last asked."""
        found, self._gone = self._gone, []
        return found

    def _noticed(self, gone: Gone | None) -> None:
        if gone is not None:
            self._gone.append(gone)
        self.changed.set()

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("a second %s: killing all services", number.name)
            self.kill()
        else:
            log.info("%s: stopping all services, up to %s s", number.name, self._grace_s)
            self.stop()


class _After(StrEnum):
    """What follows the end of a process."""

    RESTART = "restart"
    RENEWAL = "renewal"
    NOTHING = "nothing"


class _Place:
    """Where one process runs, one after the other, never two at once."""

    def __init__(
        self,
        program: Program,
        environment: Mapping[str, str],
        grace_s: float,
        notice: Callable[[Gone | None], None],
    ) -> None:
        self._program = self._next = program
        self._environment = environment
        self._grace_s = self._patience_s = grace_s
        self._notice = notice
        self._task: asyncio.Task[None] | None = None
        self._after = _After.RESTART
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ending = False
        self._child: subprocess.Popen[bytes] | None = None
        self._identity: Identity | None = None
        self._gauge: Gauge | None = None
        self._started_at: datetime | None = None
        self._restarts = 0

    @property
    def empty(self) -> bool:
        """Whether nothing runs here and nothing will."""
        return self._task is None or self._task.done()

    def keep(self, group: asyncio.TaskGroup, program: Program) -> None:
        """Keep a process running here; one that is just leaving is waited for first."""
        self._next = program
        if self._task is None:
            self._task = group.create_task(self._keep(), name=f"keep {program.name}")
        elif self._after is _After.NOTHING:
            self._after = _After.RENEWAL

    def renew(self, program: Program) -> None:
        """Start another program here once this one has ended."""
        self._next, self._after = program, _After.RENEWAL
        self._hurry.set()

    def part(self) -> None:
        """Start nothing more here."""
        self._after = _After.NOTHING
        self._hurry.set()

    def ask(self, grace_s: float) -> None:
        """Ask the process to end."""
        self._patience_s = grace_s
        self._asked.set()

    def leave(self) -> None:
        """Ask the process to end, and start no other."""
        self.part()
        self.ask(self._grace_s)

    def kill(self) -> None:
        """End the process at once, and start no other."""
        self.leave()
        if self._child is not None:
            kill(self._child)

    def kill_if(self, pid: int) -> bool:
        """End the process at once, if this is its pid and it is the one that was started here."""
        child, known = self._child, self._identity
        if child is None or known is None or child.pid != pid or not same(known, identity(pid)):
            return False
        kill(child)
        return True

    def observed(self) -> Observed:
        """The process as it is at this moment."""
        child, leaving = self._child, self._after is _After.NOTHING
        state = State.STOPPING if leaving or self._ending else State.WAITING if child is None else State.RUNNING
        cpu, rss = (None, None) if self._gauge is None else self._gauge.read()
        return Observed(
            name=self._program.name,
            service=self._program.service,
            pid=None if child is None else child.pid,
            state=state,
            leaving=leaving,
            renewal=self._program.renewal,
            restarts=self._restarts,
            started_at=None if child is None else self._started_at,
            cpu=cpu,
            rss=rss,
        )

    async def _keep(self) -> None:
        backoff, name = Backoff(), self._program.name
        while self._after is not _After.NOTHING:
            self._after = _After.RESTART
            self._hurry.clear()
            began = time.monotonic()
            outcome = await self._outcome()
            if self._after is _After.RESTART:
                pause = backoff.pause(time.monotonic() - began)
                log.error("%s %s; starting it again in %.2f s", name, outcome, pause)
                await self._rest(pause)
            self._restarts += self._after is _After.RESTART
        # The task is done only after this; whoever is told now must find the place empty.
        asyncio.get_running_loop().call_soon(self._notice, None)

    async def _rest(self, pause: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._hurry.wait()

    async def _outcome(self) -> str:
        try:
            return f"has ended with status {await self._live()}"
        except OSError as error:
            return f"could not be started ({error})"

    async def _live(self) -> int | None:
        """Run one process to its end, which it is brought to when it is asked for or this is cancelled."""
        self._asked.clear()
        self._patience_s = self._grace_s
        self._program = self._next
        child = _spawn(self._program.argv, {**self._environment, **self._program.environment})
        self._child, self._identity, self._started_at = child, identity(child.pid), datetime.now(UTC)
        self._gauge = Gauge(child.pid)
        self._notice(None)
        try:
            await self._ended_or_asked(child)
        finally:
            self._ending = True
            try:
                await end(child, ((signal.SIGTERM, self._patience_s),))
            finally:
                kill(child)  # cancelled a second time: nobody is left who would wait out the grace
                if child.stdin is not None:
                    child.stdin.close()
                self._child = self._gauge = self._identity = None
                self._ending = False
                self._notice(Gone(self._program.service, child.pid))
        return child.returncode

    async def _ended_or_asked(self, child: "subprocess.Popen[bytes]") -> None:
        ending = asyncio.create_task(ended(child), name=f"end of {self._program.name}")
        asked = asyncio.create_task(self._asked.wait(), name=f"ask {self._program.name}")
        try:
            await asyncio.wait((ending, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            asked.cancel()
            await asyncio.wait((ending, asked))


def _spawn(argv: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment, start_new_session=True)
