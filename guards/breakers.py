"""Circuit breakers: what has just failed too often is left alone for a while."""

from enum import StrEnum


class Dependency(StrEnum):
    """What actions need beside the database."""

    REDIS = "redis"
    FILES = "files"
    """The disk with uploads, clips, reports and backups."""

    SUPERVISOR = "supervisor"
    """Whoever starts and stops processes here."""

    WORKERS = "workers"
    """Worker processes that are asked to do something at once."""
