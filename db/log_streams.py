"""Leave to follow the log: kept in Redis under the digest of a token, for as long as it may be used, and used once."""

from datetime import timedelta
from uuid import UUID

import msgspec

from db import keys
from db.models.records import Severity
from db.redis import Redis
from db.rows import Row


class Grant(Row, frozen=True, kw_only=True):
    """What the bearer of a token may follow."""

    tenant: str
    user_id: UUID
    """Whose token it is; nobody else may bring it."""

    level: Severity | None = None
    """The least severe level that is shown; None for all."""

    source: str | None = None


_DECODER = msgspec.json.Decoder(Grant)


async def put(redis: Redis, digest: str, grant: Grant, *, ttl: timedelta) -> None:
    """Keep a grant until it is taken, or its time is over."""
    await redis.set(keys.log_stream(digest), msgspec.json.encode(grant), px=ttl, nx=True)


async def take(redis: Redis, digest: str) -> Grant | None:
    """The grant of a token, which is used up by this; None when there is none (any more)."""
    found: bytes | None = await redis.getdel(keys.log_stream(digest))
    return None if found is None else _DECODER.decode(found)
