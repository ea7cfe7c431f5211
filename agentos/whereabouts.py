"""Where the AgentOS of a data directory answers, as its `up` has written it down."""

import contextlib
import json
from pathlib import Path
from typing import Final

from agentos.embedded.ownership import announced

ADDRESS: Final = "address.json"


def announced_url(data_dir: Path) -> str | None:
    """Where the API of a data directory answers right now, or None when none is up."""
    if announced(data_dir.absolute()) is None:
        return None
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return str(json.loads((data_dir / ADDRESS).read_text())["url"])
    return None
