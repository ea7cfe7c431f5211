"""One job's turn: agent after agent, each step recorded as it ends, until the job is settled.

What finished steps found is kept, so whoever takes a job over goes on at the first unfinished one. Everything is
written under the claim's fence; the clips are stored in the one transaction that completes the job, or not at all.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from db import agents, artifacts, clips, leases, logs, steps, uploads
from db.agents import Agent as Configured
from db.database import Database, DatabaseBusy, DatabaseUnavailable, Transaction
from db.files import Files
from db.health import DATABASE_FAILED
from db.jobs import Job
from db.leases import Claim, Lost
from db.logs import NewLine
from db.models.records import Severity
from db.models.work import FailureCode, JobStatus, StepStatus
from workers import compute
from workers.agents.contract import Agent, Output, Source, Step
from workers.engine import Hold, Verdict
from workers.failures import MayPass, StepFailed, StepSkipped
from workers.harvest import harvest

REPORT_EVERY_S: Final = 0.5
BUSY_DELAY: Final = timedelta(seconds=2)
LONGEST_BACKOFF_S: Final = 300.0
MEDIA_SCHEME: Final = "media:"
"""How the address of a job's source begins when it is a file of this server, relative to the media folder."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class SourceMissing(StepFailed):
    """What the job was made from is no longer there."""


@dataclass(slots=True)
class Bench:
    """What one agent is lent for one step; implements `Tools`."""

    folder: Path
    config: Mapping[str, Any]
    memory_mb: int
    """What a process of this step may hold."""

    share: float = 0.0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def progress(self, share: float) -> None:
        """Note the done share; it is written down twice a second at most."""
        self.share = max(self.share, min(share, 1.0))
        self.moved.set()

    async def compute(self, function: Callable[..., T], *args: object) -> T:
        """Run a function in a process of its own, with its progress taken for the step's."""
        return await compute.run(function, *args, on_progress=self.progress, memory_mb=self.memory_mb)


class Turns:
    """Does jobs: one call for one job."""

    def __init__(
        self,
        database: Database,
        files: Files,
        known: Mapping[str, Agent],
        *,
        media_root: Path | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            media_root: the folder that a job may name files of; None for none.
            defaults: options that every agent is given under its own (`speech_model`, `allow_private`).
        """
        self._database = database
        self._files = files
        self._known = known
        self._media_root = media_root
        self._defaults = dict(defaults or {})
        self.completed = 0
        """Jobs this worker has completed since it started."""

        self.failed = 0
        """Jobs this worker has seen fail for good."""

        self.job_timeout_s: int | None = None
        """How long a job may be at work here, or None for as long as its steps may."""

    async def take(self, hold: Hold) -> None:
        """Do a held job as far as it goes and settle it; never raises for what the job itself does wrong."""
        claim = hold.claim
        try:
            await self._through_the_chain(hold)
        except Lost:
            log.info("job %s went to another worker", claim.job.id)
        except StepFailed as failed:
            message = str(failed)
            await self._settle(claim, lambda tx: leases.fail(tx, claim, code=FailureCode.STEP_FAILED, message=message))
        except (MayPass, DatabaseBusy) as error:
            await self._retry_or_fail(claim, str(error))
        except DatabaseUnavailable as error:
            # Nothing can be written down now, so the lease runs out and the job goes on where it was.
            log.warning("job %s is left to its lease: %s", claim.job.id, error)
        except Exception:
            # A fault of ours in one job must not take the worker's other jobs along.
            log.exception("job %s ended in an error of the worker", claim.job.id)
            await self._retry_or_fail(claim, "an internal error; the worker's log has the details")

    async def _through_the_chain(self, hold: Hold) -> None:
        claim = hold.claim
        async with self._database.transaction(claim.job.tenant_id) as tx:
            todo = await steps.of_job(tx, claim.job.id)
            results = await steps.outputs(tx, claim.job.id)
            source = await self._source(tx, claim.job)
            configured = {agent.id: agent for agent in await agents.by_ids(tx, claim.job.chain)}
        done = sum(step.status in (StepStatus.COMPLETED, StepStatus.SKIPPED) for step in todo)
        for row in todo:
            if row.status in (StepStatus.COMPLETED, StepStatus.SKIPPED):
                continue
            agent = configured.get(row.agent_id)
            if agent is None or agent.implementation not in self._known:
                raise StepFailed(f"there is no agent {row.agent_id} here; take it out of the chain or install it")
            if hold.verdict is None:
                earlier = _by_implementation(results, configured)
                found = await self._one_step(hold, row, agent, source, earlier, done, len(todo))
                if found is not None:
                    results[row.agent_id] = msgspec.json.encode(found)
            if hold.verdict is not None:
                await self._let_go(hold)
                return
            done += 1
        await self._complete(claim, todo)

    async def _one_step(
        self,
        hold: Hold,
        row: steps.Step,
        configured: Configured,
        source: Source,
        results: Mapping[str, bytes],
        done: int,
        of: int,
    ) -> Output | None:
        claim = hold.claim
        async with self._database.transaction(claim.job.tenant_id) as tx:
            attempt = await leases.begin_step(tx, claim, row.ordinal, row.agent_id)
        if attempt is None:
            await self._wait_for(claim, row.agent_id)
            hold.let_go(Verdict.LOST)
            return None
        agent = self._known[configured.implementation]
        bench = Bench(
            memory_mb=configured.memory_mb or compute.MEMORY_MB,
            folder=self._folder(claim.job, row.ordinal, row.agent_id, attempt),
            config={**self._defaults, **configured.options},
        )
        step = Step(
            job_id=claim.job.id,
            attempt=claim.job.attempt,
            source=source,
            options=claim.job.options,
            results=dict(results),
        )
        message: str | None = None
        began = time.monotonic()
        try:
            timeout_s = self._left_s(hold, configured.timeout_s)
            output = await self._attended(hold, agent, step, bench, row.ordinal, done, of, timeout_s)
        except StepSkipped as skipped:
            output, message = None, str(skipped)
        except (StepFailed, MayPass) as error:
            again = isinstance(error, MayPass) and attempt <= configured.retry_attempts
            level = Severity.WARNING if again else Severity.ERROR
            async with self._database.transaction(claim.job.tenant_id) as tx:
                await leases.finish_step(tx, claim, row.ordinal, StepStatus.FAILED, message=str(error))
                await logs.write(tx, [_line(claim, row.agent_id, attempt, began, level, f"failed: {error}")])
            message = f"{configured.name}: {error}"
            if isinstance(error, MayPass) and not again:
                raise StepFailed(f"{message} (attempt {attempt})") from error
            raise type(error)(message) from error
        if hold.verdict is not None:
            return None
        # Through JSON, as the next agent will read it: what JSON cannot hold (nan, infinity) becomes null here, not an
        # error of the database.
        found = None if output is None else msgspec.json.decode(msgspec.json.encode(output))
        async with self._database.transaction(claim.job.tenant_id) as tx:
            await leases.finish_step(
                tx,
                claim,
                row.ordinal,
                StepStatus.COMPLETED if output is not None else StepStatus.SKIPPED,
                output=found,
                message=message,
                percent=100 * (done + 1) // of,
            )
            told = "completed" if output is not None else f"skipped: {message}"
            await logs.write(tx, [_line(claim, row.agent_id, attempt, began, Severity.INFO, told)])
        return output

    def _left_s(self, hold: Hold, most_s: int) -> int:
        """Seconds that a step may take, of those its job has left."""
        if self.job_timeout_s is None:
            return most_s
        left_s = self.job_timeout_s - (time.monotonic() - hold.since)
        if left_s <= 0:
            raise StepFailed(f"the job took longer than the {self.job_timeout_s} s that this worker gives it")
        return max(1, min(most_s, math.ceil(left_s)))

    async def _attended(
        self, hold: Hold, agent: Agent, step: Step, bench: Bench, ordinal: int, done: int, of: int, timeout_s: int
    ) -> Output | None:
        """Run an agent while its progress is written down and the hold is watched; None when it was let go."""
        running = asyncio.create_task(_bounded(agent, step, bench, timeout_s), name=f"{agent.id} {step.job_id}")
        deciding = asyncio.create_task(hold.decided.wait(), name=f"verdict {step.job_id}")
        told = 0.0
        try:
            while not running.done() and hold.verdict is None:
                await asyncio.wait((running, deciding), timeout=REPORT_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if bench.share > told and not running.done():
                    told = bench.share
                    percent = int(100 * (done + told) / of)
                    async with self._database.transaction(hold.claim.job.tenant_id) as tx:
                        await leases.report(tx, hold.claim, ordinal, share=told, percent=percent)
        finally:
            # Whatever ends this function also ends the agent and its process.
            deciding.cancel()
            running.cancel()
            await asyncio.wait((running, deciding))
        if hold.verdict is not None:
            return None
        return running.result()

    async def _complete(self, claim: Claim, todo: list[steps.Step]) -> None:
        async with self._database.transaction(claim.job.tenant_id) as tx:
            results = await steps.outputs(tx, claim.job.id)
            attempts = {step.agent_id: step.attempt for step in await steps.of_job(tx, claim.job.id)}
        folders = {
            step.agent_id: self._folder(claim.job, step.ordinal, step.agent_id, attempts[step.agent_id])
            for step in todo
        }
        found = await harvest(self._files, claim.job.tenant_id, results, folders)
        async with self._database.transaction(claim.job.tenant_id) as tx:
            await leases.complete(tx, claim)
            await clips.add(tx, claim.job.id, found.clips)
            await artifacts.add(tx, claim.job.id, found.artifacts)
        self.completed += 1
        log.info("job %s is completed with %d clips", claim.job.id, len(found.clips))
        # Only once the job is durably completed: a worker that takes it over still needs what is in there.
        await self._files.drop_work(claim.job.tenant_id, claim.job.id)

    async def _let_go(self, hold: Hold) -> None:
        claim = hold.claim
        if hold.verdict is Verdict.CANCELLED:
            await self._settle(claim, lambda tx: leases.stop(tx, claim))
        elif hold.verdict is Verdict.DRAINED:
            await self._settle(claim, lambda tx: leases.put_back(tx, claim, delay=timedelta(0), count_attempt=False))

    async def _wait_for(self, claim: Claim, agent_id: str) -> None:
        message = f"waits for the agent {agent_id}, which is off or has no place free"
        await self._settle(
            claim,
            lambda tx: leases.put_back(tx, claim, delay=BUSY_DELAY, message=message, count_attempt=False),
        )

    async def _retry_or_fail(self, claim: Claim, message: str) -> None:
        if claim.last_attempt:
            await self._settle(
                claim, lambda tx: leases.fail(tx, claim, code=FailureCode.ATTEMPTS_SPENT, message=message)
            )
            return
        delay = timedelta(seconds=backoff_s(claim.job.attempt, random.random()))
        await self._settle(
            claim, lambda tx: leases.put_back(tx, claim, delay=delay, message=message, count_attempt=True)
        )

    async def _settle(self, claim: Claim, write: Callable[[Transaction], Awaitable[Job]]) -> None:
        """Write how a turn ended; a job that is somebody else's by now is left to them."""
        try:
            async with self._database.transaction(claim.job.tenant_id) as tx:
                job = await write(tx)
        except Lost:
            log.info("job %s went to another worker", claim.job.id)
        except DATABASE_FAILED as error:
            # Nobody was told, so the lease runs out and the reaper gives the job to another worker.
            log.warning("job %s could not be settled: %s", claim.job.id, error)
        else:
            self.failed += job.status is JobStatus.FAILED
            log.info("job %s is %s", job.id, job.status)

    async def _source(self, tx: Transaction, job: Job) -> Source:
        if job.upload_id is not None:
            upload = await uploads.by_id(tx, job.upload_id)
            if upload is None or upload.path is None:
                raise SourceMissing("the upload this job was made from is gone")
            return Source(file=self._files.resolve(upload.path), sha256=upload.sha256, title=job.title)
        if job.source_url is None:
            raise SourceMissing("the upload this job was made from is gone")
        if job.source_url.startswith(MEDIA_SCHEME):
            return Source(file=inside(self._media_root, job.source_url.removeprefix(MEDIA_SCHEME)), title=job.title)
        return Source(url=job.source_url, title=job.title)

    def _folder(self, job: Job, ordinal: int, agent_id: str, attempt: int) -> Path:
        folder = self._files.work(job.tenant_id, job.id) / f"{ordinal:02d}-{agent_id}-{attempt}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _by_implementation(results: Mapping[str, bytes], configured: Mapping[str, Configured]) -> dict[str, bytes]:
    """What steps have found, also under the name of the agent that did the work, by which the next ones ask for it.

    Where two agents of a chain are the same in this, what the later one found stands.
    """
    done_by = {agent_id: configured[agent_id].implementation for agent_id in results if agent_id in configured}
    return {**results, **{implementation: results[agent_id] for agent_id, implementation in done_by.items()}}


def _line(claim: Claim, agent_id: str, attempt: int, began: float, level: Severity, told: str) -> NewLine:
    """What is written down of a step, in the log of the tenant whose job it is."""
    return NewLine(
        level=level,
        source=agents.source_of(agent_id),
        category="steps",
        message=told,
        data={
            "job_id": str(claim.job.id),
            "worker_id": claim.job.worker_id,
            "attempt": attempt,
            "took_s": round(time.monotonic() - began, 3),
        },
    )


def backoff_s(attempt: int, chance: float) -> float:
    """Seconds until a job is tried again: doubling from 2 s to five minutes, spread by a `chance` in 0..1."""
    return min(LONGEST_BACKOFF_S, 2.0**attempt) * (0.5 + chance / 2)


def inside(root: Path | None, relative: str) -> Path:
    """The file of a path below a folder, links followed.

    Raises:
        SourceMissing: there is no such folder or file, or the path leads out of it.
    """
    if root is None:
        raise SourceMissing("files of this server may not be used: AGENTOS_MEDIA_ROOT is not set")
    found = (root / relative).resolve()
    if not found.is_relative_to(root.resolve()) or not found.is_file():
        raise SourceMissing(f"there is no file {relative} in the media folder")
    return found


async def _bounded(agent: Agent, step: Step, bench: Bench, timeout_s: int) -> Output:
    try:
        async with asyncio.timeout(timeout_s):
            return await agent.run(step, bench)
    except TimeoutError as error:
        raise StepFailed(f"took longer than the {timeout_s} s it is given") from error
