import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import pytest

from agentos import supervisor
from agentos.supervisor import Backoff, Identity, Observed, Service, State, Supervisor
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "GREETING": "from the supervisor"}

FAITHFUL = ("-c", "from agentos.lifeline import follow_parent; follow_parent().join()")
"""A child that ends with its parent, and on SIGTERM."""

STUBBORN = ("-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
"""A child that only SIGKILL ends."""


def service(name: str, program: tuple[str, ...] = FAITHFUL, **more: object) -> Service:
    return Service(name=name, argv=(sys.executable, *program), **more)  # type: ignore[arg-type]  # fields of Service


@contextlib.asynccontextmanager
async def supervised(*services: Service, grace_s: float = 5.0) -> AsyncIterator[Supervisor]:
    """A supervisor that runs for as long as the block, without taking over the signals of the test run."""
    made = Supervisor(services, environment=ENVIRONMENT, grace_s=grace_s)
    async with asyncio.TaskGroup() as group:
        group.create_task(made.run(signals=()))
        await until(lambda: bool(made.observed()))
        try:
            yield made
        finally:
            made.kill()


def running(made: Supervisor) -> dict[str, int]:
    return {one.name: one.pid for one in made.observed() if one.state is State.RUNNING and one.pid is not None}


def alive(pid: int) -> bool:
    return supervisor.identity(pid) is not None


async def test_each_service_runs_in_its_own_session_under_its_own_name() -> None:
    async with supervised(service("api"), service("worker", numbered=True, count=2)) as made:
        await until(lambda: len(running(made)) == 3)

        assert ["api", "worker-1", "worker-2"] == list(running(made))
        assert all(os.getsid(pid) == pid for pid in running(made).values())


async def test_a_process_that_is_killed_is_started_again_and_counted() -> None:
    async with supervised(service("api")) as made:
        await until(lambda: "api" in running(made))
        killed = running(made)["api"]

        os.kill(killed, signal.SIGKILL)
        await until(lambda: running(made).get("api", killed) != killed)

        (api,) = made.observed()
        assert 1 == api.restarts


async def test_a_process_that_cannot_live_is_started_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(service("api", ("-c", "raise SystemExit(3)"))) as made:
        await until(lambda: made.observed()[0].restarts >= 3)

    said = [re.fullmatch(r"api has ended with status 3; starting it again in (.+) s", text) for text in caplog.messages]
    pauses = [float(match[1]) for match in said if match]
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2 <= pauses[2] <= 0.4


async def test_a_program_that_is_not_there_does_not_disturb_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(service("api"), Service(name="warmer", argv=("/nowhere",))) as made:
        await until(lambda: "could not be started" in caplog.text and "api" in running(made))

        assert State.WAITING is made.observed()[1].state


async def test_stop_asks_first_and_kills_who_does_not_listen(capfd: pytest.CaptureFixture[str]) -> None:
    async with supervised(service("api"), service("deaf", STUBBORN), grace_s=0.5) as made:
        await until(lambda: len(running(made)) == 2)
        pids = list(running(made).values())
        await until(lambda: "deaf" in capfd.readouterr().out)

        made.stop()
        await until(lambda: not made.observed(), within_s=3)

        assert not any(alive(pid) for pid in pids)


async def test_a_straggler_is_killed_together_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import signal, subprocess, pathlib, time; signal.signal(15, signal.SIG_IGN);"
        f"inner = subprocess.Popen(['sleep', '60']); pathlib.Path({str(note)!r}).write_text(str(inner.pid));"
        "time.sleep(60)"
    )
    async with supervised(service("deaf", ("-c", program)), grace_s=0.2) as made:
        await until(lambda: note.exists() and note.read_text() != "")
        inner = int(note.read_text())

        made.stop()
        await until(lambda: not made.observed())

        await until(lambda: not alive(inner))


async def test_scaling_starts_and_ends_the_newest_numbers() -> None:
    async with supervised(service("worker", numbered=True), service("warmer")) as made:
        await until(lambda: list(running(made)) == ["worker-1", "warmer"])
        before = running(made)

        made.scale("worker", 3)
        await until(lambda: list(running(made)) == ["worker-1", "worker-2", "worker-3", "warmer"])
        made.scale("worker", 1)
        await until(lambda: [one.name for one in made.observed()] == ["worker-1", "warmer"])

        assert before == running(made)


async def test_a_service_scaled_to_none_and_back_never_runs_twice_at_once() -> None:
    async with supervised(service("api", STUBBORN), grace_s=0.3) as made:
        await until(lambda: "api" in running(made))
        old = running(made)["api"]

        made.scale("api", 0)
        made.scale("api", 1)
        await until(lambda: running(made).get("api", old) != old)

        assert not alive(old)
        assert 1 == len(made.observed())


async def test_a_service_without_numbers_has_one_process_at_most() -> None:
    async with supervised(service("api")) as made:
        with pytest.raises(ValueError, match="cannot run 2 of api"):
            made.scale("api", 2)


async def test_what_is_observed_is_measured(capfd: pytest.CaptureFixture[str]) -> None:
    async with supervised(service("busy", ("-c", "print('up', flush=True)\nwhile True: pass"))) as made:
        await until(lambda: "up" in capfd.readouterr().out)

        def busy() -> Observed:
            return made.observed()[0]

        await until(lambda: (busy().cpu or 0) > 0.2)
        assert (busy().rss or 0) > 1_000_000
        assert busy().started_at is not None


async def test_a_child_gets_the_given_environment_and_its_own_additions(capfd: pytest.CaptureFixture[str]) -> None:
    program = ("-c", "import os; print(os.environ['GREETING'], os.environ['PORT'], os.environ.get('HOME'), flush=True)")
    said = ""

    def heard() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "\n" in said

    async with supervised(service("api", program, environment={"PORT": "1"})):
        await until(heard)

    assert "from the supervisor 1 None" == said.splitlines()[0]


SUPERVISOR = """
import asyncio, logging, os, sys
from agentos.supervisor import Service, Supervisor

async def report(made):
    while len(pids := [one.pid for one in made.observed() if one.pid]) < 2:
        await asyncio.sleep(0.01)
    print(*pids, flush=True)

async def main():
    argv = (sys.executable, "-c", sys.argv[1])
    services = [Service(name="worker", argv=argv, count=2, numbered=True)]
    made = Supervisor(services, environment={"PYTHONPATH": os.getcwd()}, grace_s=30)
    async with asyncio.TaskGroup() as group:
        group.create_task(report(made))
        await made.run()

asyncio.run(main())
"""


@contextlib.contextmanager
def another_supervisor(program: str) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """A supervisor in a process of its own, with two workers; its output, and first of all their pids."""
    argv = [sys.executable, "-c", SUPERVISOR, program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        try:
            yield parent, parent.stdout
        finally:
            parent.kill()


async def test_children_end_when_the_supervisor_is_killed() -> None:
    with another_supervisor(FAITHFUL[1]) as (parent, output):
        pids = [int(pid) for pid in output.readline().split()]
        assert all(alive(pid) for pid in pids)

        parent.kill()

        await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_second_signal_ends_everything_at_once() -> None:
    with another_supervisor(STUBBORN[1]) as (parent, output):
        lines = [output.readline() for _ in range(3)]
        pids = [int(pid) for line in lines if line != b"deaf\n" for pid in line.split()]

        parent.send_signal(signal.SIGTERM)
        parent.send_signal(signal.SIGINT)

        async with asyncio.timeout(5):
            assert 0 == await supervisor.ended(parent)
        assert not any(alive(pid) for pid in pids)


def test_a_recycled_pid_is_not_the_process_that_was_met() -> None:
    me = supervisor.identity(os.getpid())
    assert me is not None

    assert supervisor.same_process(me.pid, me.created)
    assert not supervisor.same_process(me.pid, me.created - 60)
    assert not supervisor.send(Identity(pid=me.pid, created=me.created - 60, argv=me.argv), signal.SIGKILL)
    assert not supervisor.send(Identity(pid=me.pid, created=me.created, argv=("another",)), signal.SIGKILL)


def test_nobody_alive_has_the_pid_of_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert supervisor.identity(child.pid) is None


def test_pauses_double_up_to_the_most_and_start_over_after_a_stable_stretch() -> None:
    backoff = Backoff(first=1, most=5, stable_after=10, jitter=lambda: 1.0)

    assert [1, 2, 4, 5, 5] == [backoff.pause(lived=0) for _ in range(5)]
    assert [1, 2] == [backoff.pause(lived=10), backoff.pause(lived=9)]


def test_pauses_are_spread_over_their_upper_half() -> None:
    assert 0.5 == Backoff(first=1, jitter=lambda: 0.0).pause(lived=0)
