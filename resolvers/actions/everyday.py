"""Everyday: what the people do whose jobs these are."""

from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from db.agents import Agent
from db.database import Transaction
from db.jobs import USUAL_TYPE, Job
from db.models.work import AgentPriority, JobStatus
from db.rows import Row
from db.uploads import Upload
from guards.errors import BadInput
from resolvers import agents, finalizing, jobs, own_agents, uploads
from resolvers.actions.contract import (
    KEPT,
    Action,
    AgentId,
    Big,
    Call,
    JobId,
    Payload,
    Priority,
    UploadId,
    View,
    action,
)
from resolvers.context import Context
from resolvers.finalizing import Joined


class JobSourceInput(Payload, frozen=True, kw_only=True):
    """Where the video comes from."""

    ONE_OF: ClassVar[bool] = True

    upload_id: UploadId | None = None
    """A completed upload of the caller's."""

    url: str | None = None
    """An http or https address."""

    path: str | None = None
    """A file of the server, below its media folder."""


class JobOptionsInput(Payload, frozen=True, kw_only=True):
    """How the clips should be; what is left out, the agents decide."""

    aspect: str | None = None
    """Across and down, such as `9:16`, or `source` for the shape of the video."""

    min_seconds: float | None = None
    """1..600."""

    max_seconds: float | None = None
    """1..600."""

    max_clips: Annotated[int, Meta(ge=1, le=10)] | None = None
    platforms: list[str] | None = None
    """For which platforms posts are written, such as `tiktok`."""


class JobCreateInput(Payload, frozen=True, kw_only=True):
    """What a job is to be."""

    source: JobSourceInput
    title: str = ""
    """At most 200 characters of plain text; without one, an upload's name is taken."""

    priority: Priority = 5
    """0 (can wait) to 10 (first)."""

    chain: list[str] | None = None
    """Ids of agents in the order of their turns; left out, the usual ones."""

    profile: Annotated[str, Meta(max_length=32)] | None = None
    """A worker profile: its workers do the job, with its agents unless `chain` names others."""

    workflow_type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,49}$", extra=KEPT)] = USUAL_TYPE
    """What kind of work it is counted as; the agents are the same."""

    options: JobOptionsInput = JobOptionsInput()

    def order(self) -> jobs.Order:
        """The same for the room of the jobs."""
        return jobs.Order(
            source=jobs.Source(**msgspec.structs.asdict(self.source)),
            title=self.title,
            priority=self.priority,
            chain=self.chain,
            profile=self.profile,
            workflow_type=self.workflow_type,
            wishes=jobs.Wishes(**msgspec.structs.asdict(self.options)),
        )


class JobCreated(Row, frozen=True):
    """The job as it was queued."""

    job: Job


async def _planned(context: Context, asked: JobCreateInput) -> jobs.Planned:
    return await jobs.planned(context, asked.order())


@action("job.create", View.EVERYDAY, prepare=_planned)
async def job_create(call: Call[JobCreated], asked: JobCreateInput) -> JobCreated:
    """Queue a job."""
    return JobCreated(await jobs.create(call.context, call.tx, call.prepared))


class JobUpdateStatusInput(Payload, frozen=True, kw_only=True):
    """Which job, and how it is to stand or how far it is."""

    job_id: JobId
    status: JobStatus | None = None
    """`queued` to try it again, `failed` or `cancelled`; `processing` of one that runs. Its worker completes it."""

    progress: Annotated[int, Meta(ge=0, le=100)] | None = None
    """Percent, of one that runs, and not less than it is; its worker goes on saying how far it is."""

    message: Annotated[str, Meta(max_length=500)] | None = None
    """Why it failed, shown with the job; for `failed` alone."""


class JobStatusUpdated(Row, frozen=True):
    """The job as it stands now."""

    job_id: UUID
    previous_status: JobStatus
    new_status: JobStatus
    job: Job


@action("job.update_status", View.EVERYDAY, target="job_id")
async def job_update_status(call: Call[JobStatusUpdated], asked: JobUpdateStatusInput) -> JobStatusUpdated:
    """Say how a job is to stand: queued again, cancelled, or failed; or how far it is, while it runs.

    One that runs is asked to stop when it is cancelled, and stopped at once when it has failed.

    Raises:
        BadInput: neither a status nor a progress is given.
        NotFound: there is no such job.
        Conflict: it does not go there from where it stands, or the queue takes no jobs on.
        Maintenance: it would be queued, and the system is being worked on.
        RateLimited: it would be queued, and too many jobs wait already.
    """
    if asked.status is None and asked.progress is None:
        raise BadInput("status, progress: one of them is needed")
    before, job = await _said(call.context, call.tx, asked)
    return JobStatusUpdated(job.id, before.status, job.status, job)


async def _said(context: Context, tx: Transaction, asked: JobUpdateStatusInput) -> tuple[Job, Job]:
    match asked.status:
        case JobStatus.QUEUED:
            return await jobs.retried(context, tx, asked.job_id)
        case JobStatus.CANCELLED:
            return await jobs.cancelled(context, tx, asked.job_id)
        case JobStatus.FAILED:
            return await jobs.declared(context, tx, asked.job_id, message=asked.message or "declared as failed")
        case JobStatus.COMPLETED:
            return await jobs.completed(context, tx, asked.job_id)
        case JobStatus.PROCESSING | None:
            return await jobs.progressed(context, tx, asked.job_id, asked.progress)


class AgentStartInput(Payload, frozen=True, kw_only=True):
    """Which agent to switch on."""

    agent_id: AgentId


class AgentStarted(Row, frozen=True):
    """The agent, switched on."""

    agent: Agent


@action("agent.start", View.EVERYDAY, target="agent_id")
async def agent_start(call: Call[AgentStarted], asked: AgentStartInput) -> AgentStarted:
    """Switch an agent on."""
    return AgentStarted(await agents.switched(call.context, call.tx, asked.agent_id, enabled=True))


class AgentStopInput(Payload, frozen=True, kw_only=True):
    """Which agent to switch off."""

    agent_id: AgentId


class AgentStopped(Row, frozen=True):
    """The agent, switched off; what it is at, it finishes."""

    agent: Agent


@action("agent.stop", View.EVERYDAY, target="agent_id")
async def agent_stop(call: Call[AgentStopped], asked: AgentStopInput) -> AgentStopped:
    """Switch an agent off; what it is at, it finishes."""
    return AgentStopped(await agents.switched(call.context, call.tx, asked.agent_id, enabled=False))


class AgentsRestartInput(Payload, frozen=True, kw_only=True):
    """Which agents are to begin anew."""

    agent_ids: Annotated[list[AgentId], Meta(min_length=1, max_length=50)] | None = None
    """Left out, all of them."""


class AgentsRestarted(Row, frozen=True):
    """What was begun anew."""

    agents: list[str]
    """Ids of the agents that were meant; those that are switched off stay so."""

    restarted_jobs: list[UUID]
    """Jobs whose step one of them was at; they are queued, and begin that step again."""


@action("agents.restart", View.EVERYDAY, per_minute=10)
async def agents_restart(call: Call[AgentsRestarted], asked: AgentsRestartInput) -> AgentsRestarted:
    """Have agents begin anew what they are at; what finished steps found is kept, and no attempt is counted.

    Raises:
        NotFound: there is no such agent.
    """
    ids, back = await agents.restarted(call.context, call.tx, asked.agent_ids)
    return AgentsRestarted(ids, [job.id for job in back])


class AgentQueueClearInput(Payload, frozen=True, kw_only=True):
    """Which agent's queue to clear."""

    agent_id: AgentId | None = None
    """Left out, everybody's."""

    dry_run: bool = False
    """Change nothing, and say what would go."""


class AgentQueueCleared(Row, frozen=True):
    """What was cancelled, or would be."""

    agent_id: str
    """Empty when it was everybody's queue."""

    cleared_count: int
    dry_run: bool
    sample_ids: list[UUID]
    """At most 100 of them, the oldest first."""


@action("agent.queue_clear", View.EVERYDAY, per_minute=10, destructive=True, target="agent_id")
async def agent_queue_clear(call: Call[AgentQueueCleared], asked: AgentQueueClearInput) -> AgentQueueCleared:
    """Cancel the jobs that wait for an agent's turn, or for anybody's; what they are at goes on.

    Raises:
        NotFound: there is no such agent.
    """
    found = await agents.cleared(call.context, call.tx, asked.agent_id, dry_run=asked.dry_run)
    return AgentQueueCleared(asked.agent_id or "", found.total, asked.dry_run, found.sample)


OLDER_NAMES: Final = {"timeout": "timeout_s", "environment": "options"}
"""What clients from before call fields of an agent's configuration."""


class AgentConfigureInput(Payload, frozen=True, kw_only=True):
    """What to change of an agent; what is left out stays as it is."""

    agent_id: AgentId
    enabled: bool | None = None
    auto_start: bool | None = None
    max_concurrent: Annotated[int, Meta(ge=1, le=50)] | None = None
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] | None = None
    retry_attempts: Annotated[int, Meta(ge=0, le=10)] | None = None
    priority: AgentPriority | None = None
    memory_mb: Annotated[int, Meta(ge=64, le=1_048_576)] | None = None
    cpu_cores: Annotated[int, Meta(ge=1, le=256)] | None = None
    disk_mb: Annotated[int, Meta(ge=64, le=104_857_600)] | None = None
    options: dict[str, Any] | None = None
    """An object; takes the place of the options there were, but for hidden ones (`***`), which stay."""


class AgentConfigured(Row, frozen=True):
    """The agent as it is configured now."""

    agent: Agent


@action("agent.configure", View.EVERYDAY, target="agent_id", aliases=OLDER_NAMES)
async def agent_configure(call: Call[AgentConfigured], asked: AgentConfigureInput) -> AgentConfigured:
    """Change how an agent works, from its next step on."""
    return AgentConfigured(await agents.configure(call.context, call.tx, asked.agent_id, _changes(asked)))


class AgentsConfigureInput(Payload, frozen=True, kw_only=True):
    """What to change of several agents."""

    agents: Annotated[list[AgentConfigureInput], Meta(min_length=1, max_length=own_agents.MOST, extra={"parts": True})]
    """Each agent once."""


class AgentsConfigured(Row, frozen=True):
    """The agents as they are configured now, in the order in which they were named."""

    agents: list[Agent]


@action("agents.configure", View.EVERYDAY)
async def agents_configure(call: Call[AgentsConfigured], asked: AgentsConfigureInput) -> AgentsConfigured:
    """Change how several agents work, from their next steps on: all of them, or none.

    Raises:
        NotFound: one of them there is not.
        BadInput: one is named twice, or nothing is to be changed of one.
    """
    wanted = [(each.agent_id, _changes(each)) for each in asked.agents]
    return AgentsConfigured(await agents.configured(call.context, call.tx, wanted))


def _changes(asked: AgentConfigureInput) -> agents.Changes:
    changes = msgspec.structs.asdict(asked)
    del changes["agent_id"]
    return agents.Changes(**changes)


class UploadInitInput(Payload, frozen=True, kw_only=True):
    """What is going to be sent."""

    filename: str
    """Only shown again, after it was cleaned."""

    size_bytes: Big
    chunk_bytes: int | None = None
    """Length of every chunk but the last."""

    sha256: Annotated[str, Meta(extra=KEPT)] | None = None
    """Hex digest the whole file must have in the end, if it is known already."""


class UploadBegun(Row, frozen=True):
    """The upload, ready for its chunks."""

    upload: Upload


@action("upload.init", View.EVERYDAY)
async def upload_init(call: Call[UploadBegun], asked: UploadInitInput) -> UploadBegun:
    """Begin an upload; its chunks are sent over HTTP."""
    return UploadBegun(
        await uploads.init(call.context, call.tx, asked.filename, asked.size_bytes, asked.chunk_bytes, asked.sha256)
    )


class UploadFinalizeInput(Payload, frozen=True, kw_only=True):
    """Which upload is complete."""

    upload_id: UploadId
    total_chunks: int | None = None
    """Compared when given."""

    sha256: Annotated[str, Meta(extra=KEPT)] | None = None
    """Hex digest of the whole; compared when given."""


class UploadFinalized(Row, frozen=True):
    """The upload, verified and complete."""

    upload: Upload


async def _joined(context: Context, asked: UploadFinalizeInput) -> Joined | Upload:
    return await finalizing.joined(context, asked.upload_id, asked.total_chunks, asked.sha256)


@action("upload.finalize", View.EVERYDAY, target="upload_id", prepare=_joined)
async def upload_finalize(call: Call[UploadFinalized], asked: UploadFinalizeInput) -> UploadFinalized:
    """Verify an upload of which every chunk was sent; again gives the same upload."""
    return UploadFinalized(await finalizing.completed(call.context, call.tx, call.prepared))


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    job_create,
    job_update_status,
    agent_start,
    agent_stop,
    agents_restart,
    agent_configure,
    agents_configure,
    agent_queue_clear,
    upload_init,
    upload_finalize,
)
