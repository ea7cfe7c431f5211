"""What is desired of processes, and what was observed of them."""

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is desired of processes, and what was observed of them."""


def downgrade() -> None:
    """Take it back."""
