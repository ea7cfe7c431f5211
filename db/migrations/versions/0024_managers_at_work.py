"""Managers at work: what each is asked to be, and how its rounds went."""

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Managers at work: what each is asked to be, and how its rounds went."""


def downgrade() -> None:
    """Take it back."""
