"""Failed attempts to sign in, and refusals of people's actions: held row by row, timed by PostgreSQL.

A subject is a hash of whom or what is watched; nothing here tells whose it is.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.database import Transaction
from db.models.calls import denials, lockouts
from db.models.identity import users
from db.rows import Row


class Record(Row, frozen=True):
    """What is known of one subject."""

    subject: bytes
    failures: list[int]
    """When attempts were begun that are not known to have succeeded, oldest first, in microseconds."""

    locks: int
    """How many times in a row it was locked."""

    locked_until: datetime | None
    known_at: datetime | None
    """When an attempt last succeeded."""

    changed_at: datetime


class Denied(Row, frozen=True):
    """The latest requests of a user that were refused, oldest first."""

    refused: list[int]
    traces: list[str]
    alerted_at: datetime | None


KEPT: Final = timedelta(days=2)
KNOWN_KEPT: Final = timedelta(days=90)

_NOW: Final = sa.func.clock_timestamp()

# In one order for everybody, so that two attempts never wait for each other; the time is read once all are held.
_HELD: Final = sa.text(
    "INSERT INTO lockouts (subject) SELECT subject FROM unnest(CAST(:subjects AS bytea[])) AS subject ORDER BY subject "
    "ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject "
    "RETURNING subject, failures, locks, locked_until, known_at, changed_at, clock_timestamp()"
)
_KEEP: Final = (
    sa.update(lockouts)
    .where(lockouts.c.subject == sa.bindparam("whose"))
    .values(
        failures=sa.bindparam("now_failures"),
        locks=sa.bindparam("now_locks"),
        locked_until=sa.bindparam("now_locked_until"),
        known_at=sa.bindparam("now_known_at"),
        changed_at=_NOW,
    )
)


async def held(tx: Transaction, subjects: Collection[bytes]) -> tuple[dict[bytes, Record], datetime]:
    """What is known of subjects, and the time; nobody else changes them until the transaction ends."""
    rows = await tx.rows(_HELD, {"subjects": list(subjects)})
    return {row[0]: Record(*row[:-1]) for row in rows}, max(row[-1] for row in rows)


async def keep(tx: Transaction, records: Sequence[Record]) -> None:
    """Put down what is known now of subjects that are held."""
    await tx.execute(
        _KEEP,
        [
            {
                "whose": record.subject,
                "now_failures": record.failures,
                "now_locks": record.locks,
                "now_locked_until": record.locked_until,
                "now_known_at": record.known_at,
            }
            for record in records
        ],
    )


async def forget(tx: Transaction, *, most: int = 5_000) -> int:
    """Drop subjects of which nothing has been heard for long, and say how many."""
    stale = sa.or_(
        sa.and_(lockouts.c.known_at.is_(None), lockouts.c.changed_at < _NOW - KEPT),
        lockouts.c.changed_at < _NOW - KNOWN_KEPT,
    )
    old = sa.select(lockouts.c.subject).where(stale).limit(most)
    return await tx.changed(sa.delete(lockouts).where(lockouts.c.subject.in_(old)))


async def denied(tx: Transaction, user_id: UUID) -> tuple[Denied, datetime] | None:
    """The latest refusals of a user of the transaction's tenant, and the time; held until the transaction ends.

    None when the user was removed since they signed in.
    """
    there = sa.select(users.c.tenant_id, users.c.id).where(users.c.tenant_id == tx.tenant, users.c.id == user_id)
    made = pg.insert(denials).from_select(["tenant_id", "user_id"], there)
    statement = made.on_conflict_do_update(
        index_elements=["tenant_id", "user_id"], set_={"user_id": made.excluded.user_id}
    ).returning(denials.c.refused, denials.c.traces, denials.c.alerted_at, _NOW)
    for refused, traces, alerted_at, now in await tx.rows(statement):
        return Denied(refused, traces, alerted_at), now
    return None


async def keep_denied(tx: Transaction, user_id: UUID, denied: Denied) -> None:
    """Put down the latest refusals of a user that are held."""
    await tx.execute(
        sa.update(denials)
        .where(denials.c.tenant_id == tx.tenant, denials.c.user_id == user_id)
        .values(refused=denied.refused, traces=denied.traces, alerted_at=denied.alerted_at)
    )
