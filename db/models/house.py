"""The state of the house as a whole: whether it is worked on or halted, and which decisions its workers have seen."""

import sqlalchemy as sa

from db.models.columns import flag, metadata, moment, optional

house = sa.Table(
    "house",
    metadata,
    sa.Column("id", sa.SmallInteger(), primary_key=True, server_default=sa.text("1"), autoincrement=False),
    flag("maintenance", default=False),
    optional("message"),
    moment("until"),
    moment("changed_at", now=True),
    sa.Column("changed_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    sa.CheckConstraint("id = 1", name="one"),
)

queue_acknowledgements = sa.Table(
    "queue_acknowledgements",
    metadata,
    sa.Column("worker_id", sa.Text(), sa.ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
)

halts = sa.Table(
    "halts",
    metadata,
    sa.Column("id", sa.SmallInteger(), primary_key=True, server_default=sa.text("1"), autoincrement=False),
    sa.Column("holder", sa.Uuid(), nullable=False),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    flag("refusing", default=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.CheckConstraint("id = 1", name="one"),
)
