"""What an agent is: one async function from a step of a job to a typed output.

An agent gets everything it needs from its `Step` (what is asked, what earlier agents found) and its `Tools` (where to
write, how to report, how to spend CPU). It never touches the database: the engine records what it returns, so an agent
that runs twice after a crash can do no harm.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

import msgspec

from workers.failures import SourceUnavailable, StepFailed, StepSkipped

__all__ = [
    "Agent",
    "Category",
    "Output",
    "Run",
    "Source",
    "SourceUnavailable",
    "Step",
    "StepFailed",
    "StepSkipped",
    "Tools",
]

T = TypeVar("T")
O = TypeVar("O", bound="Output")  # noqa: E741 - the one letter every reader expects here


class Category(StrEnum):
    """The five families an agent belongs to."""

    INPUT = "input"
    AUDIO = "audio"
    ANALYSIS = "analysis"
    EDITING = "editing"
    CONTENT = "content"


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent hands on; stored as JSON with its step, read back by the agents after it."""

    agent: ClassVar[str]
    """Id of the agent that makes this output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a job's video comes from; exactly one of `file` and `url` is set."""

    file: Path | None = None
    """A finalised upload or a file under the media root, readable by the worker."""

    url: str | None = None
    """An http(s) address, not yet checked."""

    sha256: str | None = None
    """Hex digest the file must have, when it is known beforehand."""

    title: str = ""
    """What the person called the video; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One agent's turn in one job."""

    job_id: UUID
    attempt: int
    """1 on the first run of the job, one more on every retry."""

    source: Source
    options: Mapping[str, Any]
    """The job's own wishes (`aspect`, `max_clips`, …), validated by the agent that reads them."""

    results: Mapping[str, bytes]
    """JSON outputs of the steps that completed, by agent id."""

    def earlier(self, kind: type[O]) -> O | None:
        """What an earlier agent of this job found, or None if it was skipped or is not in the chain."""
        found = self.results.get(kind.agent)
        return None if found is None else msgspec.json.decode(found, type=kind)

    def needs(self, kind: type[O]) -> O:
        """What an earlier agent found.

        Raises:
            StepFailed: that agent did not run before this one, or was skipped.
        """
        found = self.earlier(kind)
        if found is None:
            raise StepFailed(f"needs the output of {kind.agent}, which did not run before this step")
        return found


class Tools(Protocol):
    """What the engine lends to an agent for one step."""

    folder: Path
    """An empty folder of this step alone; files written here outlive the step and are named in the output."""

    config: Mapping[str, Any]
    """The agent's own options as stored in its configuration; empty means defaults."""

    async def progress(self, share: float) -> None:
        """Report the done share of this step, 0.0..1.0; cheap to call often, only ever grows."""
        ...

    async def compute(self, function: Callable[..., T], *args: object) -> T:
        """Run a blocking, picklable function in its own process and return its result.

        The process is killed when the job is cancelled, the step times out or the worker dies. The function may report
        progress with `workers.compute.report(share)`.

        Raises:
            StepFailed: the function raised it, or the process died (out of memory, a crash in a codec).
        """
        ...


Run = Callable[[Step, Tools], Awaitable[Output]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One row of the registry: what an agent is called, what it makes and how it is run."""

    id: str
    name: str
    category: Category
    description: str
    version: str
    output: type[Output]
    run: Run
    timeout_s: int = 900
    """How long one step may take before it is stopped and counted as failed."""
