"""The audit trail: chained, anchored, owned by nobody who writes it."""

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The audit trail: chained, anchored, owned by nobody who writes it."""


def downgrade() -> None:
    """Take it back."""
