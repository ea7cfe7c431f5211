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

from agentos import processes
from agentos.supervisor import Gone, Observed, Program, State, Supervisor
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "GREETING": "from the supervisor"}

FAITHFUL = ("-c", "from agentos.lifeline import follow_parent; follow_parent().join()")
"""A child that ends with its parent, and on SIGTERM."""

STUBBORN = ("-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
"""A child that only SIGKILL ends."""


def program(name: str, code: tuple[str, ...] = FAITHFUL, **more: object) -> Program:
    argv = (sys.executable, *code)
    return Program(name=name, service=name, argv=argv, **more)  # type: ignore[arg-type]  # fields of Program


@contextlib.asynccontextmanager
async def supervised(*programs: Program, grace_s: float = 5.0) -> AsyncIterator[Supervisor]:
    """A supervisor that runs for as long as the block, without taking over the signals of the test run."""
    made = Supervisor(programs, environment=ENVIRONMENT, grace_s=grace_s)
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
    return processes.identity(pid) is not None


async def test_each_service_runs_in_its_own_session_under_its_own_name() -> None:
    async with supervised(program("api"), program("worker-1"), program("worker-2")) as made:
        await until(lambda: len(running(made)) == 3)

        assert ["api", "worker-1", "worker-2"] == list(running(made))
        assert all(os.getsid(pid) == pid for pid in running(made).values())


async def test_a_process_that_is_killed_is_started_again_and_counted() -> None:
    async with supervised(program("api")) as made:
        await until(lambda: "api" in running(made))
        killed = running(made)["api"]

        os.kill(killed, signal.SIGKILL)
        await until(lambda: running(made).get("api", killed) != killed)

        (api,) = made.observed()
        assert 1 == api.restarts


async def test_a_process_that_cannot_live_is_started_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(program("api", ("-c", "raise SystemExit(3)"))) as made:
        await until(lambda: made.observed()[0].restarts >= 3)

    said = [re.fullmatch(r"api has ended with status 3; starting it again in (.+) s", text) for text in caplog.messages]
    pauses = [float(match[1]) for match in said if match]
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2 <= pauses[2] <= 0.4


async def test_a_program_that_is_not_there_does_not_disturb_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(program("api"), Program(name="warmer", service="warmer", argv=("/nowhere",))) as made:
        await until(lambda: "could not be started" in caplog.text and "api" in running(made))

        assert State.WAITING is made.observed()[1].state


async def test_stop_asks_first_and_kills_who_does_not_listen(capfd: pytest.CaptureFixture[str]) -> None:
    async with supervised(program("api"), program("deaf", STUBBORN), grace_s=0.5) as made:
        await until(lambda: len(running(made)) == 2)
        pids = list(running(made).values())
        await until(lambda: "deaf" in capfd.readouterr().out)

        made.stop()
        await until(lambda: not made.observed())

        assert not any(alive(pid) for pid in pids)


async def test_a_straggler_is_killed_together_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import signal, subprocess, pathlib, time; signal.signal(15, signal.SIG_IGN);"
        f"inner = subprocess.Popen(['sleep', '60']); pathlib.Path({str(note)!r}).write_text(str(inner.pid));"
        "time.sleep(60)"
    )
    async with supervised(program("deaf", ("-c", code)), grace_s=0.2) as made:
        await until(lambda: note.exists() and note.read_text() != "")
        inner = int(note.read_text())

        made.stop()
        await until(lambda: not made.observed())

        await until(lambda: not alive(inner))


async def test_what_is_kept_later_runs_beside_the_others_and_parts_by_itself() -> None:
    async with supervised(program("worker-1")) as made:
        await until(lambda: list(running(made)) == ["worker-1"])
        before = running(made)

        made.keep(program("worker-2"))
        await until(lambda: list(running(made)) == ["worker-1", "worker-2"])
        made.part("worker-2")
        assert [False, True] == [one.leaving for one in made.observed()]
        made.ask("worker-2")
        await until(lambda: [one.name for one in made.observed()] == ["worker-1"])

        assert before == running(made)


async def test_one_that_parts_and_is_kept_again_never_runs_twice_at_once() -> None:
    async with supervised(program("api", STUBBORN), grace_s=0.3) as made:
        await until(lambda: "api" in running(made))
        old = running(made)["api"]

        made.part("api")
        made.ask("api")
        made.keep(program("api", STUBBORN))
        await until(lambda: running(made).get("api", old) != old)

        assert not alive(old)
        assert 1 == len(made.observed())


async def test_a_renewal_follows_at_once_and_is_no_restart() -> None:
    async with supervised(program("api")) as made:
        await until(lambda: "api" in running(made))
        old = running(made)["api"]

        made.renew(program("api", renewal=1))
        assert old == running(made)["api"]
        made.ask("api")
        await until(lambda: running(made).get("api", old) != old)

        (api,) = made.observed()
        assert (1, 0) == (api.renewal, api.restarts)


async def test_who_has_gone_is_told_once() -> None:
    async with supervised(program("api")) as made:
        await until(lambda: "api" in running(made))
        made.changed.clear()
        killed = running(made)["api"]

        os.kill(killed, signal.SIGKILL)
        await made.changed.wait()

        assert [Gone("api", killed)] == made.gone()
        assert [] == made.gone()


async def test_only_the_process_that_is_meant_is_killed() -> None:
    """A pid that was read a moment ago may be a stranger's by now, or that of the next process."""
    async with supervised(program("api")) as made, supervised(program("stranger")) as other:
        await until(lambda: "api" in running(made) and "stranger" in running(other))
        pid, stranger = running(made)["api"], running(other)["stranger"]

        assert not made.kill_one("api", stranger)
        assert not made.kill_one("nobody", pid)
        assert alive(pid)
        assert alive(stranger)
        assert made.kill_one("api", pid)
        await until(lambda: not alive(pid))


async def test_what_is_observed_is_measured(capfd: pytest.CaptureFixture[str]) -> None:
    async with supervised(program("busy", ("-c", "print('up', flush=True)\nwhile True: pass"))) as made:
        await until(lambda: "up" in capfd.readouterr().out)

        def busy() -> Observed:
            return made.observed()[0]

        await until(lambda: (busy().cpu or 0) > 0.2)
        assert (busy().rss or 0) > 1_000_000
        assert busy().started_at is not None


async def test_a_child_gets_the_given_environment_and_its_own_additions(capfd: pytest.CaptureFixture[str]) -> None:
    code = ("-c", "import os; print(os.environ['GREETING'], os.environ['PORT'], os.environ.get('HOME'), flush=True)")
    said = ""

    def heard() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "\n" in said

    async with supervised(program("api", code, environment={"PORT": "1"})):
        await until(heard)

    assert "from the supervisor 1 None" == said.splitlines()[0]


SUPERVISOR = """
import asyncio, logging, os, sys
from agentos.supervisor import Program, Supervisor

async def report(made):
    while len(pids := [one.pid for one in made.observed() if one.pid]) < 2:
        await asyncio.sleep(0.01)
    print(*pids, flush=True)

async def main():
    argv = (sys.executable, "-c", sys.argv[1])
    programs = [Program(name=name, service="workers", argv=argv) for name in ("worker-1", "worker-2")]
    made = Supervisor(programs, environment={"PYTHONPATH": os.getcwd()}, grace_s=30)
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
        assert 2 == len(pids)
        assert all(alive(pid) for pid in pids)

        parent.kill()

        await until(lambda: not any(alive(pid) for pid in pids))


async def test_a_second_signal_ends_everything_at_once() -> None:
    with another_supervisor(STUBBORN[1]) as (parent, output):
        lines = [output.readline() for _ in range(3)]
        pids = [int(pid) for line in lines if line != b"deaf\n" for pid in line.split()]

        parent.send_signal(signal.SIGTERM)
        parent.send_signal(signal.SIGINT)

        async with asyncio.timeout(20):
            assert 0 == await processes.ended(parent)
        assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_everything_quietly(number: signal.Signals) -> None:
    with another_supervisor(FAITHFUL[1]) as (parent, output):
        pids = [int(pid) for pid in output.readline().split()]

        parent.send_signal(number)

        async with asyncio.timeout(20):
            assert 0 == await processes.ended(parent)
        assert not any(alive(pid) for pid in pids)
