"""What is counted where nothing forgets it: critical calls, refusals of people's actions, failed sign-ins."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import count, metadata, moment, tenant


def moments(name: str) -> sa.Column[list[int]]:
    """When something happened, oldest first, in microseconds since the epoch by PostgreSQL's clock."""
    return sa.Column(name, pg.ARRAY(sa.BigInteger()), nullable=False, server_default=sa.text("'{}'::bigint[]"))


calls = sa.Table(
    "calls",
    metadata,
    tenant(primary_key=True),
    sa.Column("key", sa.Text(), primary_key=True),
    moments("taken"),
    moment("changed_at", now=True),
    sa.Index("calls_changed_at_idx", "changed_at"),
)

denials = sa.Table(
    "denials",
    metadata,
    tenant(primary_key=True),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    moments("refused"),
    sa.Column("traces", pg.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'::text[]")),
    moment("alerted_at"),
)

lockouts = sa.Table(
    "lockouts",
    metadata,
    sa.Column("subject", sa.LargeBinary(), primary_key=True),
    moments("failures"),
    count("locks"),
    moment("locked_until"),
    moment("known_at"),
    moment("changed_at", now=True),
    sa.CheckConstraint("length(subject) = 32", name="subject"),
    sa.Index("lockouts_changed_at_idx", "changed_at"),
)
