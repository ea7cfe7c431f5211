"""Circuit breakers: what people decided about them, for every process to obey."""

import sqlalchemy as sa

from db.models.columns import count, flag, metadata, moment, optional

breakers = sa.Table(
    "breakers",
    metadata,
    sa.Column("dependency", sa.Text(), primary_key=True),
    flag("isolated", default=False),
    optional("reason"),
    sa.Column("changed_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    count("version", default=1),
    moment("changed_at", now=True),
)
