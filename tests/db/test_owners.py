"""Backups, restores and upkeep by an owner who is no superuser, which is what a hosted database gives."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from agentos.embedded import Addresses
from db import agents, backups, restores, upkeep, users
from db.backups import Backups
from db.database import Database
from db.migrations import runner
from tests.db.backing import EVERYTHING, fingerprint, furnish, nowhere
from tests.rooms import administer
from tests.urls import driver_url
from workers.agents.roster import ROSTER

ROLES = "agentos_app, agentos_system, agentos_audit"


@pytest_asyncio.fixture
async def owned(pair: Addresses, template: str) -> AsyncIterator[Database]:
    """A database of somebody who may do nothing but what an owner may, and make roles as migrations do."""
    name, url = f"plain_{uuid4().hex[:8]}", make_url(pair.database_url)
    connection = await asyncpg.connect(driver_url(pair.database_url))
    superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    await connection.close()
    if not superuser:
        pytest.skip("only a superuser can make somebody who is none, and the given user is none")
    # The template has made the roles; only an administrator of them may hand them on.
    await administer(pair.database_url, f"CREATE ROLE {name} LOGIN NOSUPERUSER CREATEROLE PASSWORD '{name}'")
    await administer(pair.database_url, f"GRANT {ROLES} TO {name} WITH ADMIN OPTION")
    await administer(pair.database_url, f"CREATE DATABASE {name} OWNER {name}")
    plain = url.set(username=name, password=name, database=name).render_as_string(hide_password=False)
    database = Database.connect(plain, size=4)
    try:
        await runner.upgrade(plain)
        for tenant in ("default", "other"):
            async with database.system() as tx:
                await users.ensure_tenant(tx, tenant)
            async with database.transaction(tenant) as tx:
                await agents.settle(tx, ROSTER)
        yield database
    finally:
        await database.close()
        await administer(pair.database_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await administer(pair.database_url, f"DROP OWNED BY {name}")
        await administer(pair.database_url, f"DROP ROLE {name}")


@pytest.mark.slow
async def test_an_owner_needs_no_more_than_to_own(owned: Database, tmp_path: Path) -> None:
    """Rows are behind walls to the owner, too; what is restored and numbered must be so all the same."""
    await furnish(owned, jobs=10)
    folder = Backups(tmp_path / "backups")
    before = await fingerprint(owned)
    made = await folder.create(owned, backups.new_name(), EVERYTHING, compressed=True, progress=nowhere)
    async with owned.system() as tx:
        await tx.execute(sa.text("DELETE FROM jobs"))
        await tx.execute(sa.text("DELETE FROM users"))

    place = folder.place(made.filename)
    planned = await restores.plan(owned, place)
    await restores.carry_out(owned, folder, place, planned, progress=nowhere)
    tended = await upkeep.vacuum(owned, None, full=False, progress=nowhere)
    rebuilt = await upkeep.reindex(owned, "jobs", progress=nowhere)

    assert made.manifest.rows > 100
    assert before == await fingerprint(owned)
    assert "jobs" in tended.tables
    assert "jobs_pkey" in rebuilt.indexes
    async with owned.system() as tx:
        top = await tx.scalar(sa.text("SELECT max(id) FROM job_gauges"))
        await tx.execute(sa.text("DELETE FROM jobs WHERE id = (SELECT id FROM jobs LIMIT 1)"))
        assert top + 1 == await tx.scalar(sa.text("SELECT max(id) FROM job_gauges"))
