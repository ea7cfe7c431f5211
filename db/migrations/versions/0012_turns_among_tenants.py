"""Turns among tenants: the queue of each is read by itself, and who was served last is found without a search."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    """Order each tenant's queue, and its beginnings."""
    op.drop_index("jobs_claim_idx", table_name="jobs")
    op.create_index(
        "jobs_turn_idx",
        "jobs",
        ["tenant_id", sa.literal_column("priority DESC"), "run_at", "id"],
        postgresql_where=QUEUED,
    )
    op.create_index("jobs_tenant_id_started_at_idx", "jobs", ["tenant_id", "started_at"])


def downgrade() -> None:
    """One queue for all."""
    op.drop_index("jobs_tenant_id_started_at_idx", table_name="jobs")
    op.drop_index("jobs_turn_idx", table_name="jobs")
    op.create_index(
        "jobs_claim_idx", "jobs", [sa.literal_column("priority DESC"), "run_at", "id"], postgresql_where=QUEUED
    )
