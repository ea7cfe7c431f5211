"""Processes: which one a pid really is, how to wait for its end, and the supervisor that owns the services.

A pid alone names nobody, because it is given out again. Whoever wants to signal a process it did not just start itself
holds an `Identity` (pid, start time, command line) and the signal goes out only if all three still agree.

The supervisor keeps each service's processes running: one that ends is started again after a growing pause. Each child
is the leader of a session of its own, so Ctrl-C reaches the supervisor alone, and its standard input is a lifeline
(`agentos.lifeline`), so that none is left when the supervisor is killed.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import psutil  # type: ignore[import-untyped]  # it ships no types; what is read from it is annotated here

log = logging.getLogger(__name__)

Stopping = Sequence[tuple[signal.Signals, float]]
"""How a process is ended: a signal and the seconds it gets, mildest first; SIGKILL comes after the last."""

LEAVE_S = 1.0
"""What is waited for after SIGKILL; longer only takes a process that hangs in the kernel, and no waiting helps that."""

CLOCK_SLACK_S = 2.0
"""How far two readings of one process's start may differ: the kernel counts ticks since boot, and the clock is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process is, so that a stranger under a recycled pid is never taken for it."""

    pid: int
    created: float
    """Seconds since the epoch when it was started."""

    argv: tuple[str, ...]
    """Its command line as the kernel shows it; empty for a process of which it may not be read."""


def identity(pid: int) -> Identity | None:
    """Who has this pid now, or None if nobody alive has; a zombie is not alive."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            argv = tuple(process.cmdline())
            return Identity(pid=pid, created=process.create_time(), argv=argv)
    except psutil.AccessDenied:
        return Identity(pid=pid, created=0.0, argv=())
    except (psutil.NoSuchProcess, ValueError):
        return None


def same_process(pid: int, created: float) -> bool:
    """Whether the process that was started at `created` (seconds since the epoch) still lives under `pid`."""
    now = identity(pid)
    return now is not None and abs(now.created - created) <= CLOCK_SLACK_S


def send(known: Identity, number: signal.Signals) -> bool:
    """Signal a process if it is still the one that was met; False when it has gone or the pid is a stranger's."""
    now = identity(known.pid)
    if now is None or now.argv != known.argv or abs(now.created - known.created) > CLOCK_SLACK_S:
        return False
    try:
        os.kill(known.pid, number)
    except ProcessLookupError:
        return False
    return True


async def gone(known: Identity, *, every: float = 0.02) -> None:
    """Wait until a process that is not our child has ended."""
    while same_process(known.pid, known.created):  # noqa: ASYNC110 - the kernel tells only parents
        await asyncio.sleep(every)


async def ended(child: "subprocess.Popen[bytes]") -> int:
    """Wait until a child has ended, reap it and return its exit status (negative: the signal that ended it).

    Works on every event loop and may be cancelled at any time; the child stays as it is.
    """
    if sys.platform == "linux" and child.poll() is None:
        with contextlib.suppress(OSError):  # a kernel or sandbox without pidfd; then it is asked for now and then
            await _readable(os.pidfd_open(child.pid))
    while (status := child.poll()) is None:  # noqa: ASYNC110 - where no pidfd says when
        await asyncio.sleep(0.02)
    return status


async def end(child: "subprocess.Popen[bytes]", stopping: Stopping) -> None:
    """End a child that leads a session, mildly first; at last with SIGKILL, together with all of its process group."""
    for number, seconds in stopping:
        if child.poll() is not None:
            return
        child.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended(child)
    kill(child)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            await ended(child)


def kill(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and its process group; nothing happens once it has been reaped, when its pid may be a stranger's."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    try:
        loop.add_reader(descriptor, event.set)
        try:
            await event.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True, kw_only=True)
class Backoff:
    """How long to wait before the next start: doubling, jittered, and short again after a stable stretch."""

    first: float = 0.1
    """Seconds before the first restart."""

    most: float = 30.0
    """Seconds no pause exceeds."""

    stable_after: float = 10.0
    """A process that lived this many seconds counts as healthy: its next pause is `first` again."""

    jitter: Callable[[], float] = random.random
    """A number in 0.0..1.0; tests pin it down."""

    _failures: int = field(default=0, init=False)

    def pause(self, lived: float) -> float:
        """Seconds to wait now that a process has ended after `lived` seconds: between half and the whole step."""
        self._failures = 0 if lived >= self.stable_after else self._failures
        step = min(self.most, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return step * (0.5 + self.jitter() / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the supervisor is to keep running."""

    name: str
    argv: tuple[str, ...]
    count: int = 1
    """How many processes to begin with; `scale` changes it."""

    numbered: bool = False
    """Whether there may be several, called `name-1`, `name-2` and so on; otherwise one at most, called `name`."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own `environment` for this service."""


class State(StrEnum):
    """What a process of a service is doing, seen from outside."""

    RUNNING = "running"
    WAITING = "waiting"
    """It has ended and will be started again after a pause."""

    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One process of a service as it is at this moment."""

    name: str
    """`api`, `worker-2`: unique under one supervisor."""

    service: str
    pid: int | None
    """None while it waits to be started again."""

    state: State
    restarts: int
    """How often it was started again since the supervisor began."""

    started_at: datetime | None
    """UTC; None while it waits."""

    cpu: float | None
    """Share of one core since it was last looked at, or since its start; 1.0 is one core busy, None is not known."""

    rss: int | None
    """Bytes of memory it holds; None is not known."""


class Supervisor:
    """Owns the processes of all services, from `run` to its return."""

    def __init__(self, services: Iterable[Service], *, environment: Mapping[str, str], grace_s: float = 25.0) -> None:
        """Take on services; nothing is started before `run`.

        Args:
            environment: what every child starts with; nothing is inherited beside it.
            grace_s: seconds between SIGTERM and SIGKILL, for all children at once.
        """
        self._services = {service.name: service for service in services}
        self._environment = environment
        self._grace_s = grace_s
        self._places: dict[str, _Place] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()

    async def run(self, *, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        """Run all services until `stop` is called or one of `signals` comes; a second one kills at once.

        Returns once every child is gone, at most `grace_s` and one second after the stop.
        """
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            async with asyncio.TaskGroup() as self._group:
                for service in self._services.values():
                    self.scale(service.name, service.count)
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

    def scale(self, name: str, count: int) -> None:
        """Run this many processes of a service from now on; surplus ones are asked to end, the newest number first.

        Raises:
            KeyError: there is no such service.
            ValueError: more than one of a service that is not numbered, fewer than none, or `run` is not running.
        """
        service = self._services[name]
        if count < 0 or (count > 1 and not service.numbered) or self._group is None:
            raise ValueError(f"cannot run {count} of {name}")
        names = [f"{name}-{number}" for number in range(1, count + 1)] if service.numbered else [name] * count
        for place in self._places.values():
            if place.service.name == name and place.name not in names:
                place.leave()
        for new in names:
            place = self._places.setdefault(new, _Place(new, service, self._environment, self._grace_s))
            place.keep(self._group)

    def observed(self) -> list[Observed]:
        """Every process there is, in the order of the services; one that was scaled away is missing once it is gone."""
        places = [place for name in self._services for place in self._places.values() if place.service.name == name]
        return [place.observed() for place in places if not place.empty]

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("a second %s: killing all services", number.name)
            self.kill()
        else:
            log.info("%s: stopping all services, up to %s s", number.name, self._grace_s)
            self.stop()


class _Place:
    """Where one process of a service runs, one after the other, never two at once."""

    def __init__(self, name: str, service: Service, environment: Mapping[str, str], grace_s: float) -> None:
        self.name = name
        self.service = service
        self._environment = {**environment, **service.environment}
        self._grace_s = grace_s
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._leaving = False
        self._ending = False
        self._child: subprocess.Popen[bytes] | None = None
        self._measured: psutil.Process | None = None
        self._started_at: datetime | None = None
        self._starts = 0

    @property
    def empty(self) -> bool:
        """Whether nothing runs here and nothing will."""
        return (self._task is None or self._task.done()) and not self._turn.locked()

    def keep(self, group: asyncio.TaskGroup) -> None:
        """Keep a process running here; one that is just leaving is waited for first."""
        if self.empty or self._leaving:
            self._task = group.create_task(self._keep(), name=f"keep {self.name}")
            self._leaving = False

    def leave(self) -> None:
        """Ask the process to end, and start no other."""
        if self._task is not None and not self._leaving:
            self._leaving = True
            self._task.cancel()

    def kill(self) -> None:
        """End the process at once, and start no other."""
        self.leave()
        if self._child is not None:
            kill(self._child)

    def observed(self) -> Observed:
        """The process as it is at this moment."""
        child = self._child
        state = State.STOPPING if self._leaving or self._ending else State.WAITING if child is None else State.RUNNING
        cpu, rss = self._measure()
        return Observed(
            name=self.name,
            service=self.service.name,
            pid=None if child is None else child.pid,
            state=state,
            restarts=max(0, self._starts - 1),
            started_at=None if child is None else self._started_at,
            cpu=cpu,
            rss=rss,
        )

    def _measure(self) -> tuple[float | None, int | None]:
        if self._child is None or self._measured is None:
            return None, None
        try:
            return self._measured.cpu_percent(interval=None) / 100, self._measured.memory_info().rss
        except psutil.Error:
            return None, None

    async def _keep(self) -> None:
        backoff = Backoff()
        async with self._turn:
            while True:
                began = time.monotonic()
                outcome = await self._outcome()
                pause = backoff.pause(time.monotonic() - began)
                log.error("%s %s; starting it again in %.2f s", self.name, outcome, pause)
                await asyncio.sleep(pause)

    async def _outcome(self) -> str:
        try:
            return f"has ended with status {await self._live()}"
        except OSError as error:
            return f"could not be started ({error})"

    async def _live(self) -> int:
        """Run one process to its end; when cancelled, end it."""
        self._starts += 1
        child = _spawn(self.service.argv, self._environment)
        self._child, self._started_at = child, datetime.now(UTC)
        try:
            self._measured = _first_look(child.pid)
            return await ended(child)
        finally:
            self._ending = True
            try:
                await end(child, ((signal.SIGTERM, self._grace_s),))
            finally:
                kill(child)  # cancelled a second time: nobody is left who would wait out the grace
                if child.stdin is not None:
                    child.stdin.close()
                self._child = self._measured = None
                self._ending = False


def _spawn(argv: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment, start_new_session=True)


def _first_look(pid: int) -> psutil.Process | None:
    """A measuring point from which the first CPU share is counted."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        process.cpu_percent(interval=None)
        return process
    return None
