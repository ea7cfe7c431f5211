"""Running the real command line as a process of its own, with an environment of the test's."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import finished

ROOT = Path(__file__).parent.parent.parent

READY_S = 120
"""How long processes that serve may take to be ready: the machine that tests may be busy with others."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """What a command is started with: nothing of the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTOS_")}
    given = {f"AGENTOS_{name.upper()}": value for name, value in settings.items()}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", "AGENTOS_DATA_DIR": str(data_dir), **given}


async def started(*arguments: str, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """A running `python -m agentos …` whose output can be read."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agentos",
        *arguments,
        cwd=ROOT,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str, env: Mapping[str, str], within: float = 60) -> Outcome:
    """Run `python -m agentos …` to its end, which comes `within` so many seconds in any case."""
    code, out, err = await finished(await started(*arguments, env=env), within_s=within)
    return Outcome(code, out.decode(), err.decode())
