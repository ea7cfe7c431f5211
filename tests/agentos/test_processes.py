"""Which process a pid really is, and how long a restart waits."""

import os
import signal
import subprocess
import sys

from agentos import processes
from agentos.processes import Backoff, Gauge, Identity


def test_a_recycled_pid_is_not_the_process_that_was_met() -> None:
    me = processes.identity(os.getpid())
    assert me is not None

    assert processes.same_process(me.pid, me.created)
    assert not processes.same_process(me.pid, me.created - 60)
    assert not processes.send(Identity(pid=me.pid, created=me.created - 60, argv=me.argv), signal.SIGKILL)
    assert not processes.send(Identity(pid=me.pid, created=me.created, argv=("another",)), signal.SIGKILL)


def test_nobody_alive_has_the_pid_of_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert processes.identity(child.pid) is None


def test_pauses_double_up_to_the_most_and_start_over_after_a_stable_stretch() -> None:
    backoff = Backoff(first=1, most=5, stable_after=10, jitter=lambda: 1.0)

    assert [1, 2, 4, 5, 5] == [backoff.pause(lived=0) for _ in range(5)]
    assert [1, 2] == [backoff.pause(lived=10), backoff.pause(lived=9)]


def test_pauses_are_spread_over_their_upper_half() -> None:
    assert 0.5 == Backoff(first=1, jitter=lambda: 0.0).pause(lived=0)


def test_a_process_that_is_not_there_cannot_be_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert (None, None) == Gauge(child.pid).read()
