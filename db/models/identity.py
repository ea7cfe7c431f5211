"""Who there is: tenants, their users, and the refresh tokens that keep a person signed in."""

import sqlalchemy as sa

from db.models.columns import count, document, enum, key, metadata, moment, optional, tenant, text
from db.roles import DEFAULT_TENANT as DEFAULT_TENANT
from db.roles import Role as Role

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    text("name"),
    moment("created_at", now=True),
    sa.CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="id"),
)

users = sa.Table(
    "users",
    metadata,
    key(),
    tenant(),
    text("email"),
    text("name"),
    sa.Column("role", enum(Role, "role"), nullable=False),
    optional("password_hash"),
    count("token_version", default=1),
    document("preferences"),
    moment("created_at", now=True),
    moment("last_login_at"),
    moment("disabled_at"),
    sa.UniqueConstraint("tenant_id", "email"),
    sa.CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name="email"),
    sa.CheckConstraint("length(name) <= 200", name="name"),
)

refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    key(),
    tenant(),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("family", sa.Uuid(), nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
    sa.Column("sealed_successor", sa.LargeBinary(), nullable=True),
    moment("created_at", now=True),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    moment("rotated_at"),
    moment("revoked_at"),
    sa.CheckConstraint("length(digest) = 32", name="digest"),
    sa.Index("refresh_tokens_tenant_id_idx", "tenant_id"),
)
