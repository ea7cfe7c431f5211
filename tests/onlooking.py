"""Looking at a database from outside: a round trip for each look, and no transaction that is in anybody's way."""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from db.database import SYSTEM_ROLE
from db.redis import Redis
from tests.urls import driver_url

_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace = 'public'::regnamespace ORDER BY relname"
)
_ROWS: Final = "SELECT '{table}', md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} AS t"


class Onlooker:
    """Somebody who sees everything of one database, and has what is counted against callers forgotten."""

    def __init__(self, owner: Any, system: Any, redis: Redis, tables: Iterable[str]) -> None:
        self._owner = owner
        self._system = system
        self._redis = redis
        self._digests = " UNION ALL ".join(_ROWS.format(table=table) for table in tables)

    async def fingerprint(self) -> dict[str, str]:
        """What the tables hold that are looked at."""
        return dict(await self._owner.fetch(self._digests))

    async def on_record(self, action: str | None = None) -> int:
        """How many entries the trail has, in all or about an action."""
        counted: int = await self._system.fetchval(
            "SELECT count(*) FROM audit WHERE action = $1 OR $1::text IS NULL", action
        )
        return counted

    async def forget(self, *tables: str) -> None:
        """Have nothing counted against anybody, and nothing in some tables."""
        await self._redis.flushall()
        await self._system.execute("; ".join(f"DELETE FROM {table}" for table in ("calls", "denials", *tables)))


@asynccontextmanager
async def onlooking(database_url: str, redis: Redis, *, beside: Collection[str] = ()) -> AsyncIterator[Onlooker]:
    """An onlooker for as long as the block lasts, who looks at all tables but those named."""
    owner, system = [await asyncpg.connect(driver_url(database_url)) for _ in range(2)]
    try:
        await system.execute(f"SET ROLE {SYSTEM_ROLE}")
        named = [table for (table,) in await owner.fetch(_TABLES)]
        yield Onlooker(owner, system, redis, (table for table in named if table not in beside))
    finally:
        await owner.close()
        await system.close()
