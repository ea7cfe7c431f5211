"""The state of the house: maintenance, and what it refuses meanwhile."""

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The state of the house: maintenance, and what it refuses meanwhile."""


def downgrade() -> None:
    """Take it back."""
