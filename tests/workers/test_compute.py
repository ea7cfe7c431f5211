"""Killable CPU work: results and progress come back, and nothing is left running."""

import asyncio
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import until
from workers import compute
from workers.failures import Interrupted, SourceUnavailable, StepFailed, StepSkipped


def total(*numbers: int) -> int:
    return sum(numbers)


def large(size: int) -> bytes:
    return bytes(size)


def counted(steps: int) -> int:
    for step in range(steps):
        compute.report((step + 1) / steps)
        time.sleep(compute.REPORT_EVERY_S)
    return steps


def end_with(error: Exception) -> None:
    raise error


def crash() -> None:
    os.abort()


def leave(number: int) -> None:
    """End as if somebody outside had asked for it."""
    os.kill(os.getpid(), number)


def spin(note: str) -> None:
    """Write down who runs this, then keep the processor busy for good."""
    part = Path(f"{note}.part")
    part.write_text(str(os.getpid()))
    part.rename(note)
    while True:
        pass


def spin_deaf(note: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spin(note)


def hoard(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def loaded() -> bool:
    return "workers.media.probe" in sys.modules


def gone(pid: int) -> bool:
    try:
        return "Z" == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_the_result_comes_back() -> None:
    assert 6 == await compute.run(total, 1, 2, 3)


async def test_a_large_result_comes_back_whole() -> None:
    assert bytes(5_000_000) == await compute.run(large, 5_000_000)


async def test_runs_do_not_wait_for_each_other() -> None:
    assert [1, 2, 3, 4] == await asyncio.gather(*(compute.run(total, number) for number in (1, 2, 3, 4)))


async def test_progress_is_told_as_it_happens() -> None:
    shares: list[float] = []

    async def note(share: float) -> None:
        shares.append(share)

    await compute.run(counted, 4, on_progress=note)

    assert sorted(set(shares)) == shares
    assert 1.0 == shares[-1]
    assert 3 <= len(shares)


def test_a_report_outside_a_process_of_its_own_is_nothing() -> None:
    compute.report(0.5)


@pytest.mark.parametrize("kind", [StepFailed, StepSkipped, SourceUnavailable])
async def test_what_a_function_says_about_its_step_comes_back_as_said(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="the video has no pictures"):
        await compute.run(end_with, kind("the video has no pictures"))


async def test_an_unforeseen_error_fails_the_step_without_its_internals() -> None:
    with pytest.raises(StepFailed) as failure:
        await compute.run(end_with, KeyError("/secret/path"))

    assert "stopped by an unexpected KeyError" == str(failure.value)


async def test_a_crash_in_native_code_is_named() -> None:
    with pytest.raises(StepFailed, match="its process was ended by SIGABRT"):
        await compute.run(crash)


async def test_more_memory_than_allowed_fails_the_step_alone() -> None:
    with pytest.raises(StepFailed, match="needs more than 256 MB of memory"):
        await compute.run(hoard, 1024, memory_mb=256)


async def test_the_media_modules_are_loaded_before_the_fork() -> None:
    assert await compute.run(loaded)


@pytest.mark.parametrize("function", [spin, spin_deaf])
async def test_cancelling_ends_the_process(function: Callable[[str], None], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    running = asyncio.create_task(compute.run(function, str(note)))
    await until(note.exists)
    asked_at = time.monotonic()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    # One whose end is not seen is waited for five seconds more.
    assert 5.0 > time.monotonic() - asked_at
    assert gone(int(note.read_text()))


async def test_cancelling_before_the_start_leaves_nothing_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    running = asyncio.create_task(compute.run(spin, str(note)))
    await asyncio.sleep(0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not note.exists() or gone(int(note.read_text()))


async def test_a_run_past_its_deadline_fails_and_ends(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    async def ran() -> bool:
        """Whether it came to say who it is before it ended: not while its server is loading, or the machine pauses."""
        with pytest.raises(StepFailed, match=r"took longer than 1 s and was stopped"):
            await compute.run(spin, str(note), timeout_s=1)
        return note.exists()

    await until(ran)

    assert gone(int(note.read_text()))


async def test_a_killed_worker_leaves_nothing_running(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import asyncio, sys; from tests.workers.test_compute import spin; from workers import compute; "
        "asyncio.run(compute.run(spin, sys.argv[1]))"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(note))
    try:
        await until(note.exists)
        spinning = int(note.read_text())
        watch = os.pidfd_open(spinning)

        worker.send_signal(signal.SIGKILL)

        assert select.select([watch], [], [], 15.0)[0], "the child outlived its worker"
        os.close(watch)
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if not gone(int(note.read_text())):
                os.kill(int(note.read_text()), signal.SIGKILL)


async def test_a_process_ends_although_its_killed_worker_had_not_read_all_it_was_told() -> None:
    """The system says so by an error, and not by an end."""
    program = (
        "import socket; from workers.compute import _leave_with_parent; here, there = socket.socketpair(); "
        "there.send(b'unread'); here.close(); _leave_with_parent(there)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        _, err = await child.communicate()

    assert (1, b"") == (child.returncode, err)


@pytest.mark.parametrize("told", ["tell(0.5)", 'send("result", 7)', 'send("end", ("KeyError", "a trace"))'])
async def test_a_process_that_nobody_waits_for_ends_without_a_word(told: str) -> None:
    program = (
        "import socket; from workers.compute import _Reporter; "
        f"here, there = socket.socketpair(); here.close(); _Reporter(there).{told}"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await child.communicate()

    assert (1, b"", b"") == (child.returncode, out, err)


def test_it_runs_on_the_loop_the_worker_uses() -> None:
    uvloop = pytest.importorskip("uvloop")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert 3 == runner.run(compute.run(total, 1, 2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_process_that_was_ended_from_outside_may_be_tried_again(number: signal.Signals) -> None:
    with pytest.raises(Interrupted, match=number.name):
        await compute.run(leave, number)
