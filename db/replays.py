"""What was answered to calls that carried an idempotency key; how old an answer is, the database's clock says."""

from datetime import timedelta
from typing import Final
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
    code: str | None
    """Of the refusal that it was answered with; None when it was carried out."""

    settling: bool
    """Whether the answer is still being made whole."""


class NewReplay(Row, frozen=True, kw_only=True):
    """A call and its answer, to be kept."""

    principal: UUID
    key: str
    action: str
    fingerprint: bytes
    answer: bytes
    code: str | None = None


KEPT_FOR: Final = timedelta(hours=24)
"""How long an answer is kept; under the same key a call afterwards is a new one."""

_SETTLING = sa.func.coalesce(replays.c.settling_until > sa.func.now(), sa.false())
REPLAY = Shape(Replay, replays, settling=_SETTLING)


async def by_key(tx: Transaction, principal: UUID, key: str) -> Replay | None:
    """What was answered under a key, unless that is too long ago."""
    return await REPLAY.first(
        tx, REPLAY.select().where(*_under(tx, principal, key), replays.c.created_at > sa.func.now() - KEPT_FOR)
    )


async def put(tx: Transaction, new: NewReplay, *, settling_for: timedelta | None = None) -> None:
    """Keep an answer under a key, in the place of the one that was there.

    Args:
        settling_for: how long the answer is held to be incomplete, unless `settle` comes first.
    """
    until = None if settling_for is None else sa.func.now() + settling_for
    told = {
        "action": new.action,
        "fingerprint": new.fingerprint,
        "answer": new.answer,
        "code": new.code,
        "settling_until": until,
        "created_at": sa.func.now(),
    }
    statement = insert(replays).values(tenant_id=tx.tenant, principal=new.principal, key=new.key, **told)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[replays.c.tenant_id, replays.c.principal, replays.c.key], set_=told
        )
    )


async def settle(tx: Transaction, principal: UUID, key: str, *, fingerprint: bytes, answer: bytes) -> None:
    """Complete an answer that is held to be incomplete; one that has been taken for whole meanwhile stays as it is."""
    incomplete = (replays.c.fingerprint == fingerprint, replays.c.settling_until > sa.func.now())
    await tx.execute(
        sa.update(replays).where(*_under(tx, principal, key), *incomplete).values(answer=answer, settling_until=None)
    )


def _under(tx: Transaction, principal: UUID, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return replays.c.tenant_id == tx.tenant, replays.c.principal == principal, replays.c.key == key
