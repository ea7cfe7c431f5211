"""Managers at work: what each is asked to be, and how its rounds went."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

IDS = ("snapshot", "queue", "agents", "analytics", "database", "upload", "cleanup", "audit")
ENUMS = {
    "manager_id": pg.ENUM(*IDS, name="manager_id", create_type=False),
    "manager_wish": pg.ENUM("running", "stopped", "killed", name="manager_wish", create_type=False),
    "manager_state": pg.ENUM("running", "stopping", "stopped", "failed", name="manager_state", create_type=False),
}
TABLES = ("managers", "manager_runs", "manager_minutes")
NOW = sa.text("now()")


def upgrade() -> None:
    """Make the tables; they belong to no tenant."""
    for kind in ENUMS.values():
        kind.create(op.get_bind())
    op.create_table(
        "managers",
        sa.Column("id", ENUMS["manager_id"], nullable=False),
        sa.Column("wish", ENUMS["manager_wish"], server_default="running", nullable=False),
        sa.Column("every_s", sa.Double(), nullable=True),
        sa.Column("options", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("resets", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("every_s BETWEEN 1 AND 3600", name=op.f("managers_every_s_check")),
        sa.PrimaryKeyConstraint("id", name="managers_pkey"),
    )
    op.create_table(
        "manager_runs",
        sa.Column("manager", ENUMS["manager_id"], nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("state", ENUMS["manager_state"], nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rounds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_round_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("manager", "process", name="manager_runs_pkey"),
    )
    op.create_index("manager_runs_heartbeat_at_idx", "manager_runs", ["heartbeat_at"])
    op.create_table(
        "manager_minutes",
        sa.Column("manager", ENUMS["manager_id"], nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("rounds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("took", pg.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint("manager", "minute", "process", name="manager_minutes_pkey"),
    )
    op.create_index("manager_minutes_minute_idx", "manager_minutes", ["minute"])
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO agentos_app, agentos_system")


def downgrade() -> None:
    """Forget them."""
    for table in reversed(TABLES):
        op.drop_table(table)
    for kind in reversed(ENUMS.values()):
        kind.drop(op.get_bind())
