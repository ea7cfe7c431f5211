"""What is desired of processes, and what was observed of them; queues for jobs, and what workers are given."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

ENUMS = {
    "wish": pg.ENUM("running", "stopped", name="wish", create_type=False),
    "process_state": pg.ENUM("running", "waiting", "stopping", "stopped", name="process_state", create_type=False),
    "asset_target": pg.ENUM("templates", "wordlists", "models", name="asset_target", create_type=False),
    "trial_state": pg.ENUM("waiting", "running", "passed", "failed", "skipped", name="trial_state", create_type=False),
}
TABLES = ("supervisor", "services", "processes", "worker_profiles", "worker_assets", "agent_trials")
OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"
QUEUED = sa.text("status = 'queued'")
NOW = sa.text("now()")
ZERO = sa.text("0")


def upgrade() -> None:
    """Make the tables, give jobs a queue and workers a name."""
    for kind in ENUMS.values():
        kind.create(op.get_bind())
    _control()
    _given_to_workers()
    op.execute("ALTER TABLE agent_trials ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE agent_trials FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON agent_trials TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
    op.execute("CREATE POLICY everybody ON agent_trials TO agentos_system USING (true) WITH CHECK (true)")
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO agentos_app, agentos_system")
    op.add_column("workers", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("settings", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column("workers", sa.Column("asked", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column("jobs", sa.Column("queue", sa.Text(), server_default="default", nullable=False))
    op.drop_index("jobs_turn_idx", table_name="jobs")
    op.create_index(
        "jobs_turn_idx",
        "jobs",
        ["tenant_id", "queue", sa.literal_column("priority DESC"), "run_at", "id"],
        postgresql_where=QUEUED,
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("jobs_turn_idx", table_name="jobs")
    op.create_index(
        "jobs_turn_idx",
        "jobs",
        ["tenant_id", sa.literal_column("priority DESC"), "run_at", "id"],
        postgresql_where=QUEUED,
    )
    op.drop_column("jobs", "queue")
    for column in ("asked", "settings", "name"):
        op.drop_column("workers", column)
    for table in reversed(TABLES):
        op.drop_table(table)
    for kind in ENUMS.values():
        kind.drop(op.get_bind())


def _control() -> None:
    op.create_table(
        "supervisor",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("stop_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("single", name=op.f("supervisor_single_check")),
        sa.PrimaryKeyConstraint("single", name="supervisor_pkey"),
    )
    op.create_table(
        "services",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("desired", ENUMS["wish"], server_default="running", nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("name", name="services_pkey"),
    )
    op.create_table(
        "processes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("desired", ENUMS["wish"], server_default="running", nullable=False),
        sa.Column("settings", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("renewals", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("rolling", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("patience_s", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("kill_pid", sa.Integer(), nullable=True),
        sa.Column("seen_generation", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("renewed", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("state", ENUMS["process_state"], server_default="stopped", nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("restarts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("cpu", sa.Double(), nullable=True),
        sa.Column("rss", sa.BigInteger(), nullable=True),
        sa.Column("requeued", pg.ARRAY(sa.Uuid()), server_default=sa.text("'{}'::uuid[]"), nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9-]{1,50}$'", name=op.f("processes_name_check")),
        sa.CheckConstraint("patience_s >= 0", name=op.f("processes_patience_check")),
        sa.ForeignKeyConstraint(["service"], ["services.name"], name="processes_service_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", name="processes_pkey"),
    )
    op.create_index("processes_service_idx", "processes", ["service"])


def _given_to_workers() -> None:
    op.create_table(
        "worker_profiles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("chain", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("concurrency", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("timeout_s", sa.Integer(), server_default=sa.text("900"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9-]{1,32}$'", name=op.f("worker_profiles_name_check")),
        sa.CheckConstraint("cardinality(chain) >= 1", name=op.f("worker_profiles_chain_check")),
        sa.CheckConstraint("concurrency BETWEEN 1 AND 16", name=op.f("worker_profiles_concurrency_check")),
        sa.CheckConstraint("timeout_s BETWEEN 10 AND 3600", name=op.f("worker_profiles_timeout_check")),
        sa.PrimaryKeyConstraint("id", name="worker_profiles_pkey"),
        sa.UniqueConstraint("name", name="worker_profiles_name_key"),
    )
    op.create_table(
        "worker_assets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("target", ENUMS["asset_target"], nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="worker_assets_pkey"),
        sa.UniqueConstraint("target", "name", "version", name="worker_assets_target_name_version_key"),
    )
    op.create_index("worker_assets_path_idx", "worker_assets", ["path"])
    op.create_table(
        "agent_trials",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("options", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("state", ENUMS["trial_state"], server_default="waiting", nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("output", pg.JSONB(none_as_null=True), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="agent_trials_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="agent_trials_pkey"),
    )
    op.create_index("agent_trials_tenant_id_created_at_idx", "agent_trials", ["tenant_id", "created_at"])
    op.create_index(
        "agent_trials_waiting_idx", "agent_trials", ["created_at"], postgresql_where=sa.text("state = 'waiting'")
    )
