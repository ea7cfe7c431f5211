"""Recorded calls and answers, one file for each endpoint: what stands as an example in the description of REST.

They are written by the test that calls every endpoint of a seeded house (`--examples`), and checked there against the
description they stand in.
"""

from pathlib import Path
from typing import Any, Final, TypedDict

import msgspec

FOLDER: Final = Path(__file__).parent.parent / "examples"


class Example(TypedDict):
    """One call."""

    path: str
    """With its parameters, below the newest prefix."""

    request: Any
    """Its body, or null."""

    answer: Any


def of(name: str) -> Example | None:
    """The recorded call of an endpoint."""
    file = FOLDER / f"{name}.json"
    return msgspec.json.decode(file.read_bytes(), type=Example) if file.exists() else None


def added(operation: dict[str, Any], name: str, status: int) -> None:
    """Put the recorded call of an endpoint where its operation describes what is sent and answered."""
    example = of(name)
    if example is None:
        return
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if example["request"] is not None:
            content["examples"] = {"recorded": {"value": example["request"]}}
    for content in operation["responses"][str(status)]["content"].values():
        content["examples"] = {"recorded": {"summary": example["path"], "value": example["answer"]}}
