"""Managers: what each is asked to be, what each process says of its own, and how its rounds went.

A wish has a version that every change raises; a process that has obeyed says which one. What a process says counts for
fifteen seconds.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.database import Transaction
from db.models.managers import ManagerId, ManagerState, ManagerWish, manager_minutes, manager_runs, managers
from db.rows import Row, Shape

SILENT_AFTER: Final = timedelta(seconds=15)
KEPT: Final = timedelta(days=2)
"""How long it is remembered how rounds went."""

EDGES_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
"""Ends of the classes that rounds are counted in by how long they took; one more is for what took longer."""


class Wish(Row, frozen=True):
    """What a manager is asked to be."""

    id: ManagerId
    wish: ManagerWish
    every_s: float | None
    """Seconds between rounds; None for the usual ones."""

    options: dict[str, Any]
    generation: int
    """Raised to have it stopped and started again."""

    resets: int
    """Raised to have its counters begin at zero."""

    version: int
    """Raised by every change."""


class Run(Row, frozen=True):
    """A manager in one process."""

    manager: ManagerId
    process: str
    state: ManagerState
    version: int
    """The last version of the wish that was obeyed."""

    rounds: int
    errors: int
    last_error: str | None
    last_round_at: datetime | None
    since: datetime
    heartbeat_at: datetime


class Said(Row, frozen=True, kw_only=True):
    """What a process says of one of its managers."""

    manager: ManagerId
    state: ManagerState
    version: int
    rounds: int
    errors: int
    last_error: str | None
    last_round_at: datetime | None
    since: datetime


class Minute(Row, frozen=True, kw_only=True):
    """How the rounds of one minute went in one process."""

    manager: ManagerId
    minute: datetime
    rounds: int
    errors: int
    took: Sequence[int]
    """How many rounds fell into each class of `EDGES_MS`."""


class Spell(Row, frozen=True):
    """How the rounds of a stretch of time went, in all processes."""

    manager: ManagerId
    rounds: int
    errors: int
    took: tuple[int, ...]

    def quantile_ms(self, share: float) -> float | None:
        """What `share` of the rounds took at most, as the end of its class; None without rounds."""
        wanted, seen = share * sum(self.took), 0
        for edge, count in zip((*EDGES_MS, EDGES_MS[-1] * 2), self.took, strict=True):
            seen += count
            if count and seen >= wanted:
                return float(edge)
        return None


WISH = Shape(Wish, managers)
RUN = Shape(Run, manager_runs)


def classed(took_ms: float) -> int:
    """Into which class a round falls."""
    return bisect_left(EDGES_MS, took_ms)


async def wishes(tx: Transaction) -> list[Wish]:
    """What was ever asked of managers; one that is missing is as it usually is."""
    return await WISH.all(tx, WISH.select())


async def asked(tx: Transaction, manager: ManagerId) -> Wish:
    """What a manager is asked to be, held until this transaction ends."""
    await tx.execute(insert(managers).values(id=manager).on_conflict_do_nothing())
    found = await WISH.first(tx, WISH.select().where(managers.c.id == manager).with_for_update())
    assert found is not None
    return found


async def ask(tx: Transaction, manager: ManagerId, **values: Any) -> Wish:
    """Change what a manager is asked to be.

    Args:
        values: columns; `generation=True` and `resets=True` raise theirs by one.
    """
    raised = {name: managers.c[name] + 1 for name in ("generation", "resets") if values.pop(name, False)}
    statement = (
        sa.update(managers)
        .where(managers.c.id == manager)
        .values(**values, **raised, version=managers.c.version + 1, changed_at=sa.func.now())
    )
    changed = await WISH.first(tx, statement.returning(*WISH.columns))
    assert changed is not None
    return changed


async def say(tx: Transaction, process: str, said: Sequence[Said], minutes: Sequence[Minute]) -> None:
    """Write down what a process says of its managers, and how their rounds went so far this minute."""
    for each in said:
        told = {name: getattr(each, name) for name in Said.__struct_fields__} | {"heartbeat_at": sa.func.now()}
        await tx.execute(
            insert(manager_runs)
            .values(process=process, **told)
            .on_conflict_do_update(index_elements=[manager_runs.c.manager, manager_runs.c.process], set_=told)
        )
    for minute in minutes:
        counted: Mapping[str, Any] = {name: getattr(minute, name) for name in Minute.__struct_fields__}
        await tx.execute(
            insert(manager_minutes)
            .values(process=process, **counted)
            .on_conflict_do_update(
                index_elements=[manager_minutes.c.manager, manager_minutes.c.minute, manager_minutes.c.process],
                set_=counted,
            )
        )


async def runs(tx: Transaction, *, process: str | None = None) -> list[Run]:
    """The managers of all processes that were heard of lately, or of one of them."""
    heard = RUN.select().where(manager_runs.c.heartbeat_at > sa.func.now() - SILENT_AFTER)
    if process is not None:
        heard = heard.where(manager_runs.c.process == process)
    return await RUN.all(tx, heard.order_by(manager_runs.c.manager, manager_runs.c.process))


async def leave(tx: Transaction, process: str) -> None:
    """Say that a process has no managers any more."""
    await tx.execute(sa.delete(manager_runs).where(manager_runs.c.process == process))


async def spells(tx: Transaction, *, lasting: timedelta) -> list[Spell]:
    """How the rounds of each manager went in the last stretch of time."""
    c = manager_minutes.c
    counts = sa.func.unnest(c.took).table_valued("count", with_ordinality="place", joins_implicitly=True)
    classes = counts.render_derived()
    recent = c.minute > sa.func.now() - lasting
    totals = await tx.rows(
        sa.select(c.manager, sa.func.sum(c.rounds), sa.func.sum(c.errors)).where(recent).group_by(c.manager)
    )
    counted = await tx.rows(
        sa.select(c.manager, classes.c.place, sa.func.sum(classes.c.count))
        .where(recent)
        .group_by(c.manager, classes.c.place)
        .order_by(c.manager, classes.c.place)
    )
    took: dict[ManagerId, list[int]] = {manager: [] for manager, *_ in totals}
    for manager, _, count in counted:
        took[manager].append(int(count))
    return [Spell(manager, int(rounds), int(errors), tuple(took[manager])) for manager, rounds, errors in totals]


def liveliest(found: Sequence[Run]) -> ManagerState:
    """How a manager is over all of its processes: as the liveliest of them."""
    states = {run.state for run in found}
    return next((state for state in ManagerState if state in states), ManagerState.STOPPED)


async def forget(tx: Transaction) -> None:
    """Remove what is too old to be asked for."""
    await tx.execute(sa.delete(manager_minutes).where(manager_minutes.c.minute < sa.func.now() - KEPT))
    await tx.execute(sa.delete(manager_runs).where(manager_runs.c.heartbeat_at < sa.func.now() - KEPT))
