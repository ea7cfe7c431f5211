"""Finding out what an id stands for: ids are unique over all kinds of rows."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.identity import users
from db.models.records import logs, system_events
from db.models.work import agents, clips, jobs, uploads, workers


class Kind(StrEnum):
    """What has an id of its own."""

    JOB = "job"
    CLIP = "clip"
    UPLOAD = "upload"
    USER = "user"
    LOG_LINE = "log_line"
    SYSTEM_EVENT = "system_event"
    AGENT = "agent"
    WORKER = "worker"


_BY_UUID: Final = {
    Kind.JOB: jobs,
    Kind.CLIP: clips,
    Kind.UPLOAD: uploads,
    Kind.USER: users,
    Kind.LOG_LINE: logs,
    Kind.SYSTEM_EVENT: system_events,
}
_BY_NAME: Final = {Kind.AGENT: agents, Kind.WORKER: workers}


async def kind_of(tx: Transaction, key: UUID | str, kinds: Collection[Kind]) -> Kind | None:
    """Which of `kinds` the row of that id is; None when there is none that the transaction may see."""
    tables = _BY_UUID if isinstance(key, UUID) else _BY_NAME
    searched = [
        sa.select(sa.literal(kind.value).label("kind")).where(table.c.id == key)
        for kind, table in tables.items()
        if kind in kinds
    ]
    if not searched:
        return None
    found = await tx.scalar(sa.union_all(*searched).limit(1))
    return None if found is None else Kind(found)
