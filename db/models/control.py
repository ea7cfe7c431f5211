"""What is desired of processes, what was observed of them, and what workers are given: profiles, assets, trials."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import count, document, enum, flag, key, measure, metadata, moment, optional, tenant, text


class Wish(StrEnum):
    """What is desired of a service or of one of its processes."""

    RUNNING = "running"
    STOPPED = "stopped"


class ProcessState(StrEnum):
    """What a process is, seen by its supervisor."""

    RUNNING = "running"
    WAITING = "waiting"
    """It has ended by itself and is started again after a pause."""

    STOPPING = "stopping"
    STOPPED = "stopped"


class AssetTarget(StrEnum):
    """What a file given to the workers is for."""

    TEMPLATES = "templates"
    WORDLISTS = "wordlists"
    MODELS = "models"


class TrialState(StrEnum):
    """How far the trial of an agent is."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The agent said that it has nothing to do here, and why."""


supervisor = sa.Table(
    "supervisor",
    metadata,
    sa.Column("single", sa.Boolean(), primary_key=True, server_default=sa.text("true")),
    text("id"),
    text("hostname"),
    count("pid"),
    text("version"),
    moment("stop_at"),
    moment("started_at", now=True),
    moment("heartbeat_at", now=True),
    sa.CheckConstraint("single", name="single"),
)

services = sa.Table(
    "services",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("desired", enum(Wish, "wish"), nullable=False, server_default="running"),
    moment("changed_at", now=True),
)

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("service", sa.Text(), sa.ForeignKey("services.name", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("desired", enum(Wish, "wish"), nullable=False, server_default="running"),
    document("settings"),
    optional("profile"),
    count("generation", default=1),
    count("renewals"),
    flag("rolling", default=True),
    moment("not_before"),
    count("patience_s"),
    sa.Column("kill_pid", sa.Integer()),
    count("seen_generation"),
    count("renewed"),
    sa.Column("state", enum(ProcessState, "process_state"), nullable=False, server_default="stopped"),
    sa.Column("pid", sa.Integer()),
    moment("since"),
    count("restarts"),
    measure("cpu"),
    sa.Column("rss", sa.BigInteger()),
    sa.Column("requeued", pg.ARRAY(sa.Uuid()), nullable=False, server_default=sa.text("'{}'::uuid[]")),
    sa.CheckConstraint("name ~ '^[a-z0-9-]{1,50}$'", name="name"),
    sa.CheckConstraint("patience_s >= 0", name="patience"),
)

worker_profiles = sa.Table(
    "worker_profiles",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("name", sa.Text(), nullable=False, unique=True),
    sa.Column("chain", pg.ARRAY(sa.Text()), nullable=False),
    count("concurrency", default=1),
    count("timeout_s", default=900),
    moment("created_at", now=True),
    sa.CheckConstraint("name ~ '^[a-z0-9-]{1,32}$'", name="name"),
    sa.CheckConstraint("cardinality(chain) >= 1", name="chain"),
    sa.CheckConstraint("concurrency BETWEEN 1 AND 16", name="concurrency"),
    sa.CheckConstraint("timeout_s BETWEEN 10 AND 3600", name="timeout"),
)

worker_assets = sa.Table(
    "worker_assets",
    metadata,
    key(),
    sa.Column("target", enum(AssetTarget, "asset_target"), nullable=False),
    text("name"),
    count("version", default=1),
    text("path"),
    text("sha256"),
    count("size_bytes", wide=True),
    moment("created_at", now=True),
    sa.UniqueConstraint("target", "name", "version"),
    sa.Index("worker_assets_path_idx", "path"),
)

agent_trials = sa.Table(
    "agent_trials",
    metadata,
    key(),
    tenant(),
    text("agent_id"),
    document("options"),
    sa.Column("state", enum(TrialState, "trial_state"), nullable=False, server_default="waiting"),
    optional("worker_id"),
    optional("message"),
    sa.Column("output", pg.JSONB(none_as_null=True)),
    sa.Column("duration_ms", sa.Integer()),
    moment("created_at", now=True),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("agent_trials_tenant_id_created_at_idx", "tenant_id", "created_at"),
    sa.Index("agent_trials_waiting_idx", "created_at", postgresql_where=sa.text("state = 'waiting'")),
)
