import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agentos.embedded.ownership import LOCK, InUse, Ownership, announced

OWNER = """
import sys, time
from pathlib import Path
from agentos.embedded.ownership import Ownership

owner = Ownership(Path(sys.argv[1]))
print("owned", flush=True)
time.sleep(60)
"""


def test_one_process_owns_a_data_directory_at_a_time(tmp_path: Path) -> None:
    first = Ownership(tmp_path)
    with pytest.raises(InUse, match=f"pid {os.getpid()}"):
        Ownership(tmp_path)

    first.release()

    Ownership(tmp_path).release()


def test_only_the_owner_itself_may_read_what_is_announced(tmp_path: Path) -> None:
    owner = Ownership(tmp_path)
    owner.announce({"database_url": "with a password"})

    assert 0o600 == stat.S_IMODE((tmp_path / LOCK).stat().st_mode)
    assert {"pid": os.getpid(), "database_url": "with a password"} == announced(tmp_path)
    owner.release()


def test_what_a_dead_owner_announced_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"pid": 1, "database_url": "of the dead"}))

    assert announced(tmp_path) is None


def test_nobody_owns_a_directory_that_never_had_an_owner(tmp_path: Path) -> None:
    assert announced(tmp_path) is None


def test_looking_does_not_take_the_directory_away(tmp_path: Path) -> None:
    announced(tmp_path)

    Ownership(tmp_path).release()


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    argv = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None
        assert b"owned\n" == other.stdout.readline()
        with pytest.raises(InUse, match=f"pid {other.pid}"):
            Ownership(tmp_path)

        other.kill()
        other.wait()

        Ownership(tmp_path).release()
