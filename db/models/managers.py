"""Managers: what each is asked to be, what each process says of its own, and how its rounds went, minute by minute."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import count, document, enum, metadata, moment, optional


class ManagerId(StrEnum):
    """The loops that keep the house in order."""

    SNAPSHOT = "snapshot"
    """Keeps the admin snapshot warm."""

    QUEUE = "queue"
    """Takes jobs away from workers that fell silent, and moves pauses and drains on."""

    AGENTS = "agents"
    """Forgets workers that have been silent for a day."""

    ANALYTICS = "analytics"
    """Folds what was counted into rollups."""

    DATABASE = "database"
    """Asks the database whether it answers, and how quickly."""

    UPLOAD = "upload"
    """Ends uploads that stood still for too long."""

    CLEANUP = "cleanup"
    """Brings files and rows into agreement, and removes what has been kept long enough."""

    AUDIT = "audit"
    """Anchors the audit trail."""


class ManagerWish(StrEnum):
    """What a manager is asked to be."""

    RUNNING = "running"
    STOPPED = "stopped"
    KILLED = "killed"
    """Stopped in the middle of a round; it stays so until it is started."""


class ManagerState(StrEnum):
    """What a manager is."""

    RUNNING = "running"
    STOPPING = "stopping"
    """It ends its round first."""

    STOPPED = "stopped"
    FAILED = "failed"
    """It was killed in the middle of a round."""


managers = sa.Table(
    "managers",
    metadata,
    sa.Column("id", enum(ManagerId, "manager_id"), primary_key=True),
    sa.Column("wish", enum(ManagerWish, "manager_wish"), nullable=False, server_default="running"),
    sa.Column("every_s", sa.Double()),
    document("options"),
    count("generation", default=1),
    count("resets"),
    count("version", default=1),
    moment("changed_at", now=True),
    sa.CheckConstraint("every_s BETWEEN 1 AND 3600", name="every_s"),
)

manager_runs = sa.Table(
    "manager_runs",
    metadata,
    sa.Column("manager", enum(ManagerId, "manager_id"), primary_key=True),
    sa.Column("process", sa.Text(), primary_key=True),
    sa.Column("state", enum(ManagerState, "manager_state"), nullable=False),
    count("version"),
    count("rounds", wide=True),
    count("errors", wide=True),
    optional("last_error"),
    moment("last_round_at"),
    moment("since", now=True),
    moment("heartbeat_at", now=True),
    sa.Index("manager_runs_heartbeat_at_idx", "heartbeat_at"),
)

manager_minutes = sa.Table(
    "manager_minutes",
    metadata,
    sa.Column("manager", enum(ManagerId, "manager_id"), primary_key=True),
    sa.Column("minute", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("process", sa.Text(), primary_key=True),
    count("rounds"),
    count("errors"),
    sa.Column("took", pg.ARRAY(sa.Integer()), nullable=False),
    sa.Index("manager_minutes_minute_idx", "minute"),
)
