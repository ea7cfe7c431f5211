"""Circuit breakers: what people decided about them by hand, for every process to obey.

How a breaker fares by itself is each process's own and written nowhere.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.breakers import breakers
from db.rows import Row, Shape


class Decision(Row, frozen=True):
    """What was decided last about the breaker of one dependency."""

    dependency: str
    isolated: bool
    """Whether nothing passes until it is closed by hand."""

    reason: str | None
    changed_by: UUID | None
    version: int
    """Raised by every decision; who sees a new one obeys it."""

    changed_at: datetime


DECISION = Shape(Decision, breakers)


async def decisions(tx: Transaction) -> list[Decision]:
    """What was ever decided; a breaker that is missing was left to itself."""
    return await DECISION.all(tx, DECISION.select())


async def decide(tx: Transaction, dependency: str, *, isolated: bool, reason: str | None, by: UUID | None) -> Decision:
    """Decide about a breaker, whatever was decided before."""
    told = {"isolated": isolated, "reason": reason, "changed_by": by, "changed_at": sa.func.now()}
    statement = (
        insert(breakers)
        .values(dependency=dependency, **told)
        .on_conflict_do_update(index_elements=[breakers.c.dependency], set_={**told, "version": breakers.c.version + 1})
    )
    decided = await DECISION.first(tx, statement.returning(*DECISION.columns))
    assert decided is not None
    return decided
