"""Writing the log lines of a tenant; `db.journal` reads them page by page."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from db.database import Transaction
from db.journal import LINE, LogLine
from db.models.records import Severity, logs
from db.rows import Row


class NewLine(Row, frozen=True, kw_only=True):
    """A line to be written."""

    level: Severity
    source: str
    message: str
    category: str = "application"
    trace_id: str | None = None
    data: Mapping[str, Any] = {}


_NEWEST = LINE.select().order_by(logs.c.created_at.desc(), logs.c.id.desc()).limit(sa.bindparam("most"))

# From one source to the next along the index: as many steps as there are sources, however many lines there are.
_SOURCES = sa.text(
    "WITH RECURSIVE found AS ((SELECT source FROM logs WHERE tenant_id = :tenant ORDER BY source LIMIT 1) UNION ALL "
    "SELECT (SELECT logs.source FROM logs WHERE tenant_id = :tenant AND logs.source > found.source "
    "ORDER BY logs.source LIMIT 1) FROM found WHERE found.source IS NOT NULL) "
    "SELECT source FROM found WHERE source IS NOT NULL"
)


async def write(tx: Transaction, lines: Sequence[NewLine]) -> None:
    """Write lines in one statement; their time is the transaction's."""
    if not lines:
        return
    written = [{name: getattr(line, name) for name in NewLine.__struct_fields__} for line in lines]
    await tx.execute(sa.insert(logs), [{"tenant_id": tx.tenant, **values} for values in written])


async def newest(tx: Transaction, *, most: int) -> list[LogLine]:
    """The newest lines first."""
    return [LogLine(*row) for row in await tx.rows(_NEWEST, {"most": most})]


async def sources(tx: Transaction) -> list[str]:
    """Who has written lines, in the order of the alphabet."""
    return [source for (source,) in await tx.rows(_SOURCES, {"tenant": tx.tenant})]
