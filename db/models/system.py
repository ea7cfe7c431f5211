"""How the system is set: configuration, one row for each version that ever was in force."""

import sqlalchemy as sa

from db.models.columns import document, metadata, moment, tenant, text

config_versions = sa.Table(
    "config_versions",
    metadata,
    tenant(primary_key=True),
    sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
    document("settings"),
    text("reason", default=""),
    sa.Column("changed_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    moment("created_at", now=True),
    sa.CheckConstraint("version >= 1", name="version"),
)
