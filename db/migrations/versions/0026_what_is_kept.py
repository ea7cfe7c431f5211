"""What is kept beside the work: backups, reports, assets."""

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is kept beside the work: backups, reports, assets."""


def downgrade() -> None:
    """Take it back."""
