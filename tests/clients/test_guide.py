"""The guide shows the very files that are run."""

import re

import pytest

from tests.agentos.commands import ROOT
from tests.clients.judging import FOLDER

LIVE = sorted(
    path.name for path in (FOLDER / "live").iterdir() if path.suffix in {".js", ".py"} and path.stat().st_size
)


def shown() -> list[str]:
    """The files in the part of the guide that is about clients."""
    part = (ROOT / "docs/guide.md").read_text().partition("\n## Live updates from your client\n")[2]
    return re.findall(r"^```(?:js|python)\n(.*?)^```", part.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", LIVE)
def test_it_shows_what_follows_changes_in_the_tests(name: str) -> None:
    assert (FOLDER / "live" / name).read_text() in shown(), f"copy tests/clients/live/{name} to docs/guide.md"


def test_it_shows_nothing_else() -> None:
    assert len(LIVE) == len(shown())
