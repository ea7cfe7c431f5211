import os
import signal
import subprocess
import sys

import pytest

from agentos.embedded import launch

SLEEPER = "import os, time; print(os.getpid(), os.getuid(), os.getgroups(), flush=True); time.sleep(60)"


def launched(
    program: str, *, owner: int | None = None, uid: int = -1, python: str = sys.executable
) -> "subprocess.Popen[bytes]":
    ties = [str(number) for number in (owner or os.getpid(), int(signal.SIGTERM), uid, uid)]
    argv = [sys.executable, "-I", "-S", launch.__file__, *ties, python, "-c", program]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def test_the_server_keeps_the_pid_of_its_launcher() -> None:
    with launched(SLEEPER) as child:
        assert child.stdout is not None
        pid, _, _ = child.stdout.readline().split(maxsplit=2)
        child.kill()

    assert child.pid == int(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_the_server_has_the_rights_of_its_account_alone() -> None:
    with launched("id -u; id -G", uid=65534, python="/bin/sh") as child:
        assert child.stdout is not None
        said = child.stdout.read()

    assert b"65534\n65534\n" == said


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not signal orphans")
def test_a_server_whose_owner_died_meanwhile_is_never_started() -> None:
    with launched(SLEEPER, owner=1) as child:
        assert launch.OWNER_GONE == child.wait(timeout=30)
