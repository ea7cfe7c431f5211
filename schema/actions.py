"""What actions are given and what they answer: an input and a payload for each, named for it."""

from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db.models.work import AgentPriority
from guards.errors import BadInput, NotFound
from resolvers import agents, jobs
from schema.fields import asked, described
from schema.scalars import BigInt, uuid_of
from schema.types.agents import Agent
from schema.types.jobs import Job, Upload
from schema.types.people import Session, User
from schema.types.system import QueueState


def found(kind: str, key: str) -> UUID:
    """The UUID of what an action is about.

    Raises:
        NotFound: no id of ours looks like that.
    """
    uuid = uuid_of(key)
    if uuid is None:
        raise NotFound(f"there is no {kind} {key[:50]}" if key.strip() else f"there is no {kind} without an id")
    return uuid


@asked
class LoginInput:
    """Who wants to sign in."""

    tenant: str = "default"
    email: str
    password: str


@asked
class RefreshInput:
    """What to exchange for fresh tokens."""

    refresh_token: str


@asked
class LogoutInput:
    """What to end."""

    refresh_token: str | None = None
    """Ends whatever this sign-in was refreshed to as well."""


@strawberry.input(one_of=True, description="Where the video comes from.")
class JobSourceInput:
    """Where the video comes from."""

    upload_id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="A completed upload of the caller's.")
    url: strawberry.Maybe[str] = strawberry.field(description="An http or https address.")
    path: strawberry.Maybe[str] = strawberry.field(description="A file of the server, below its media folder.")

    def source(self) -> jobs.Source:
        """The same for a resolver."""
        upload_id = self.upload_id
        return jobs.Source(
            upload_id=found("upload", upload_id.value) if upload_id else None,
            url=self.url.value if self.url else None,
            path=self.path.value if self.path else None,
        )


@asked
class JobOptionsInput:
    """How the clips should be; what is left out, the agents decide."""

    aspect: str | None = None
    """Across and down, such as `9:16`, or `source` for the shape of the video."""

    min_seconds: float | None = None
    """1..600."""

    max_seconds: float | None = None
    """1..600."""

    max_clips: int | None = None
    """1..10."""

    platforms: list[str] | None = None
    """For which platforms posts are written, such as `tiktok`."""

    def wishes(self) -> jobs.Wishes:
        """The same for a resolver."""
        return jobs.Wishes(
            aspect=self.aspect,
            min_seconds=self.min_seconds,
            max_seconds=self.max_seconds,
            max_clips=self.max_clips,
            platforms=self.platforms,
        )


@asked
class JobCreateInput:
    """What a job is to be."""

    source: JobSourceInput
    title: str = ""
    """At most 200 characters of plain text; without one, an upload's name is taken."""

    priority: int = 5
    """0 (can wait) to 10 (first)."""

    chain: list[str] | None = None
    """Ids of agents in the order of their turns; left out, the usual ones."""

    options: JobOptionsInput = strawberry.field(default_factory=JobOptionsInput)

    def order(self) -> jobs.Order:
        """The same for a resolver."""
        return jobs.Order(
            source=self.source.source(),
            title=self.title,
            priority=self.priority,
            chain=self.chain,
            wishes=self.options.wishes(),
        )


@asked
class JobCancelInput:
    """Which job to cancel."""

    job_id: strawberry.ID


@asked
class JobRetryInput:
    """Which job to try again."""

    job_id: strawberry.ID
    priority: int | None = None
    """0 (can wait) to 10 (first); left out, it stays as it was."""


@asked
class QueuePauseInput:
    """For how long, and why."""

    duration_minutes: int | None = None
    """After which it goes on by itself, at most a week; left out, somebody has to resume it."""

    reason: str | None = None


@asked
class AgentStartInput:
    """Which agent to switch on."""

    agent_id: strawberry.ID


@asked
class AgentStopInput:
    """Which agent to switch off."""

    agent_id: strawberry.ID


@asked
class AgentConfigureInput:
    """What to change of an agent; what is left out stays as it is."""

    agent_id: strawberry.ID
    auto_start: bool | None = None
    max_concurrent: int | None = None
    """1..50."""

    timeout_s: int | None = None
    """1..3600."""

    retry_attempts: int | None = None
    """0..10."""

    priority: AgentPriority | None = None
    memory_mb: int | None = None
    cpu_cores: int | None = None
    disk_mb: int | None = None
    options: JSON | None = None
    """An object; takes the place of the options there were."""

    def changes(self) -> agents.Changes:
        """The same for a resolver."""
        options: object = self.options
        if options is not None and not isinstance(options, dict):
            raise BadInput("options: an object is taken")
        return agents.Changes(
            auto_start=self.auto_start,
            max_concurrent=self.max_concurrent,
            timeout_s=self.timeout_s,
            retry_attempts=self.retry_attempts,
            priority=self.priority,
            memory_mb=self.memory_mb,
            cpu_cores=self.cpu_cores,
            disk_mb=self.disk_mb,
            options=options,
        )


@asked
class UploadInitInput:
    """What is going to be sent."""

    filename: str
    """Only shown again, after it was cleaned."""

    size_bytes: BigInt
    chunk_bytes: int | None = None
    """Length of every chunk but the last."""

    sha256: str | None = None
    """Hex digest the whole file must have in the end, if it is known already."""


@asked
class UploadFinalizeInput:
    """Which upload is complete."""

    upload_id: strawberry.ID
    total_chunks: int | None = None
    """Compared when given."""

    sha256: str | None = None
    """Hex digest of the whole; compared when given."""


@described
class LoginPayload:
    """What a client holds after signing in."""

    session: Session
    user: User


@described
class RefreshPayload:
    """What a client holds after refreshing."""

    session: Session
    user: User


@described
class LogoutPayload:
    """The session is over."""

    user_id: strawberry.ID


@described
class JobCreatePayload:
    """The job as it was queued."""

    job: Job


@described
class JobCancelPayload:
    """The job: cancelled if it waited, asked to stop if it runs."""

    job: Job


@described
class JobRetryPayload:
    """The job, queued again."""

    job: Job


@described
class QueuePausePayload:
    """The queue, which begins no job now."""

    state: QueueState


@described
class QueueResumePayload:
    """The queue, which begins jobs again."""

    state: QueueState


@described
class AgentStartPayload:
    """The agent, switched on."""

    agent: Agent


@described
class AgentStopPayload:
    """The agent, switched off; what it is at, it finishes."""

    agent: Agent


@described
class AgentConfigurePayload:
    """The agent as it is configured now."""

    agent: Agent


@described
class UploadInitPayload:
    """The upload, ready for its chunks."""

    upload: Upload


@described
class UploadFinalizePayload:
    """The upload, verified and complete."""

    upload: Upload
