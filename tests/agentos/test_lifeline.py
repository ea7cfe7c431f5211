import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentos.lifeline import follow_parent, parent_gone

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The child's end and the parent's end of a lifeline; the test closes the parent's."""
    child, parent = os.pipe()
    yield child, parent
    os.close(child)


async def test_the_loop_learns_that_the_parent_is_gone_and_ignores_what_it_says(pipe: tuple[int, int]) -> None:
    child, parent = pipe
    watch = asyncio.create_task(parent_gone(child))
    os.write(parent, b"anything")
    done, _ = await asyncio.wait([watch], timeout=0.05)
    assert not done

    os.close(parent)

    await asyncio.wait_for(watch, timeout=30)


def test_the_thread_calls_back_once_the_parent_is_gone(pipe: tuple[int, int]) -> None:
    child, parent = pipe
    called = threading.Event()
    thread = follow_parent(called.set, descriptor=child)
    assert not called.is_set()

    os.close(parent)

    assert called.wait(timeout=30)
    thread.join(timeout=30)


def test_a_busy_process_ends_with_its_parent_even_without_a_callback() -> None:
    program = "from agentos.lifeline import follow_parent\nfollow_parent()\nprint('up', flush=True)\nwhile True: pass"
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert b"up\n" == child.stdout.readline()

        child.stdin.close()

        assert 1 == child.wait(timeout=30)
