"""Counting calls: critical limits and lockouts, which outlive Redis."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"
WALLED = ("calls", "denials")


def upgrade() -> None:
    """Make the tables; who has failed to sign in is known to the system alone, for nobody is of a tenant yet."""
    op.create_table(
        "calls",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        _moments("taken"),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="calls_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="calls_pkey"),
    )
    op.create_index("calls_changed_at_idx", "calls", ["changed_at"])
    op.create_table(
        "denials",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        _moments("refused"),
        sa.Column("traces", pg.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="denials_tenant_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="denials_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name="denials_pkey"),
    )
    op.create_index("denials_user_id_idx", "denials", ["user_id"])
    op.create_table(
        "lockouts",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        _moments("failures"),
        sa.Column("locks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(subject) = 32", name=op.f("lockouts_subject_check")),
        sa.PrimaryKeyConstraint("subject", name="lockouts_pkey"),
    )
    op.create_index("lockouts_changed_at_idx", "lockouts", ["changed_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lockouts TO agentos_system")
    for table in WALLED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
        op.execute(f"CREATE POLICY everybody ON {table} TO agentos_system USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO agentos_app, agentos_system")


def downgrade() -> None:
    """Forget what was counted."""
    op.drop_table("lockouts")
    op.drop_table("denials")
    op.drop_table("calls")


def _moments(name: str) -> "sa.Column[list[int]]":
    return sa.Column(name, pg.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'::bigint[]"), nullable=False)
