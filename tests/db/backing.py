"""What tests of backups share: a house with something in every table, and its fingerprint."""

import hashlib
from datetime import UTC, datetime

import sqlalchemy as sa

from db import artifacts, layout, seed
from db.archives import Includes
from db.database import Database
from db.models.work import ArtifactKind
from workers.agents.roster import ROSTER

EVERYTHING = Includes(logs=True, job_data=True, user_data=True)
CHAIN = tuple(agent.id for agent in ROSTER)
SETTLED = "status NOT IN ('processing')"


async def nowhere(share: float, where: str) -> None:
    """Nobody wants to know how far it is."""


async def furnish(database: Database, *, jobs: int = 60) -> None:
    """A history of both tenants, nothing of it at work."""
    now = datetime.now(UTC)
    for number, tenant in enumerate(("default", "other")):
        await seed.fill(database, tenant, jobs=jobs, events=20, chain=CHAIN, seed=number, now=now)
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM jobs WHERE status = 'processing'"))
        await tx.execute(
            sa.text(
                "INSERT INTO config_versions (tenant_id, version, settings) VALUES ('default', 1, '{\"a\": \"x\\ty\"}')"
            )
        )
        await tx.execute(
            sa.text(
                "INSERT INTO worker_profiles (id, name, chain) VALUES (gen_random_uuid(), 'fast', ARRAY['clipper'])"
            )
        )
    async with database.transaction("default") as tx:
        made = artifacts.NewArtifact(
            kind=ArtifactKind.REPORT,
            name="a\tname\nin two lines \\ and a half",
            path="default/reports/aa/a",
            media_type="text/csv",
            size_bytes=3,
            sha256="0" * 64,
        )
        await artifacts.keep(tx, made, lasting=seed.PATIENCE)


async def fingerprint(database: Database, *, without: dict[str, str] | None = None) -> dict[str, str]:
    """A digest of every row of every table that a backup can have, by table.

    Args:
        without: a column to leave out, by table.
    """
    left_out = {"jobs": "fence", **(without or {})}
    found: dict[str, str] = {}
    async with database.system() as tx:
        for table in layout.restorable(await layout.tables(tx)):
            rows = await tx.rows(
                sa.text(f'SELECT (to_jsonb(t) - :column)::text FROM "{table.name}" t ORDER BY 1'),
                {"column": left_out.get(table.name, "")},
            )
            found[table.name] = f"{len(rows)} {hashlib.sha256(repr(rows).encode()).hexdigest()}"
    return found
