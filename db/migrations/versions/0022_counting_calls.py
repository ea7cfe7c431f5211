"""Counting calls: critical limits and lockouts, which outlive Redis."""

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Counting calls: critical limits and lockouts, which outlive Redis."""


def downgrade() -> None:
    """Take it back."""
