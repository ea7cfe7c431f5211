"""The audit trail of a tenant; rows are added and never changed."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.records import audit
from db.rows import Row


class NewEntry(Row, frozen=True, kw_only=True):
    """An entry as it is written."""

    actor_id: UUID | None
    action: str
    target: str | None
    outcome: str
    trace_id: str | None
    details: Mapping[str, Any]


async def add(tx: Transaction, entry: NewEntry) -> None:
    """Write an entry."""
    values = {name: getattr(entry, name) for name in NewEntry.__struct_fields__}
    await tx.execute(sa.insert(audit).values(tenant_id=tx.tenant, **values))
