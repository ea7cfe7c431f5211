"""Calls known again: answers kept under idempotency keys, and operations that outlive their call."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0020"
down_revision = "0012"
branch_labels = None
depends_on = None

STATE = pg.ENUM("running", "done", "failed", "interrupted", name="operation_state", create_type=False)
OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"
TABLES = ("replays", "operations")


def upgrade() -> None:
    """Make both tables, behind the walls."""
    STATE.create(op.get_bind())
    op.create_table(
        "replays",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(fingerprint) = 32", name=op.f("replays_fingerprint_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="replays_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "principal", "key", name="replays_pkey"),
    )
    op.create_index("replays_created_at_idx", "replays", ["created_at"])
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("state", STATE, server_default="running", nullable=False),
        sa.Column("progress", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("result", pg.JSONB(none_as_null=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("operations_progress_check")),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name="operations_actor_id_fkey", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="operations_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="operations_pkey"),
    )
    op.create_index("operations_actor_id_idx", "operations", ["actor_id"])
    op.create_index("operations_tenant_id_created_at_idx", "operations", ["tenant_id", "created_at", "id"])
    op.create_index(
        "operations_lease_idx", "operations", ["lease_until"], postgresql_where=sa.text("state = 'running'")
    )
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
        op.execute(f"CREATE POLICY everybody ON {table} TO agentos_system USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO agentos_app, agentos_system")


def downgrade() -> None:
    """Forget both."""
    op.drop_table("operations")
    op.drop_table("replays")
    STATE.drop(op.get_bind())
