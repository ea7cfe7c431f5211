"""How a tenant's system is set: the newest version of its configuration is the one in force."""

from datetime import datetime
from typing import Any
from uuid import UUID

from db.database import Transaction
from db.models.system import config_versions
from db.rows import Row, Shape


class Configuration(Row, frozen=True):
    """One version of the configuration."""

    version: int
    """From 1; every change makes the next."""

    settings: dict[str, Any]
    reason: str
    """Why it was changed, for a person; may be empty."""

    changed_by: UUID | None
    created_at: datetime


CONFIGURATION = Shape(Configuration, config_versions)


async def in_force(tx: Transaction) -> Configuration | None:
    """The newest version, or None when nothing was ever set."""
    newest = CONFIGURATION.select().where(config_versions.c.tenant_id == tx.tenant)
    return await CONFIGURATION.first(tx, newest.order_by(config_versions.c.version.desc()).limit(1))
