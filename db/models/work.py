"""The work itself: uploads, jobs, the steps of a job, the clips and files that come of it, and who does it."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import (
    count,
    document,
    enum,
    flag,
    key,
    measure,
    metadata,
    moment,
    optional,
    tenant,
    text,
)


class JobStatus(StrEnum):
    """queued → processing → completed | failed | cancelled; failed and cancelled may be queued again."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureCode(StrEnum):
    """Why a job failed for good."""

    STEP_FAILED = "STEP_FAILED"
    """An agent could not do its step; trying again would not help."""

    ATTEMPTS_SPENT = "ATTEMPTS_SPENT"
    """What stood in the way did not pass however often it was tried."""

    WORKER_LOST = "WORKER_LOST"
    """Its worker fell silent each time."""

    DECLARED = "DECLARED"
    """Somebody said so."""


class StepStatus(StrEnum):
    """pending → processing → completed | failed | skipped | cancelled."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class UploadStatus(StrEnum):
    """initialized → uploading → completed | expired."""

    INITIALIZED = "initialized"
    UPLOADING = "uploading"
    COMPLETED = "completed"
    EXPIRED = "expired"


class AgentPriority(StrEnum):
    """How an agent's steps are weighed against those of others."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class AgentCategory(StrEnum):
    """The five families of agents."""

    INPUT = "input"
    AUDIO = "audio"
    ANALYSIS = "analysis"
    EDITING = "editing"
    CONTENT = "content"


class WorkerState(StrEnum):
    """What a worker last said of itself; silence is judged by the age of its heartbeat, not stored."""

    IDLE = "idle"
    ACTIVE = "active"
    PAUSED = "paused"
    DRAINING = "draining"
    STOPPED = "stopped"


class ArtifactKind(StrEnum):
    """What a stored file that is neither a source nor a clip is for."""

    CAPTIONS = "captions"
    SCRIPT = "script"
    POSTS = "posts"
    VOICEOVER = "voiceover"
    REPORT = "report"


agents = sa.Table(
    "agents",
    metadata,
    tenant(primary_key=True),
    sa.Column("id", sa.Text(), primary_key=True),
    text("implementation"),
    text("name"),
    sa.Column("category", enum(AgentCategory, "agent_category"), nullable=False),
    text("description"),
    text("version"),
    flag("enabled", default=True),
    flag("auto_start", default=True),
    count("max_concurrent", default=4),
    count("timeout_s", default=900),
    count("retry_attempts", default=2),
    sa.Column("priority", enum(AgentPriority, "agent_priority"), nullable=False, server_default="normal"),
    sa.Column("memory_mb", sa.Integer()),
    sa.Column("cpu_cores", sa.Integer()),
    sa.Column("disk_mb", sa.Integer()),
    document("options"),
    count("revision", default=1),
    moment("updated_at", now=True),
    sa.CheckConstraint("id ~ '^[a-z][a-z0-9-]{1,49}$'", name="id"),
    sa.CheckConstraint("max_concurrent BETWEEN 1 AND 50", name="max_concurrent"),
    sa.CheckConstraint("timeout_s BETWEEN 1 AND 3600", name="timeout"),
    sa.CheckConstraint("retry_attempts BETWEEN 0 AND 10", name="retry_attempts"),
    sa.Index("agents_tenant_id_category_idx", "tenant_id", "category", "id"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    key(),
    tenant(),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    text("filename"),
    count("size_bytes", wide=True),
    count("chunk_bytes"),
    count("received_bytes", wide=True),
    optional("sha256"),
    optional("media_type"),
    sa.Column("status", enum(UploadStatus, "upload_status"), nullable=False, server_default="initialized"),
    optional("path"),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    moment("completed_at"),
    sa.CheckConstraint("size_bytes > 0", name="size"),
    sa.CheckConstraint("chunk_bytes > 0", name="chunk"),
    sa.CheckConstraint("received_bytes BETWEEN 0 AND size_bytes", name="received"),
    sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
    sa.CheckConstraint("(status = 'completed') = (path IS NOT NULL)", name="path"),
    sa.Index("uploads_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("uploads_tenant_id_status_idx", "tenant_id", "status", "created_at", "id"),
    sa.Index(
        "uploads_expires_at_idx", "expires_at", postgresql_where=sa.text("status IN ('initialized', 'uploading')")
    ),
)

upload_chunks = sa.Table(
    "upload_chunks",
    metadata,
    sa.Column("upload_id", sa.Uuid(), sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("index", sa.Integer(), primary_key=True),
    tenant(),
    count("start", wide=True),
    count("bytes"),
    text("sha256"),
    moment("created_at", now=True),
    sa.CheckConstraint("index >= 0 AND start >= 0 AND bytes > 0", name="range"),
    sa.Index("upload_chunks_tenant_id_idx", "tenant_id"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    key(),
    tenant(),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    sa.Column("upload_id", sa.Uuid(), sa.ForeignKey("uploads.id", ondelete="SET NULL"), index=True),
    sa.Column("parent_job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="SET NULL"), index=True),
    optional("source_url"),
    text("title", default=""),
    text("workflow_type", default="video_processing"),
    text("queue", default="default"),
    document("options"),
    sa.Column("chain", pg.ARRAY(sa.Text()), nullable=False),
    sa.Column("status", enum(JobStatus, "job_status"), nullable=False, server_default="queued"),
    count("progress"),
    count("priority", default=5),
    optional("current_step"),
    optional("error_code"),
    optional("error_message"),
    count("attempt"),
    count("max_attempts", default=3),
    count("retry_count"),
    sa.Column("run_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    moment("lease_until"),
    count("fence", wide=True),
    optional("worker_id"),
    moment("cancel_requested_at"),
    moment("created_at", now=True),
    moment("started_at"),
    moment("completed_at"),
    moment("updated_at", now=True),
    sa.CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    sa.CheckConstraint("priority BETWEEN 0 AND 10", name="priority"),
    sa.CheckConstraint("cardinality(chain) >= 1", name="chain"),
    sa.CheckConstraint("attempt >= 0 AND max_attempts >= 1 AND retry_count >= 0", name="attempts"),
    sa.CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name="lease"),
    sa.CheckConstraint(
        "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)", name="completed"
    ),
    sa.Index("jobs_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("jobs_tenant_id_status_idx", "tenant_id", "status", "created_at", "id"),
    sa.Index("jobs_tenant_id_user_id_idx", "tenant_id", "user_id", "created_at", "id"),
    sa.Index("jobs_tenant_id_updated_at_idx", "tenant_id", "updated_at", "id"),
    sa.Index("jobs_tenant_id_completed_at_idx", "tenant_id", "completed_at"),
    sa.Index("jobs_failed_idx", "tenant_id", "completed_at", postgresql_where=sa.text("status = 'failed'")),
    sa.Index("jobs_tenant_id_priority_idx", "tenant_id", "priority", "created_at", "id"),
    sa.Index(
        "jobs_tenant_id_worker_id_idx",
        "tenant_id",
        "worker_id",
        "created_at",
        "id",
        postgresql_where=sa.text("worker_id IS NOT NULL"),
    ),
    sa.Index(
        "jobs_tenant_id_current_step_idx",
        "tenant_id",
        "current_step",
        "created_at",
        "id",
        postgresql_where=sa.text("current_step IS NOT NULL"),
    ),
    sa.Index(
        "jobs_turn_idx",
        "tenant_id",
        "queue",
        sa.text("priority DESC"),
        "run_at",
        "id",
        postgresql_where=sa.text("status = 'queued'"),
    ),
    sa.Index("jobs_tenant_id_started_at_idx", "tenant_id", "started_at"),
    sa.Index("jobs_lease_idx", "lease_until", postgresql_where=sa.text("status = 'processing'")),
)

processing_steps = sa.Table(
    "processing_steps",
    metadata,
    key(),
    tenant(),
    sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("ordinal", sa.SmallInteger(), nullable=False),
    text("agent_id"),
    sa.Column("status", enum(StepStatus, "step_status"), nullable=False, server_default="pending"),
    count("attempt"),
    sa.Column("progress", sa.Double(), nullable=False, server_default=sa.text("0")),
    optional("message"),
    sa.Column("output", pg.JSONB(none_as_null=True)),
    moment("started_at"),
    moment("finished_at"),
    sa.UniqueConstraint("job_id", "ordinal"),
    sa.CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
    sa.Index(
        "processing_steps_running_idx", "tenant_id", "agent_id", postgresql_where=sa.text("status = 'processing'")
    ),
    sa.Index("processing_steps_finished_idx", "tenant_id", "agent_id", "finished_at"),
)

clips = sa.Table(
    "clips",
    metadata,
    key(),
    tenant(),
    sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("ordinal", sa.SmallInteger(), nullable=False),
    text("title"),
    text("path"),
    optional("thumbnail_path"),
    measure("start_s", required=True),
    measure("end_s", required=True),
    measure("duration_s", required=True),
    sa.Column("width", sa.Integer(), nullable=False),
    sa.Column("height", sa.Integer(), nullable=False),
    count("size_bytes", wide=True),
    text("sha256"),
    measure("score", required=True),
    document("reasons", default="[]"),
    moment("created_at", now=True),
    sa.UniqueConstraint("job_id", "ordinal"),
    sa.CheckConstraint("duration_s > 0 AND end_s > start_s", name="duration"),
    sa.CheckConstraint("score BETWEEN 0 AND 100", name="score"),
    sa.Index("clips_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("clips_tenant_id_score_idx", "tenant_id", "score", "id"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    key(),
    tenant(),
    sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), index=True),
    sa.Column("kind", enum(ArtifactKind, "artifact_kind"), nullable=False),
    text("name"),
    text("path"),
    text("media_type"),
    count("size_bytes", wide=True),
    text("sha256"),
    moment("created_at", now=True),
    moment("expires_at"),
    sa.UniqueConstraint("job_id", "name"),
    sa.Index("artifacts_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    text("hostname"),
    count("pid"),
    text("version"),
    sa.Column("state", enum(WorkerState, "worker_state"), nullable=False),
    sa.Column("desired_state", enum(WorkerState, "worker_state"), nullable=False, server_default="active"),
    optional("name"),
    document("settings"),
    document("asked"),
    count("concurrency", default=1),
    sa.Column("current_jobs", pg.ARRAY(sa.Uuid()), nullable=False, server_default=sa.text("'{}'::uuid[]")),
    count("jobs_completed", wide=True),
    count("jobs_failed", wide=True),
    measure("cpu_percent"),
    measure("memory_mb"),
    moment("started_at", now=True),
    moment("heartbeat_at", now=True),
    sa.Index("workers_heartbeat_at_idx", "heartbeat_at", "id"),
)

queue_states = sa.Table(
    "queue_states",
    metadata,
    tenant(primary_key=True),
    flag("paused", default=False),
    moment("paused_until"),
    flag("refusing", default=False),
    moment("draining_until"),
    flag("stopped", default=False),
    optional("reason"),
    moment("changed_at", now=True),
    sa.Column("changed_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    sa.Index("queue_states_draining_idx", "draining_until", postgresql_where=sa.text("draining_until IS NOT NULL")),
)

job_gauges = sa.Table(
    "job_gauges",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    tenant(),
    sa.Column("status", enum(JobStatus, "job_status"), nullable=False),
    count("jobs", wide=True),
    optional("agent_id"),
    sa.Index("job_gauges_tenant_id_status_idx", "tenant_id", "status"),
)

job_hours = sa.Table(
    "job_hours",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    tenant(),
    sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
    sa.Column("status", enum(JobStatus, "job_status"), nullable=False),
    count("jobs", wide=True),
    measure("wait_s", required=True),
    measure("run_s", required=True),
    sa.Index("job_hours_tenant_id_hour_idx", "tenant_id", "hour", "status"),
)

step_hours = sa.Table(
    "step_hours",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    tenant(),
    sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
    text("agent_id"),
    sa.Column("status", enum(StepStatus, "step_status"), nullable=False),
    count("steps", wide=True),
    measure("run_s", required=True),
    sa.Index("step_hours_tenant_id_hour_idx", "tenant_id", "hour", "agent_id"),
)
