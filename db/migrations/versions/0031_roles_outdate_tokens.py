"""A user of another role, or of another tenant, is somebody else: the tokens they hold say what they were.

A trigger sees to it, whoever makes the change, so that open sockets and streams end with it as they do when somebody
is signed out.
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

OUTDATED = """
CREATE FUNCTION outdate_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.token_version := OLD.token_version + 1;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Have the version of a user's tokens rise with their role and their tenant."""
    op.execute(OUTDATED)
    op.execute(
        "CREATE TRIGGER outdate_tokens BEFORE UPDATE OF role, tenant_id ON users FOR EACH ROW "
        # Who sets the version as well, as a restore does, knows what it is.
        "WHEN (NEW.token_version = OLD.token_version AND (OLD.role, OLD.tenant_id) <> (NEW.role, NEW.tenant_id)) "
        "EXECUTE FUNCTION outdate_tokens()"
    )


def downgrade() -> None:
    """Leave the tokens of who has another role as they are."""
    op.execute("DROP TRIGGER outdate_tokens ON users")
    op.execute("DROP FUNCTION outdate_tokens()")
