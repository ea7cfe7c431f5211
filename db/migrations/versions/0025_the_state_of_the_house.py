"""The state of the house: maintenance, how queues are drained and stopped, and what workers have seen of it."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for what is decided about the whole house; only the system role decides it."""
    op.create_table(
        "house",
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), autoincrement=False, nullable=False),
        sa.Column("maintenance", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("house_one_check")),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name="house_changed_by_fkey", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="house_pkey"),
    )
    op.create_index("house_changed_by_idx", "house", ["changed_by"])
    op.execute("GRANT SELECT ON house TO agentos_app, agentos_system")
    op.execute("GRANT INSERT, UPDATE, DELETE ON house TO agentos_system")
    op.create_table(
        "queue_acknowledgements",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["workers.id"], name="queue_acknowledgements_worker_id_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("worker_id", name="queue_acknowledgements_pkey"),
    )
    op.execute("GRANT SELECT ON queue_acknowledgements TO agentos_app, agentos_system")
    op.execute("GRANT INSERT, UPDATE, DELETE ON queue_acknowledgements TO agentos_system")
    op.add_column("queue_states", sa.Column("draining_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("queue_states", sa.Column("stopped", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index(
        "queue_states_draining_idx",
        "queue_states",
        ["draining_until"],
        postgresql_where=sa.text("draining_until IS NOT NULL"),
    )


def downgrade() -> None:
    """Forget it; a queue that was paused stays so."""
    op.drop_index("queue_states_draining_idx", table_name="queue_states")
    op.drop_column("queue_states", "stopped")
    op.drop_column("queue_states", "draining_until")
    op.drop_table("queue_acknowledgements")
    op.drop_table("house")
