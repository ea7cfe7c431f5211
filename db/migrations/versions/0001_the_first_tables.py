"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from db.models.columns import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


AGENT_CATEGORY = postgresql.ENUM(
    "input", "audio", "analysis", "editing", "content", name="agent_category", create_type=False
)
AGENT_PRIORITY = postgresql.ENUM("low", "normal", "high", name="agent_priority", create_type=False)
ARTIFACT_KIND = postgresql.ENUM(
    "captions", "script", "posts", "voiceover", "report", name="artifact_kind", create_type=False
)
JOB_STATUS = postgresql.ENUM(
    "queued", "processing", "completed", "failed", "cancelled", name="job_status", create_type=False
)
ROLE = postgresql.ENUM("admin", "operator", "supervisor", "user", "readonly", name="role", create_type=False)
SEVERITY = postgresql.ENUM("debug", "info", "warning", "error", "critical", name="severity", create_type=False)
STEP_STATUS = postgresql.ENUM(
    "pending", "processing", "completed", "failed", "skipped", "cancelled", name="step_status", create_type=False
)
UPLOAD_STATUS = postgresql.ENUM(
    "initialized", "uploading", "completed", "expired", name="upload_status", create_type=False
)
WORKER_STATE = postgresql.ENUM(
    "idle", "active", "paused", "draining", "stopped", name="worker_state", create_type=False
)
ENUMS = (
    AGENT_CATEGORY,
    AGENT_PRIORITY,
    ARTIFACT_KIND,
    JOB_STATUS,
    ROLE,
    SEVERITY,
    STEP_STATUS,
    UPLOAD_STATUS,
    WORKER_STATE,
)


def upgrade() -> None:
    """The first tables."""
    for kind in ENUMS:
        kind.create(op.get_bind())
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("tenants_id_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pkey")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("state", WORKER_STATE, nullable=False),
        sa.Column("desired_state", WORKER_STATE, server_default="active", nullable=False),
        sa.Column("concurrency", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("current_jobs", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'::uuid[]"), nullable=False),
        sa.Column("jobs_completed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("jobs_failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cpu_percent", sa.Double(), nullable=True),
        sa.Column("memory_mb", sa.Double(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
    )
    op.create_index("workers_heartbeat_at_idx", "workers", ["heartbeat_at", "id"], unique=False)
    op.create_table(
        "agents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("implementation", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("category", AGENT_CATEGORY, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("auto_start", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("max_concurrent", sa.Integer(), server_default=sa.text("4"), nullable=False),
        sa.Column("timeout_s", sa.Integer(), server_default=sa.text("900"), nullable=False),
        sa.Column("retry_attempts", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("priority", AGENT_PRIORITY, server_default="normal", nullable=False),
        sa.Column("memory_mb", sa.Integer(), nullable=True),
        sa.Column("cpu_cores", sa.Integer(), nullable=True),
        sa.Column("disk_mb", sa.Integer(), nullable=True),
        sa.Column(
            "options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id ~ '^[a-z][a-z0-9-]{1,49}$'", name=op.f("agents_id_check")),
        sa.CheckConstraint("max_concurrent BETWEEN 1 AND 50", name=op.f("agents_max_concurrent_check")),
        sa.CheckConstraint("retry_attempts BETWEEN 0 AND 10", name=op.f("agents_retry_attempts_check")),
        sa.CheckConstraint("timeout_s BETWEEN 1 AND 3600", name=op.f("agents_timeout_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("agents_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("agents_pkey")),
    )
    op.create_index("agents_tenant_id_category_idx", "agents", ["tenant_id", "category", "id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("audit_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index("audit_tenant_id_created_at_idx", "audit", ["tenant_id", "created_at", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("events_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pkey")),
    )
    op.create_index("events_tenant_id_created_at_idx", "events", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index("events_tenant_id_xid_idx", "events", ["tenant_id", "xid", "id"], unique=False)
    op.create_index("events_xid_idx", "events", ["xid", "id"], unique=False)
    op.create_table(
        "job_gauges",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("status", JOB_STATUS, nullable=False),
        sa.Column("jobs", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("job_gauges_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("job_gauges_pkey")),
    )
    op.create_index("job_gauges_tenant_id_status_idx", "job_gauges", ["tenant_id", "status"], unique=False)
    op.create_table(
        "job_hours",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", JOB_STATUS, nullable=False),
        sa.Column("jobs", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("wait_s", sa.Double(), nullable=False),
        sa.Column("run_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("job_hours_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("job_hours_pkey")),
    )
    op.create_index("job_hours_tenant_id_hour_idx", "job_hours", ["tenant_id", "hour", "status"], unique=False)
    op.create_table(
        "logs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("level", SEVERITY, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), server_default="application", nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("logs_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("logs_pkey")),
    )
    op.create_index("logs_tenant_id_created_at_idx", "logs", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index("logs_tenant_id_level_idx", "logs", ["tenant_id", "level", "created_at", "id"], unique=False)
    op.create_index("logs_tenant_id_source_idx", "logs", ["tenant_id", "source", "created_at", "id"], unique=False)
    op.create_table(
        "system_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", SEVERITY, server_default="info", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("system_events_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("system_events_pkey")),
    )
    op.create_index(
        "system_events_tenant_id_created_at_idx", "system_events", ["tenant_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "system_events_tenant_id_severity_idx",
        "system_events",
        ["tenant_id", "severity", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", ROLE, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("token_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "preferences",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name=op.f("users_email_check")),
        sa.CheckConstraint("length(name) <= 200", name=op.f("users_name_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("users_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("tenant_id", "email", name=op.f("users_tenant_id_email_key")),
    )
    op.create_table(
        "config_versions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("config_versions_version_check")),
        sa.ForeignKeyConstraint(
            ["changed_by"], ["users.id"], name=op.f("config_versions_changed_by_fkey"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("config_versions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "version", name=op.f("config_versions_pkey")),
    )
    op.create_table(
        "queue_states",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refusing", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["changed_by"], ["users.id"], name=op.f("queue_states_changed_by_fkey"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("queue_states_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("queue_states_pkey")),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("family", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_successor", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(digest) = 32", name=op.f("refresh_tokens_digest_check")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("refresh_tokens_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("refresh_tokens_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("refresh_tokens_pkey")),
        sa.UniqueConstraint("digest", name=op.f("refresh_tokens_digest_key")),
    )
    op.create_index(op.f("refresh_tokens_family_idx"), "refresh_tokens", ["family"], unique=False)
    op.create_index(op.f("refresh_tokens_user_id_idx"), "refresh_tokens", ["user_id"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("chunk_bytes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("received_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("status", UPLOAD_STATUS, server_default="initialized", nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'completed') = (path IS NOT NULL)", name=op.f("uploads_path_check")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("uploads_sha256_check")),
        sa.CheckConstraint("chunk_bytes > 0", name=op.f("uploads_chunk_check")),
        sa.CheckConstraint("received_bytes BETWEEN 0 AND size_bytes", name=op.f("uploads_received_check")),
        sa.CheckConstraint("size_bytes > 0", name=op.f("uploads_size_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("uploads_tenant_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("uploads_user_id_fkey"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("uploads_pkey")),
    )
    op.create_index(
        "uploads_expires_at_idx",
        "uploads",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('initialized', 'uploading')"),
    )
    op.create_index("uploads_tenant_id_created_at_idx", "uploads", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index(
        "uploads_tenant_id_status_idx", "uploads", ["tenant_id", "status", "created_at", "id"], unique=False
    )
    op.create_index(op.f("uploads_user_id_idx"), "uploads", ["user_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("upload_id", sa.Uuid(), nullable=True),
        sa.Column("parent_job_id", sa.Uuid(), nullable=True),
        sa.Column("source_url", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("workflow_type", sa.Text(), server_default="video_processing", nullable=False),
        sa.Column(
            "options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("chain", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("status", JOB_STATUS, server_default="queued", nullable=False),
        sa.Column("progress", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("5"), nullable=False),
        sa.Column("current_step", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("3"), nullable=False),
        sa.Column("retry_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name=op.f("jobs_lease_check")),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name=op.f("jobs_completed_check"),
        ),
        sa.CheckConstraint("attempt >= 0 AND max_attempts >= 1 AND retry_count >= 0", name=op.f("jobs_attempts_check")),
        sa.CheckConstraint("cardinality(chain) >= 1", name=op.f("jobs_chain_check")),
        sa.CheckConstraint("priority BETWEEN 0 AND 10", name=op.f("jobs_priority_check")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("jobs_progress_check")),
        sa.ForeignKeyConstraint(
            ["parent_job_id"], ["jobs.id"], name=op.f("jobs_parent_job_id_fkey"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("jobs_tenant_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("jobs_upload_id_fkey"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("jobs_user_id_fkey"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
    )
    op.create_index(
        "jobs_claim_idx",
        "jobs",
        [sa.literal_column("priority DESC"), "run_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "jobs_lease_idx", "jobs", ["lease_until"], unique=False, postgresql_where=sa.text("status = 'processing'")
    )
    op.create_index(op.f("jobs_parent_job_id_idx"), "jobs", ["parent_job_id"], unique=False)
    op.create_index("jobs_tenant_id_completed_at_idx", "jobs", ["tenant_id", "completed_at"], unique=False)
    op.create_index("jobs_tenant_id_created_at_idx", "jobs", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index("jobs_tenant_id_priority_idx", "jobs", ["tenant_id", "priority", "created_at", "id"], unique=False)
    op.create_index("jobs_tenant_id_status_idx", "jobs", ["tenant_id", "status", "created_at", "id"], unique=False)
    op.create_index("jobs_tenant_id_updated_at_idx", "jobs", ["tenant_id", "updated_at", "id"], unique=False)
    op.create_index("jobs_tenant_id_user_id_idx", "jobs", ["tenant_id", "user_id", "created_at", "id"], unique=False)
    op.create_index(op.f("jobs_upload_id_idx"), "jobs", ["upload_id"], unique=False)
    op.create_index(op.f("jobs_user_id_idx"), "jobs", ["user_id"], unique=False)
    op.create_table(
        "upload_chunks",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("index >= 0 AND start >= 0 AND bytes > 0", name=op.f("upload_chunks_range_check")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("upload_chunks_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("upload_chunks_upload_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "index", name=op.f("upload_chunks_pkey")),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("kind", ARTIFACT_KIND, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("artifacts_job_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("artifacts_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("artifacts_pkey")),
        sa.UniqueConstraint("job_id", "name", name=op.f("artifacts_job_id_name_key")),
    )
    op.create_index(op.f("artifacts_job_id_idx"), "artifacts", ["job_id"], unique=False)
    op.create_index("artifacts_tenant_id_created_at_idx", "artifacts", ["tenant_id", "created_at", "id"], unique=False)
    op.create_table(
        "clips",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("thumbnail_path", sa.Text(), nullable=True),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column(
            "reasons", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("duration_s > 0 AND end_s > start_s", name=op.f("clips_duration_check")),
        sa.CheckConstraint("score BETWEEN 0 AND 100", name=op.f("clips_score_check")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("clips_job_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("clips_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("clips_pkey")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("clips_job_id_ordinal_key")),
    )
    op.create_index("clips_tenant_id_created_at_idx", "clips", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index("clips_tenant_id_score_idx", "clips", ["tenant_id", "score", "id"], unique=False)
    op.create_table(
        "processing_steps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("status", STEP_STATUS, server_default="pending", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("progress", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("output", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("processing_steps_progress_check")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("processing_steps_job_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("processing_steps_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("processing_steps_pkey")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("processing_steps_job_id_ordinal_key")),
    )
    op.create_index(
        "processing_steps_finished_idx", "processing_steps", ["tenant_id", "agent_id", "finished_at"], unique=False
    )
    op.create_index(
        "processing_steps_running_idx",
        "processing_steps",
        ["tenant_id", "agent_id"],
        unique=False,
        postgresql_where=sa.text("status = 'processing'"),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_index(
        "processing_steps_running_idx", table_name="processing_steps", postgresql_where=sa.text("status = 'processing'")
    )
    op.drop_index("processing_steps_finished_idx", table_name="processing_steps")
    op.drop_table("processing_steps")
    op.drop_index("clips_tenant_id_score_idx", table_name="clips")
    op.drop_index("clips_tenant_id_created_at_idx", table_name="clips")
    op.drop_table("clips")
    op.drop_index("artifacts_tenant_id_created_at_idx", table_name="artifacts")
    op.drop_index(op.f("artifacts_job_id_idx"), table_name="artifacts")
    op.drop_table("artifacts")
    op.drop_table("upload_chunks")
    op.drop_index(op.f("jobs_user_id_idx"), table_name="jobs")
    op.drop_index(op.f("jobs_upload_id_idx"), table_name="jobs")
    op.drop_index("jobs_tenant_id_user_id_idx", table_name="jobs")
    op.drop_index("jobs_tenant_id_updated_at_idx", table_name="jobs")
    op.drop_index("jobs_tenant_id_status_idx", table_name="jobs")
    op.drop_index("jobs_tenant_id_priority_idx", table_name="jobs")
    op.drop_index("jobs_tenant_id_created_at_idx", table_name="jobs")
    op.drop_index("jobs_tenant_id_completed_at_idx", table_name="jobs")
    op.drop_index(op.f("jobs_parent_job_id_idx"), table_name="jobs")
    op.drop_index("jobs_lease_idx", table_name="jobs", postgresql_where=sa.text("status = 'processing'"))
    op.drop_index("jobs_claim_idx", table_name="jobs", postgresql_where=sa.text("status = 'queued'"))
    op.drop_table("jobs")
    op.drop_index(op.f("uploads_user_id_idx"), table_name="uploads")
    op.drop_index("uploads_tenant_id_status_idx", table_name="uploads")
    op.drop_index("uploads_tenant_id_created_at_idx", table_name="uploads")
    op.drop_index(
        "uploads_expires_at_idx",
        table_name="uploads",
        postgresql_where=sa.text("status IN ('initialized', 'uploading')"),
    )
    op.drop_table("uploads")
    op.drop_index(op.f("refresh_tokens_user_id_idx"), table_name="refresh_tokens")
    op.drop_index(op.f("refresh_tokens_family_idx"), table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_table("queue_states")
    op.drop_table("config_versions")
    op.drop_table("users")
    op.drop_index("system_events_tenant_id_severity_idx", table_name="system_events")
    op.drop_index("system_events_tenant_id_created_at_idx", table_name="system_events")
    op.drop_table("system_events")
    op.drop_index("logs_tenant_id_source_idx", table_name="logs")
    op.drop_index("logs_tenant_id_level_idx", table_name="logs")
    op.drop_index("logs_tenant_id_created_at_idx", table_name="logs")
    op.drop_table("logs")
    op.drop_index("job_hours_tenant_id_hour_idx", table_name="job_hours")
    op.drop_table("job_hours")
    op.drop_index("job_gauges_tenant_id_status_idx", table_name="job_gauges")
    op.drop_table("job_gauges")
    op.drop_index("events_xid_idx", table_name="events")
    op.drop_index("events_tenant_id_xid_idx", table_name="events")
    op.drop_index("events_tenant_id_created_at_idx", table_name="events")
    op.drop_table("events")
    op.drop_index("audit_tenant_id_created_at_idx", table_name="audit")
    op.drop_table("audit")
    op.drop_index("agents_tenant_id_category_idx", table_name="agents")
    op.drop_table("agents")
    op.drop_index("workers_heartbeat_at_idx", table_name="workers")
    op.drop_table("workers")
    op.drop_table("tenants")
    for kind in reversed(ENUMS):
        kind.drop(op.get_bind())
