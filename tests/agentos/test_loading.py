"""What the processes of AgentOS do not load: each library costs every start of theirs time that somebody waits.

They are started through the command line, whose own libraries all of them have.
"""

import subprocess
import sys

import pytest

from tests.agentos.commands import READY_S, ROOT

MIGRATING = {"alembic", "mako"}
ASKING = {"httpx"}
CODECS = {"av", "cv2", "numpy"}
GRAPHQL = {"graphql", "strawberry", "schema"}


@pytest.mark.parametrize(
    ("process", "needless"),
    [
        ("agentos.api", MIGRATING | ASKING | CODECS),
        ("agentos.websocket", MIGRATING | ASKING | CODECS),
        ("agentos.worker", MIGRATING | GRAPHQL),
        ("agentos.warmer", MIGRATING | ASKING | CODECS | GRAPHQL),
        ("agentos.up", MIGRATING | ASKING | CODECS | GRAPHQL),
    ],
)
def test_a_process_loads_no_library_that_it_does_not_use(process: str, needless: set[str]) -> None:
    program = f"import sys, agentos.cli.app, {process}; print(*sorted({needless} & sys.modules.keys()))"

    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, timeout=READY_S, check=True, capture_output=True, text=True
    )

    assert "" == loaded.stdout.strip()
