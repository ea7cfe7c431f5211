"""What an agent is: one async function from a step of a job to a typed output.

An agent gets everything it needs from its `Step` (what is asked, what earlier agents found) and its `Tools` (where to
write, how to report, how to spend CPU). It never touches the database: the engine records what it returns, so an agent
that runs twice after a crash can do no harm.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

import msgspec

from db.agents import Known
from db.models.work import ArtifactKind
from workers.failures import SourceUnavailable, StepFailed, StepSkipped

__all__ = [
    "Agent",
    "MadeClip",
    "MadeFile",
    "Output",
    "Reason",
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


class Reason(msgspec.Struct, frozen=True):
    """One part of a score."""

    reason: str
    points: float


class MadeClip(msgspec.Struct, frozen=True, kw_only=True):
    """A finished clip in the step's folder; the engine takes it into the store when the job completes."""

    path: str
    """Relative to the step's folder."""

    thumbnail: str | None
    """A JPEG, relative to the step's folder."""

    title: str
    start_s: float
    """Where it begins in the source, seconds."""

    end_s: float
    duration_s: float
    """Measured on the finished file."""

    width: int
    height: int
    score: float
    """0..100."""

    reasons: tuple[Reason, ...]
    """What the score is made of; the points sum to it."""


class MadeFile(msgspec.Struct, frozen=True, kw_only=True):
    """Another finished file in the step's folder, stored with the job."""

    path: str
    """Relative to the step's folder; its last part is the name people see."""

    kind: ArtifactKind
    media_type: str


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent hands on; stored as JSON with its step, read back by the agents after it."""

    agent: ClassVar[str]
    """Id of the agent that makes this output."""

    clips: tuple[MadeClip, ...] = ()
    """Finished clips, best first; most agents make none."""

    files: tuple[MadeFile, ...] = ()
    """Files that are worth keeping for people."""


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
        """What an earlier agent of this job found, or None if it was skipped or is not in the chain.

        Raises:
            StepFailed: what is on record of it is not what that agent finds, as in a seeded history.
        """
        found = self.results.get(kind.agent)
        try:
            return None if found is None else msgspec.json.decode(found, type=kind)
        except msgspec.ValidationError as error:
            raise StepFailed(f"what {kind.agent} found is not on record: create the job anew") from error

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
    """An agent as a worker has it: what is known of it, what it makes and how it is run."""

    known: Known
    output: type[Output]
    run: Run

    @property
    def id(self) -> str:
        """What chains and steps call it."""
        return self.known.id
