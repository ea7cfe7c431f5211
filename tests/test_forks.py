"""Forks are processes like any other, whatever they are given and however they end."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.forks import Forking, forking, forks
from tests.waiting import PATIENCE_S

fork = forking(__name__)


def main(ends: str) -> int:
    """Say how much there is in the environment, then end or stay."""
    print(sum(map(len, os.environ.values())), flush=True)
    if ends == "stays":
        signal.pause()
    return 7


def outlast(pid: int) -> None:
    """Let nothing else run here until a process is gone and was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_an_environment_may_be_of_any_size(fork: Forking) -> None:
    async with fork("ends", env={f"NAME_{number}": "x" * 50_000 for number in range(20)}) as process:
        told = await process.stdout.read()

        assert 7 == await process.wait()
    assert 1_000_000 == int(told)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="who is gone is seen as Linux shows it")
async def test_a_signal_to_one_that_has_just_ended_is_none(fork: Forking) -> None:
    async with fork("stays") as process:
        process.kill()
        outlast(process.pid)

        process.send_signal(signal.SIGTERM)

        assert -signal.SIGKILL == await process.wait()


async def test_a_module_that_cannot_be_loaded_is_told_from_a_process_that_ends() -> None:
    async with forks("tests.nothing_like_it") as fork:
        with pytest.raises(EOFError, match="the server of forks has ended"):
            async with fork():
                pytest.fail("there is no such module")
