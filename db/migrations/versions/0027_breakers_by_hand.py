"""Breakers by hand: what people decided about them; and how an answer that is kept ended."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, which belongs to no tenant; say more of the answers."""
    op.create_table(
        "breakers",
        sa.Column("dependency", sa.Text(), nullable=False),
        sa.Column("isolated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name="breakers_changed_by_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("dependency", name="breakers_pkey"),
    )
    op.create_index("breakers_changed_by_idx", "breakers", ["changed_by"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON breakers TO agentos_app, agentos_system")
    op.add_column("replays", sa.Column("code", sa.Text(), nullable=True))
    op.add_column("replays", sa.Column("settling_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Forget what was decided."""
    op.drop_column("replays", "settling_until")
    op.drop_column("replays", "code")
    op.drop_table("breakers")
