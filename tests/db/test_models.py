"""The tables as PostgreSQL has them: indexed where they are searched, and refusing what cannot be."""

from enum import StrEnum
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.database import Database
from db.models import metadata

TABLES: Final = metadata.sorted_tables
FOREIGN_KEYS: Final = [key for table in TABLES for key in table.foreign_keys]

LISTED: Final = {
    "agents": ("category",),
    "artifacts": ("created_at", "job_id"),
    "audit": ("at", "seq", "actor_id", "action", "target", "trace_id"),
    "clips": ("created_at", "score", "job_id"),
    "events": ("created_at", "xid"),
    "jobs": (
        "created_at",
        "updated_at",
        "completed_at",
        "priority",
        "status",
        "user_id",
        "upload_id",
        "worker_id",
        "current_step",
    ),
    "logs": ("created_at", "level", "source"),
    "processing_steps": ("job_id", "finished_at"),
    "refresh_tokens": ("digest", "family", "user_id"),
    "system_events": ("created_at", "severity"),
    "uploads": ("created_at", "status", "user_id"),
    "users": ("email",),
    "workers": ("heartbeat_at",),
}
"""Columns by which a list is ordered or narrowed, or a row found.

A job's `title` is not among them: a word inside a title cannot be found by an index without an extension, so that
search reads the tenant's newest jobs until the page is full.
"""

_INDEXED: Final = sa.text(
    "SELECT i.indrelid::regclass::text, ARRAY(SELECT a.attname::text "
    "FROM unnest(i.indkey) WITH ORDINALITY AS k(num, place) "
    "JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.num ORDER BY k.place) "
    "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace"
)


async def asked(database: Database, statement: sa.Executable, **parameters: Any) -> list[tuple[Any, ...]]:
    async with database.system() as tx:
        return list(await tx.rows(statement, parameters))


async def test_every_reference_says_what_becomes_of_it(database: Database) -> None:
    """Cascade or null, in the model as in the database: a delete must never fail at a row nobody thought of."""
    stored = await asked(
        database,
        sa.text("SELECT conname, confdeltype::text FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"),
    )
    letter = {"CASCADE": "c", "SET NULL": "n"}

    assert {key.ondelete for key in FOREIGN_KEYS} <= set(letter)
    assert {(key.constraint.name, letter[str(key.ondelete)]) for key in FOREIGN_KEYS if key.constraint} == set(stored)


async def test_every_reference_can_be_followed_back_by_an_index(database: Database) -> None:
    """Without one, deleting a single user reads every job there ever was."""
    leading = {(table, columns[0]) for table, columns in await asked(database, _INDEXED) if columns}

    assert [] == sorted(
        f"{key.parent.table.name}.{key.parent.name}"
        for key in FOREIGN_KEYS
        if (key.parent.table.name, key.parent.name) not in leading
    )


async def test_every_column_that_lists_are_made_by_leads_an_index_or_follows_whose_it_is(database: Database) -> None:
    owning = {"tenant_id", "agent_id"}
    indexed = {
        (table, next((column for column in columns if column not in owning), ""))
        for table, columns in await asked(database, _INDEXED)
    }

    assert [] == sorted(
        f"{table}.{column}" for table, columns in LISTED.items() for column in columns if (table, column) not in indexed
    )


async def test_the_labels_of_an_enum_are_the_values_that_the_code_knows(database: Database) -> None:
    """In the same order too, because PostgreSQL sorts by it."""
    stored = await asked(
        database,
        sa.text(
            "SELECT t.typname::text, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum AS e "
            "JOIN pg_type AS t ON t.oid = e.enumtypid GROUP BY 1"
        ),
    )
    known: dict[str, list[str]] = {}
    for table in TABLES:
        for column in table.columns:
            if isinstance(column.type, pg.ENUM):
                kind = column.type.enum_class
                assert kind is not None
                assert issubclass(kind, StrEnum)
                known[str(column.type.name)] = [member.value for member in kind]

    assert known == dict(stored)


async def test_the_checks_of_the_models_are_those_of_the_database(database: Database) -> None:
    """Comparing a database with the models says nothing of checks, so a forgotten one would never show."""
    stored = await asked(
        database,
        sa.text(
            "SELECT conrelid::regclass::text, conname::text FROM pg_constraint "
            "WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        ),
    )
    said = {
        (table.name, str(check.name))
        for table in TABLES
        for check in table.constraints
        if isinstance(check, sa.CheckConstraint)
    }

    assert said == set(stored)


async def test_every_table_of_a_tenant_goes_with_it(database: Database) -> None:
    assert {"CASCADE"} == {key.ondelete for key in FOREIGN_KEYS if key.parent.name == "tenant_id"}
    # What a tenant did stays on record when the tenant is gone.
    assert {table.name for table in TABLES if "tenant_id" in table.c} - {"audit"} == {
        key.parent.table.name for key in FOREIGN_KEYS if key.parent.name == "tenant_id"
    }


JOB = "INSERT INTO jobs (id, tenant_id, chain{columns}) VALUES (gen_random_uuid(), 'default', '{{clipper}}'{values})"
REFUSED: Final = {
    "a job over 100 percent": (JOB.format(columns=", progress", values=", 101"), "jobs_progress_check"),
    "a job of priority 11": (JOB.format(columns=", priority", values=", 11"), "jobs_priority_check"),
    "a job at work without a lease": (JOB.format(columns=", status", values=", 'processing'"), "jobs_lease_check"),
    "a queued job with a lease": (JOB.format(columns=", lease_until", values=", now()"), "jobs_lease_check"),
    "a completed job without its time": (
        JOB.format(columns=", status", values=", 'completed'"),
        "jobs_completed_check",
    ),
    "a queued job that is over": (JOB.format(columns=", completed_at", values=", now()"), "jobs_completed_check"),
    "a job without agents": (
        "INSERT INTO jobs (id, tenant_id, chain) VALUES (gen_random_uuid(), 'default', '{}')",
        "jobs_chain_check",
    ),
    "a job never to be tried": (JOB.format(columns=", max_attempts", values=", 0"), "jobs_attempts_check"),
    "a tenant of capitals": ("INSERT INTO tenants (id, name) VALUES ('Acme', '')", "tenants_id_check"),
    "an agent of capitals": ("UPDATE agents SET id = 'Clipper' WHERE id = 'clipper'", "agents_id_check"),
    "an address of capitals": (
        "INSERT INTO users (id, tenant_id, email, name, role) "
        "VALUES (gen_random_uuid(), 'default', 'Ada@x.y', '', 'user')",
        "users_email_check",
    ),
    "an upload of nothing": (
        "INSERT INTO uploads (id, tenant_id, filename, size_bytes, chunk_bytes, expires_at) "
        "VALUES (gen_random_uuid(), 'default', 'f', 0, 1, now())",
        "uploads_size_check",
    ),
    "an upload that is done but nowhere": (
        "INSERT INTO uploads (id, tenant_id, filename, size_bytes, chunk_bytes, expires_at, status) "
        "VALUES (gen_random_uuid(), 'default', 'f', 1, 1, now(), 'completed')",
        "uploads_path_check",
    ),
    "a version before the first": (
        "INSERT INTO config_versions (tenant_id, version) VALUES ('default', 0)",
        "config_versions_version_check",
    ),
}


async def test_a_row_that_cannot_be_is_refused_by_its_own_check(database: Database) -> None:
    for what, (statement, check) in REFUSED.items():
        with pytest.raises(sa.exc.IntegrityError) as refused:
            async with database.system() as tx:
                await tx.execute(sa.text(statement))
        assert f'"{check}"' in str(refused.value), what

    async with database.system() as tx:
        await tx.execute(sa.text(JOB.format(columns="", values="")))


async def test_a_tenant_that_goes_takes_everything_along_and_leaves_the_others(database: Database) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text(JOB.format(columns="", values="")))
        await tx.execute(sa.text(JOB.format(columns="", values="").replace("'default'", "'other'")))
        await tx.execute(sa.text("DELETE FROM tenants WHERE id = 'default'"))
        left = {
            table.name: set(await tx.rows(sa.text(f"SELECT DISTINCT tenant_id FROM {table.name}")))
            for table in TABLES
            if "tenant_id" in table.c
        }

    assert {"agents", "jobs", "job_gauges", "job_hours"} == {name for name, tenants in left.items() if tenants}
    assert all(tenants <= {("other",)} for tenants in left.values())
