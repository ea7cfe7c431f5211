"""The audit trail."""

from datetime import datetime
from typing import cast

import strawberry
from strawberry.scalars import JSON

from db import users as user_rows
from guards.audit import Outcome
from resolvers.queries import audit
from schema.fields import Info, nested, shows
from schema.scalars import BigInt
from schema.types.people import User


@shows(audit.AuditEntry)
class AuditEntry:
    """What somebody did, or was refused."""

    seq: BigInt
    at: datetime
    actor_id: strawberry.ID | None
    role: str | None
    action: str
    target: str | None
    outcome: Outcome
    code: str | None
    trace_id: str | None
    key_hash: str | None
    details: JSON
    result: JSON
    address: str | None
    user_agent: str | None
    hash: str

    @nested(User | None)
    async def actor(self, info: Info) -> user_rows.User | None:
        """Who it was; null when it was not a person, or they were removed."""
        actor = cast(audit.AuditEntry, self).actor_id
        return None if actor is None else await info.context.loaders.user.load(actor)
