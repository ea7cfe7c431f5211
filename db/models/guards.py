"""What the guards remember: answers of calls that may be asked for again, and operations that outlive their call."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import enum, key, metadata, moment, optional, tenant, text


class OperationState(StrEnum):
    """How far an operation is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The process that carried it out is gone; how far it came is in its message."""


replays = sa.Table(
    "replays",
    metadata,
    tenant(primary_key=True),
    sa.Column("principal", sa.Uuid(), primary_key=True),
    sa.Column("key", sa.Text(), primary_key=True),
    text("action"),
    sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
    sa.Column("answer", sa.LargeBinary(), nullable=False),
    optional("code"),
    moment("settling_until"),
    moment("created_at", now=True),
    sa.CheckConstraint("length(fingerprint) = 32", name="fingerprint"),
    sa.Index("replays_created_at_idx", "created_at"),
)

operations = sa.Table(
    "operations",
    metadata,
    key(),
    tenant(),
    text("action"),
    sa.Column("actor_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
    sa.Column("state", enum(OperationState, "operation_state"), nullable=False, server_default="running"),
    sa.Column("progress", sa.Double(), nullable=False, server_default=sa.text("0")),
    optional("message"),
    sa.Column("result", pg.JSONB(none_as_null=True)),
    optional("error_code"),
    optional("error_message"),
    optional("trace_id"),
    moment("lease_until"),
    moment("created_at", now=True),
    moment("finished_at"),
    sa.CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
    sa.Index("operations_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("operations_lease_idx", "lease_until", postgresql_where=sa.text("state = 'running'")),
)
