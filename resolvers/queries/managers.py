"""Managers as they are asked to be, and as the processes say that they are."""

from typing import Any

from db import managers
from db.managers import Run
from db.models.managers import ManagerId, ManagerState, ManagerWish
from db.rows import Row
from resolvers.context import Context


class Manager(Row, frozen=True, kw_only=True):
    """A loop that keeps the house in order."""

    id: ManagerId
    wish: ManagerWish
    """What it is asked to be."""

    state: ManagerState | None
    """What it is, as the liveliest of its processes; null where no process has it."""

    every_s: float | None
    """Seconds between rounds; null for the usual ones."""

    options: dict[str, Any]
    runs: list[Run]
    """It in each process that has it."""


async def everyone(context: Context) -> list[Manager]:
    """All managers, by name."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        wishes = {wish.id: wish for wish in await managers.wishes(tx)}
        runs = await managers.runs(tx)
    found = []
    for manager in ManagerId:
        own = [run for run in runs if run.manager is manager]
        wish = wishes.get(manager)
        found.append(
            Manager(
                id=manager,
                wish=wish.wish if wish else ManagerWish.RUNNING,
                state=managers.liveliest(own) if own else None,
                every_s=wish.every_s if wish else None,
                options=wish.options if wish else {},
                runs=own,
            )
        )
    return found
