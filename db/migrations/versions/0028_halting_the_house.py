"""Holding all queues still for a while, beside what people decided about them."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, which belongs to no tenant; only the system role halts."""
    op.create_table(
        "halts",
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refusing", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("halts_one_check")),
        sa.PrimaryKeyConstraint("id", name="halts_pkey"),
    )
    op.execute("GRANT SELECT ON halts TO agentos_app, agentos_system")
    op.execute("GRANT INSERT, UPDATE, DELETE ON halts TO agentos_system")


def downgrade() -> None:
    """Let all queues go on."""
    op.drop_table("halts")
