"""Leave to follow the log as it is written: a token that is good once, for one filter, for a short while.

The token itself is told to who asked and kept nowhere: Redis has its digest. Whoever brings it must be the one it was
given to, and still be let see the log. Redis away: none is given, and none is honoured.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from db import log_streams
from db.log_streams import Grant
from db.logs import Filter
from db.models.records import Severity
from db.redis import REDIS_AWAY
from db.rows import Row
from guards.errors import NotFound, Unavailable
from guards.permissions import Permission
from resolvers import logs
from resolvers.context import Context

CHANNEL: Final = "logAppended"
"""The subscription that takes the token."""

_TOKEN_BYTES: Final = 32
_NONE: Final = "there is no such stream (any more): ask for a new one"


class Issued(Row, frozen=True, kw_only=True):
    """Leave that was given."""

    stream_id: str
    """The token; it is shown this once."""

    channel: str
    expires_at: datetime
    """Until when it must have been used; what was begun with it goes on."""


async def issued(context: Context, *, level: Severity | None, source: str | None, ttl: timedelta) -> Issued:
    """A token that lets the caller follow what of the log a filter selects.

    Raises:
        Unavailable: Redis does not answer.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    caller = context.caller
    grant = Grant(tenant=caller.tenant, user_id=caller.user_id, level=level, source=source)
    try:
        await log_streams.put(context.services.redis, _digest(token), grant, ttl=ttl)
    except REDIS_AWAY as error:
        raise Unavailable("streams cannot be opened just now: Redis does not answer", retry_after=1) from error
    return Issued(stream_id=token, channel=CHANNEL, expires_at=datetime.now(UTC) + ttl)


async def redeemed(context: Context, token: str) -> Filter:
    """What the caller may follow with a token, which is used up by this.

    Raises:
        Forbidden: the caller may not see the log (any more), or not from this address.
        NotFound: there is no such token, it was used, its time is over, or it is somebody else's.
        Unavailable: Redis does not answer.
    """
    context.require(Permission.LOG_READ)
    try:
        grant = await log_streams.take(context.services.redis, _digest(token))
    except REDIS_AWAY as error:
        raise Unavailable("streams cannot be opened just now: Redis does not answer", retry_after=1) from error
    caller = context.caller
    # Used up also when somebody else brings it: then it was not kept secret.
    if grant is None or (grant.tenant, grant.user_id) != (caller.tenant, caller.user_id):
        raise NotFound(_NONE)
    return Filter(levels=logs.at_least(grant.level), source=grant.source)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
