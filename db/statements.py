"""Which statements take long, where PostgreSQL keeps count of it (`pg_stat_statements`)."""

import sqlalchemy as sa

from db.database import Transaction
from db.rows import Row

LONGEST = 300
"""Characters of a statement that are shown."""


class Statement(Row, frozen=True):
    """One statement, without its values."""

    text: str
    calls: int
    mean_ms: float
    total_ms: float


_COUNTED = sa.text("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
_SLOW = sa.text(
    "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), :longest), calls, mean_exec_time, total_exec_time "
    "FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND mean_exec_time >= :slow_ms ORDER BY mean_exec_time DESC LIMIT :most"
)


async def are_counted(tx: Transaction) -> bool:
    """Whether the extension is there."""
    return bool(await tx.scalar(_COUNTED))


async def slow(tx: Transaction, *, slow_ms: float, most: int) -> list[Statement]:
    """The statements that take at least `slow_ms` on average, the slowest first; of all tenants."""
    found = {"slow_ms": slow_ms, "most": most, "longest": LONGEST}
    return [Statement(*row) for row in await tx.rows(_SLOW, found)]
