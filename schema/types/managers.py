"""Managers: the loops that keep the house in order."""

from datetime import datetime

from strawberry.scalars import JSON

from db import managers as rows
from db.models.managers import ManagerId, ManagerState, ManagerWish
from resolvers.queries import managers
from schema.fields import shows
from schema.scalars import BigInt


@shows(rows.Run)
class ManagerRun:
    """A manager in one process."""

    process: str
    state: ManagerState
    version: int
    rounds: BigInt
    errors: BigInt
    last_error: str | None
    last_round_at: datetime | None
    since: datetime
    heartbeat_at: datetime


@shows(managers.Manager)
class Manager:
    """A loop that keeps the house in order."""

    id: ManagerId
    wish: ManagerWish
    state: ManagerState | None
    every_s: float | None
    options: JSON
    runs: list[ManagerRun]
