"""Forks: processes that need not load what they run, as they are forked from one that has loaded it already.

Each is a process like any other, with a pid of its own, to be killed, frozen or asked to end; loading would take it
seconds, forking takes milliseconds. A module that can be run so has a `main(*arguments)`.
"""

import asyncio
import contextlib
import functools
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest_asyncio

from agentos.lifeline import follow_parent
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
STDIN, STDOUT = 0, 1


class Fork:
    """One process."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, status: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdout = stdout
        """What it says; it ends itself when nobody is left who could hear it."""

        self._ended = asyncio.create_task(_number(status), name=f"end of {pid}")

    @property
    def returncode(self) -> int | None:
        """How it ended, negative: by which signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait for its end, and say how that was."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            # It may have ended already, and only the word of it not have come yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


Forking = Callable[..., AbstractAsyncContextManager[Fork]]
"""Makes a process of arguments, and of an `env` if that is not to be the one of the tests; killed with its block."""


@asynccontextmanager
async def forks(module: str) -> AsyncIterator[Forking]:
    """A way to processes of a module, which is being loaded meanwhile."""
    here, there = socket.socketpair()
    with there:
        argv = ("-m", __name__, module)
        server = await asyncio.create_subprocess_exec(sys.executable, *argv, stdin=there.fileno(), cwd=ROOT)
    try:
        yield functools.partial(_fork, here)
    finally:
        here.close()
        await server.wait()


def forking(module: str) -> Callable[..., AsyncIterator[Forking]]:
    """A fixture: the way to processes of a module, for all tests of the module that names it."""

    @pytest_asyncio.fixture(scope="module")
    async def fork() -> AsyncIterator[Forking]:
        async with forks(module) as made:
            yield made

    return fork


@asynccontextmanager
async def _fork(server: socket.socket, *arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Fork]:
    (saying, its_saying), (ending, its_ending) = socket.socketpair(), socket.socketpair()
    # A server that has ended shows where its first word is missing.
    with its_saying, its_ending, contextlib.suppress(BrokenPipeError):
        socket.send_fds(server, [b"+"], [its_saying.fileno(), its_ending.fileno()])
    stdout, lifeline = await asyncio.open_unix_connection(sock=saying)
    status, line = await asyncio.open_unix_connection(sock=ending)
    # Not over the line of all: what is long comes in parts, and others may be asking too.
    line.write(json.dumps([arguments, dict(os.environ if env is None else env)]).encode() + b"\n")
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            fork = Fork(await _number(status), stdout, status)
        try:
            yield fork
        finally:
            fork.kill()
            await fork.wait()
    finally:
        for writer in (lifeline, line):
            writer.close()


async def _number(told: asyncio.StreamReader) -> int:
    line = b""
    with contextlib.suppress(ConnectionError):
        line = await told.readline()
    if not line:
        raise EOFError("the server of forks has ended")
    return int(line)


def _serve(main: Callable[..., Any], line: socket.socket) -> None:
    """Fork for whoever asks, until nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asked, given, _, _ = socket.recv_fds(line, 1, 2)
        if not asked:
            return
        if os.fork() == 0:
            line.close()
            _keep(main, *given)
        for descriptor in given:
            os.close(descriptor)


def _keep(main: Callable[..., Any], saying: int, ending: int) -> NoReturn:
    """Start the process, and say which it is and how it ends: its parent has to be one that waits for it alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with open(ending, "rb", closefd=False) as line:
        arguments, environment = json.loads(line.readline())
    if (pid := os.fork()) == 0:
        os.close(ending)
        _be(main, arguments, environment, saying)
    for descriptor in (saying, STDIN):
        os.close(descriptor)
    os.write(ending, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(ending, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _be(main: Callable[..., Any], arguments: list[str], environment: dict[str, str], saying: int) -> NoReturn:
    for descriptor in (STDIN, STDOUT):
        os.dup2(saying, descriptor)
    os.close(saying)
    follow_parent()
    os.environ.clear()
    os.environ.update(environment)
    # Or all would have the same chances.
    random.seed()
    sys.exit(main(*arguments))


if __name__ == "__main__":
    loaded = importlib.import_module(sys.argv[1])
    gc.freeze()
    _serve(loaded.main, socket.socket(fileno=os.dup(STDIN)))
