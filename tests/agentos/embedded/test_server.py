import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentos import processes
from agentos.embedded import server
from agentos.embedded.places import Account
from agentos.embedded.server import NotStarted, Server


class Program:
    """A store that is any Python program; it is ready once the file `up` is there."""

    name = "Program"
    url = ""
    account: Account | None = None
    stopping: processes.Stopping = ((signal.SIGTERM, 5.0),)

    def __init__(self, folder: Path, program: str, *, passing: str | None = None) -> None:
        self.log = folder / "logs" / "program.log"
        self.up = folder / "up"
        self.passing = None if passing is None else re.compile(passing)
        self._argv: Sequence[str] = (sys.executable, "-c", program, str(self.up))

    async def prepare(self) -> None:
        return None

    def orphan(self) -> processes.Identity | None:
        return None

    def command(self) -> list[str]:
        return list(self._argv)

    async def ready(self, pid: int) -> bool:
        return self.up.exists()


UP = "import pathlib, sys, signal; pathlib.Path(sys.argv[1]).touch(); "


async def test_a_program_that_does_not_come_up_is_told_with_its_last_lines_and_what_to_do(tmp_path: Path) -> None:
    failing = "raise SystemExit('could not write: No space left on device')"

    with pytest.raises(NotStarted) as refused:
        await Server(Program(tmp_path, failing)).start()

    assert str(refused.value).startswith("Program ended with status 1; what to do: free some space on the disk")
    assert str(refused.value).endswith("could not write: No space left on device")


async def test_what_was_in_the_log_before_is_not_taken_for_the_reason(tmp_path: Path) -> None:
    program = Program(tmp_path, "raise SystemExit('new')")
    program.log.parent.mkdir()
    program.log.write_text("No space left on device\n")

    with pytest.raises(NotStarted, match=r"look into .*program\.log\n  new$"):
        await Server(program).start()


async def test_an_obstacle_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    second_time = "import pathlib, sys; up = pathlib.Path(sys.argv[1]); first = up.with_name('first')\n"
    second_time += "if not first.exists(): first.touch(); raise SystemExit('still there')\n"
    running = Server(Program(tmp_path, second_time + UP + "signal.pause()", passing="still there"))

    await running.start()

    assert running.pid is not None
    await running.stop()


async def test_a_program_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)
    mute = Server(Program(tmp_path, "import signal; signal.pause()"))

    with pytest.raises(NotStarted, match="did not answer within"):
        await mute.start()

    assert mute.pid is None


async def test_stopping_escalates_until_the_program_is_gone(tmp_path: Path) -> None:
    program = Program(tmp_path, "import signal; signal.signal(15, signal.SIG_IGN); " + UP + "signal.pause()")
    program.stopping = ((signal.SIGTERM, 0.1),)
    deaf = Server(program)
    await deaf.start()

    await deaf.stop()

    assert deaf.pid is None


def test_a_log_is_cut_before_it_grows_without_bound_and_its_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOG_BYTES", 10)
    log = tmp_path / "a.log"
    with log.open("ab") as appending:
        appending.write(b"0123456789abc")
        appending.flush()

        server.shorten(log)
        appending.write(b"on")

    assert "3456789abc" == (tmp_path / "a.log.1").read_text()
    assert "on" == log.read_text()
