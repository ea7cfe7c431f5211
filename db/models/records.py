"""What is written down as it happens: events for those who listen and where they begin, system events, logs."""

from enum import StrEnum

import sqlalchemy as sa

from db.models.columns import Xid8, document, enum, key, metadata, moment, optional, tenant, text


class Severity(StrEnum):
    """How much a system event matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    sa.Column("xid", Xid8(), nullable=False, server_default=sa.text("pg_current_xact_id()")),
    tenant(),
    text("kind"),
    text("entity_id"),
    sa.Column("owner_id", sa.Uuid()),
    document("payload"),
    moment("created_at", now=True),
    sa.Index("events_xid_idx", "xid", "id"),
    sa.Index("events_tenant_id_xid_idx", "tenant_id", "xid", "id"),
    sa.Index("events_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
)

event_floors = sa.Table(
    "event_floors",
    metadata,
    tenant(primary_key=True),
    sa.Column("xid", Xid8(), nullable=False),
    sa.Column("id", sa.BigInteger(), nullable=False),
)

system_events = sa.Table(
    "system_events",
    metadata,
    key(),
    tenant(),
    text("kind"),
    sa.Column("severity", enum(Severity, "severity"), nullable=False, server_default="info"),
    text("source"),
    text("message"),
    document("data"),
    moment("created_at", now=True),
    sa.Index("system_events_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("system_events_tenant_id_severity_idx", "tenant_id", "severity", "created_at", "id"),
)

logs = sa.Table(
    "logs",
    metadata,
    key(),
    tenant(),
    sa.Column("level", enum(Severity, "severity"), nullable=False),
    text("source"),
    text("category", default="application"),
    text("message"),
    optional("trace_id"),
    document("data"),
    moment("created_at", now=True),
    sa.Index("logs_tenant_id_created_at_idx", "tenant_id", "created_at", "id"),
    sa.Index("logs_tenant_id_level_idx", "tenant_id", "level", "created_at", "id"),
    sa.Index("logs_tenant_id_source_idx", "tenant_id", "source", "created_at", "id"),
)
