"""Finding what refers to a user or a tenant, and the jobs of one worker or one agent, without reading a whole table."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what is looked for and was not."""
    op.create_index("refresh_tokens_tenant_id_idx", "refresh_tokens", ["tenant_id"])
    op.create_index("upload_chunks_tenant_id_idx", "upload_chunks", ["tenant_id"])
    op.create_index("config_versions_changed_by_idx", "config_versions", ["changed_by"])
    op.create_index("queue_states_changed_by_idx", "queue_states", ["changed_by"])
    for column in ("worker_id", "current_step"):
        op.create_index(
            f"jobs_tenant_id_{column}_idx",
            "jobs",
            ["tenant_id", column, "created_at", "id"],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )


def downgrade() -> None:
    """Forget the indexes."""
    for column in ("current_step", "worker_id"):
        op.drop_index(f"jobs_tenant_id_{column}_idx", table_name="jobs")
    op.drop_index("queue_states_changed_by_idx", table_name="queue_states")
    op.drop_index("config_versions_changed_by_idx", table_name="config_versions")
    op.drop_index("upload_chunks_tenant_id_idx", table_name="upload_chunks")
    op.drop_index("refresh_tokens_tenant_id_idx", table_name="refresh_tokens")
