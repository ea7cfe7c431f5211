"""The audit trail, and who its entries are about.

What the trail keeps of itself (heads, anchors, checkpoints, the partitions) is in a schema of its own and belongs to
`agentos_audit`, as the trail does; nobody signs in as that role, and none of the roles that act is a member of it.
"""

from typing import Any, Final

import sqlalchemy as sa

from db.models.columns import document, metadata, moment, optional, tenant, text

SCHEMA: Final = "audit_trail"


def _whose() -> sa.Column[str]:
    """Without a reference: what a tenant did stays on record when the tenant is gone."""
    return sa.Column("tenant_id", sa.Text(), nullable=False)


def _digest(name: str, *, required: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=not required)


audit = sa.Table(
    "audit",
    metadata,
    _whose(),
    sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
    moment("at", now=True),
    sa.Column("actor_id", sa.Uuid()),
    optional("role"),
    text("action"),
    optional("target"),
    text("outcome"),
    optional("code"),
    optional("trace_id"),
    _digest("key_hash", required=False),
    document("details"),
    document("result"),
    _digest("commitment", required=False),
    _digest("previous"),
    _digest("hash"),
    sa.PrimaryKeyConstraint("tenant_id", "seq", "at"),
    sa.Index("audit_tenant_id_at_idx", "tenant_id", "at", "seq"),
    sa.Index("audit_tenant_id_actor_id_idx", "tenant_id", "actor_id", "seq"),
    sa.Index("audit_tenant_id_action_idx", "tenant_id", "action", "seq"),
    sa.Index("audit_tenant_id_target_idx", "tenant_id", "target", "seq"),
    sa.Index("audit_tenant_id_trace_id_idx", "tenant_id", "trace_id", "seq"),
    postgresql_partition_by="RANGE (at)",
)

pii_subjects = sa.Table(
    "pii_subjects",
    metadata,
    tenant(),
    _digest("commitment"),
    sa.Column("actor_id", sa.Uuid()),
    _digest("handle", required=False),
    _digest("place", required=False),
    optional("key_id"),
    _digest("wrapped", required=False),
    _digest("sealed", required=False),
    moment("created_at", now=True),
    moment("erased_at"),
    sa.PrimaryKeyConstraint("tenant_id", "commitment"),
    sa.UniqueConstraint("tenant_id", "handle"),
    sa.Index("pii_subjects_tenant_id_actor_id_idx", "tenant_id", "actor_id"),
    sa.Index("pii_subjects_tenant_id_place_idx", "tenant_id", "place"),
)

# Not in the metadata: no model but the migration that made them says how they look.
heads = sa.table(
    "heads",
    sa.column("tenant_id", sa.Text()),
    sa.column("seq", sa.BigInteger()),
    sa.column("hash", sa.LargeBinary()),
    schema=SCHEMA,
)

anchors = sa.table(
    "anchors",
    sa.column("tenant_id", sa.Text()),
    sa.column("seq", sa.BigInteger()),
    sa.column("hash", sa.LargeBinary()),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("kind", sa.Text()),
    sa.column("key_id", sa.Text()),
    sa.column("signature", sa.LargeBinary()),
    schema=SCHEMA,
)
