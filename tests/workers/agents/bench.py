"""What the engine lends an agent, for tests: a folder, a configuration, real processes."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from workers import compute
from workers.agents.contract import Agent, Output, Source, Step
from workers.agents.registry import AGENTS
from workers.failures import StepSkipped

T = TypeVar("T")
O = TypeVar("O", bound=Output)  # noqa: E741 - as in the contract
JOB = UUID("00000000-0000-4000-8000-000000000001")


class Bench:
    """Tools for one step; remembers the progress it was told."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.config: Mapping[str, Any] = config or {}
        self.shares: list[float] = []

    async def progress(self, share: float) -> None:
        self.shares.append(share)

    async def compute(self, function: Callable[..., T], *args: object) -> T:
        return await compute.run(function, *args, on_progress=self.progress)


class Job:
    """A job whose steps are run one by one, each in a folder of its own, as the engine does it."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        *,
        options: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._source = source
        self._options = options or {}
        self._config = config or {}
        self.results: dict[str, bytes] = {}
        self.skipped: dict[str, str] = {}
        self.benches: dict[str, Bench] = {}

    async def do(self, agent: Agent) -> Output:
        """Run one agent; its output is stored as JSON for those after it."""
        bench = Bench(self._folder / agent.id, self._config)
        bench.folder.mkdir()
        self.benches[agent.id] = bench
        output = await agent.run(self.step(), bench)
        self.results[agent.id] = msgspec.json.encode(output)
        return output

    async def go_through(self, chain: Iterable[str]) -> None:
        """Run agent after agent; what is skipped is noted."""
        for agent_id in chain:
            try:
                await self.do(AGENTS[agent_id])
            except StepSkipped as skipped:
                self.skipped[agent_id] = str(skipped)

    def put(self, output: Output) -> None:
        """Take an output as if its agent had run."""
        self.results[output.agent] = msgspec.json.encode(output)

    def found(self, kind: type[O]) -> O:
        """What an agent found, as the next one reads it."""
        return self.step().needs(kind)

    def step(self) -> Step:
        return Step(job_id=JOB, attempt=1, source=self._source, options=self._options, results=self.results)
