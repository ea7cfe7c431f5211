"""How a tenant's system is set: the newest version of its configuration is the one in force."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db import events
from db.database import Transaction
from db.events import Kind
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


async def by_version(tx: Transaction, version: int) -> Configuration | None:
    """One version, or None."""
    of_tenant = config_versions.c.tenant_id == tx.tenant
    return await CONFIGURATION.first(tx, CONFIGURATION.select().where(of_tenant, config_versions.c.version == version))


async def history(tx: Transaction, *, most: int) -> list[Configuration]:
    """The newest versions first."""
    versions = CONFIGURATION.select().where(config_versions.c.tenant_id == tx.tenant)
    return await CONFIGURATION.all(tx, versions.order_by(config_versions.c.version.desc()).limit(most))


async def in_force_everywhere(tx: Transaction) -> dict[str, Configuration]:
    """The newest version of every tenant that ever set anything; for a system transaction."""
    others = config_versions.alias()
    newest = sa.select(config_versions.c.tenant_id, *CONFIGURATION.columns).where(
        ~sa.exists().where(
            others.c.tenant_id == config_versions.c.tenant_id, others.c.version > config_versions.c.version
        )
    )
    return {tenant: Configuration(*row) for tenant, *row in await tx.rows(newest)}


async def held(tx: Transaction) -> Configuration | None:
    """The version in force, which nobody else changes until this transaction ends."""
    # Two changes at once would both build on the same version, and one of them would be lost.
    await tx.hold(f"{tx.tenant}/configuration")
    return await in_force(tx)


async def change(
    tx: Transaction, settings: Mapping[str, Any], *, reason: str = "", changed_by: UUID | None = None
) -> Configuration:
    """Put some settings in force over the present ones, as the next version; a None takes its setting away."""
    present = await held(tx)
    merged = {**(present.settings if present else {}), **settings}
    statement = sa.insert(config_versions).values(
        tenant_id=tx.tenant,
        version=present.version + 1 if present else 1,
        settings={name: value for name, value in merged.items() if value is not None},
        reason=reason,
        changed_by=changed_by,
    )
    changed = await CONFIGURATION.first(tx, statement.returning(*CONFIGURATION.columns))
    assert changed is not None
    await events.record(tx, Kind.CONFIG_CHANGED, tx.tenant, {"version": changed.version, "changed": sorted(settings)})
    return changed
