"""What was answered to calls that carried an idempotency key."""

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.guards import replays
from db.rows import Row, Shape


class Replay(Row, frozen=True):
    """A call and its answer."""

    action: str
    fingerprint: bytes
    answer: bytes


REPLAY = Shape(Replay, replays)


async def by_key(tx: Transaction, principal: UUID, key: str, *, kept_for: timedelta) -> Replay | None:
    """What was answered under a key, unless that is longer ago than `kept_for`."""
    wanted = REPLAY.select().where(
        replays.c.tenant_id == tx.tenant,
        replays.c.principal == principal,
        replays.c.key == key,
        replays.c.created_at > sa.func.now() - kept_for,
    )
    return await REPLAY.first(tx, wanted)


async def put(tx: Transaction, principal: UUID, key: str, *, action: str, fingerprint: bytes, answer: bytes) -> None:
    """Keep an answer under a key, in the place of the one that was there."""
    told = {"action": action, "fingerprint": fingerprint, "answer": answer, "created_at": sa.func.now()}
    statement = insert(replays).values(tenant_id=tx.tenant, principal=principal, key=key, **told)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[replays.c.tenant_id, replays.c.principal, replays.c.key], set_=told
        )
    )
