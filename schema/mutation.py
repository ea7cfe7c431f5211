"""What can be done. Every field says who may use it, and is one call into `resolvers`."""

from guards.permissions import Permission
from resolvers import agents, identity, jobs, queues, uploads
from schema.actions import (
    AgentConfigureInput,
    AgentConfigurePayload,
    AgentStartInput,
    AgentStartPayload,
    AgentStopInput,
    AgentStopPayload,
    JobCancelInput,
    JobCancelPayload,
    JobCreateInput,
    JobCreatePayload,
    JobRetryInput,
    JobRetryPayload,
    LoginInput,
    LoginPayload,
    LogoutInput,
    LogoutPayload,
    QueuePauseInput,
    QueuePausePayload,
    QueueResumePayload,
    RefreshInput,
    RefreshPayload,
    UploadFinalizeInput,
    UploadFinalizePayload,
    UploadInitInput,
    UploadInitPayload,
    found,
)
from schema.fields import Info, described, public, requires, shown


@described
class Mutation:
    """What can be done."""

    @public()
    async def login(self, info: Info, input: LoginInput) -> LoginPayload:
        """Sign in with a password."""
        signed = await identity.login(info.context, input.tenant, input.email, input.password)
        return LoginPayload(session=shown(signed.session), user=shown(signed.user))

    @public()
    async def refresh(self, info: Info, input: RefreshInput) -> RefreshPayload:
        """Exchange a refresh token for fresh tokens."""
        signed = await identity.refresh(info.context, input.refresh_token)
        return RefreshPayload(session=shown(signed.session), user=shown(signed.user))

    @requires(Permission.ME_READ)
    async def logout(self, info: Info, input: LogoutInput | None = None) -> LogoutPayload:
        """End all access tokens of the caller."""
        await identity.logout(info.context, input.refresh_token if input else None)
        return LogoutPayload(user_id=shown(info.context.caller.user_id))

    @requires(Permission.JOB_CREATE)
    async def job_create(self, info: Info, input: JobCreateInput) -> JobCreatePayload:
        """Queue a job."""
        return JobCreatePayload(job=shown(await jobs.create(info.context, input.order())))

    @requires(Permission.JOB_CANCEL)
    async def job_cancel(self, info: Info, input: JobCancelInput) -> JobCancelPayload:
        """Cancel a job that waits, or have one that runs stop."""
        return JobCancelPayload(job=shown(await jobs.cancel(info.context, found("job", input.job_id))))

    @requires(Permission.JOB_RETRY)
    async def job_retry(self, info: Info, input: JobRetryInput) -> JobRetryPayload:
        """Queue a failed or cancelled job again; what its finished steps found is kept."""
        return JobRetryPayload(job=shown(await jobs.retry(info.context, found("job", input.job_id), input.priority)))

    @requires(Permission.QUEUE_PAUSE)
    async def queue_pause(self, info: Info, input: QueuePauseInput | None = None) -> QueuePausePayload:
        """Have no further job begun; those at work go on."""
        asked = input or QueuePauseInput()
        return QueuePausePayload(state=shown(await queues.pause(info.context, asked.duration_minutes, asked.reason)))

    @requires(Permission.QUEUE_RESUME)
    async def queue_resume(self, info: Info) -> QueueResumePayload:
        """Have jobs begun again."""
        return QueueResumePayload(state=shown(await queues.resume(info.context)))

    @requires(Permission.AGENT_START)
    async def agent_start(self, info: Info, input: AgentStartInput) -> AgentStartPayload:
        """Switch an agent on."""
        return AgentStartPayload(agent=shown(await agents.start(info.context, input.agent_id)))

    @requires(Permission.AGENT_STOP)
    async def agent_stop(self, info: Info, input: AgentStopInput) -> AgentStopPayload:
        """Switch an agent off; what it is at, it finishes."""
        return AgentStopPayload(agent=shown(await agents.stop(info.context, input.agent_id)))

    @requires(Permission.AGENT_CONFIGURE)
    async def agent_configure(self, info: Info, input: AgentConfigureInput) -> AgentConfigurePayload:
        """Change how an agent works, from its next step on."""
        changed = await agents.configure(info.context, input.agent_id, input.changes())
        return AgentConfigurePayload(agent=shown(changed))

    @requires(Permission.UPLOAD_INIT)
    async def upload_init(self, info: Info, input: UploadInitInput) -> UploadInitPayload:
        """Begin an upload; its chunks are sent over HTTP."""
        begun = await uploads.init(info.context, input.filename, input.size_bytes, input.chunk_bytes, input.sha256)
        return UploadInitPayload(upload=shown(begun))

    @requires(Permission.UPLOAD_FINALIZE)
    async def upload_finalize(self, info: Info, input: UploadFinalizeInput) -> UploadFinalizePayload:
        """Verify an upload of which every chunk was sent."""
        key = found("upload", input.upload_id)
        whole = await uploads.finalize(info.context, key, input.total_chunks, input.sha256)
        return UploadFinalizePayload(upload=shown(whole))
