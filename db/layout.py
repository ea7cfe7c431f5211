"""The tables as the database itself has them: their columns and keys, what refers to what, and which are backed up.

Three kinds of tables are never in a backup, and a restore leaves them as they are. The audit trail, and from where its
entries came: neither may be brought back once it is erased. What says how things are at this moment: processes,
managers, pauses, operations, events, answers of calls, how endpoints are used. And what guards people: a restore must
open no lock, and give back no sign-in that was ended.
"""

from collections.abc import Collection, Iterable
from graphlib import TopologicalSorter
from typing import Final

import sqlalchemy as sa

from db.database import Transaction
from db.rows import Row

TRAIL: Final = frozenset({"audit", "pii_subjects"})
OF_THE_MOMENT: Final = frozenset(
    {
        "breakers",
        "event_floors",
        "events",
        "halts",
        "house",
        "manager_minutes",
        "manager_runs",
        "managers",
        "operations",
        "processes",
        "queue_acknowledgements",
        "queue_states",
        "replays",
        "services",
        "supervisor",
        "traffic",
        "traffic_marks",
        "traffic_sources",
        "workers",
    }
)
GUARDING: Final = frozenset({"calls", "denials", "lockouts", "refresh_tokens"})
NEVER: Final = TRAIL | OF_THE_MOMENT | GUARDING | {"alembic_version"}

JOB_DATA: Final = frozenset(
    {
        "agent_trials",
        "artifacts",
        "clips",
        "job_gauges",
        "job_hours",
        "jobs",
        "processing_steps",
        "step_hours",
        "upload_chunks",
        "uploads",
    }
)
LOGS: Final = frozenset({"logs", "system_events"})
PEOPLE: Final = frozenset({"tenants", "users"})
"""What nearly everything refers to, also what a restore leaves as it is: they are brought up to date, not replaced."""

IDENTITY: Final = frozenset({"email", "name", "password_hash", "preferences", "last_login_at"})
"""Columns of users that are left out of a backup without user data."""


class Table(Row, frozen=True):
    """One table."""

    name: str
    columns: list[str]
    key: list[str]
    refers_to: frozenset[str]
    """Other tables."""

    rows: int
    """As many as PostgreSQL thinks; an estimate."""


_TABLES: Final = sa.text(
    """
    SELECT c.relname,
        (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i
         CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
         WHERE i.indrelid = c.oid AND i.indisprimary),
        (SELECT array_agg(DISTINCT r.relname::text) FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
         WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid),
        greatest(c.reltuples, 0)::bigint
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    """
)
_IDENTITIES: Final = sa.text(
    "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attidentity <> ''"
)


async def tables(tx: Transaction) -> list[Table]:
    """All tables of ours but the partitioned trail, so that each comes after those that it refers to."""
    found = {
        name: Table(name, columns, key or [], frozenset(refers or ()), rows)
        for name, columns, key, refers, rows in await tx.rows(_TABLES)
    }
    order = TopologicalSorter({table.name: sorted(table.refers_to) for table in found.values()})
    return [found[name] for name in order.static_order()]


async def identities(tx: Transaction) -> dict[str, str]:
    """For each table that numbers its rows by itself, the column that it numbers."""
    return {table: column for table, column in await tx.rows(_IDENTITIES)}


def restorable(everything: Iterable[Table]) -> list[Table]:
    """Those that a backup can have."""
    return [table for table in everything if table.name not in NEVER]


def referring(everything: Iterable[Table], names: Collection[str]) -> dict[str, list[str]]:
    """For each of some tables that others outside of them refer to, those others."""
    outside = [table for table in everything if table.name not in names]
    found = {name: sorted(table.name for table in outside if name in table.refers_to) for name in names}
    return {name: others for name, others in found.items() if others}


def listed(columns: Iterable[str]) -> str:
    """Columns as a statement names them."""
    return ", ".join(f'"{column}"' for column in columns)
