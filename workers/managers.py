"""Managers: the small loops that keep the house in order while jobs are done.

Each has an interval and does one thing that several processes may do at once without harm. Which of them run, how often
and with what options is asked of them in the database, and obeyed within a second (`workers.rounds`).
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from dataloaders.snapshot import Snapshots
from db import leases, managers, queues, retention, sweeps, tallies, traffic, workers
from db.database import Database
from db.files import Files
from db.models.managers import ManagerId
from db.rows import Row
from guards.anchors import Anchors

WORKERS_KEPT: Final = timedelta(days=1)

log = logging.getLogger(__name__)


class NoOptions(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing of it can be set but its interval."""


class QueueOptions(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the queue is looked after."""

    most: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Jobs that are taken away from silent workers in one round."""


class DatabaseOptions(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the database is probed."""

    slow_ms: Annotated[int, Meta(ge=1, le=5000)] = 500
    """An answer that takes longer is logged."""


OPTIONS: Final[Mapping[ManagerId, type[Row]]] = {ManagerId.QUEUE: QueueOptions, ManagerId.DATABASE: DatabaseOptions}
"""What can be set of a manager beside its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One loop."""

    id: ManagerId
    every: timedelta
    tick: Callable[[Any], Awaitable[object]]
    """One round, with the manager's options."""

    driven: bool = False
    """Whether its rounds are begun from outside, by a cron."""


def known(database: Database, files: Files, snapshots: Snapshots, anchors: Anchors) -> list[Manager]:
    """Every manager that runs beside the jobs."""

    async def reap(options: QueueOptions) -> None:
        async with database.system() as tx:
            for job in await leases.reap(tx, most=options.most):
                log.warning("job %s was left by its worker and is %s", job.id, job.status)
        async with database.system() as tx:
            for worker_id in await workers.note_silent(tx):
                log.warning("worker %s fell silent", worker_id)
        async with database.system() as tx:
            for tenant, state in (await queues.settle_drains(tx)).items():
                log.info("the queue of %s %s", tenant, "has drained" if state.paused else "did not drain in time")

    async def fold(_: NoOptions) -> None:
        async with database.system() as tx:
            await tallies.fold(tx)
        async with database.system() as tx:
            await traffic.fold(tx)

    async def forget(_: NoOptions) -> None:
        async with database.system() as tx:
            await workers.forget(tx, silent_for=WORKERS_KEPT)
            await managers.forget(tx)

    async def probe(options: DatabaseOptions) -> None:
        began = time.perf_counter()
        async with database.system() as tx:
            await managers.wishes(tx)
        took_ms = (time.perf_counter() - began) * 1000
        if took_ms > options.slow_ms:
            log.warning("the database took %.0f ms to answer", took_ms)

    async def expire(_: NoOptions) -> None:
        await sweeps.expire(database)

    async def clean(_: NoOptions) -> None:
        await sweeps.reconcile(database, files, now=time.time())
        await retention.drop_old_rows(database)
        await retention.drop_old_counts(database)
        await retention.drop_old_traffic(database)
        await retention.drop_old_work(database, files)
        for month in await anchors.keep_months():
            log.warning("the audit trail of %s was dropped: its time is over", month)

    async def warm(_: NoOptions) -> None:
        await snapshots.warm_all()

    async def anchor(_: NoOptions) -> None:
        await anchors.settle()

    return [
        Manager(id=ManagerId.SNAPSHOT, every=timedelta(seconds=5), tick=warm, driven=True),
        Manager(id=ManagerId.QUEUE, every=timedelta(seconds=5), tick=reap),
        Manager(id=ManagerId.ANALYTICS, every=timedelta(seconds=10), tick=fold),
        Manager(id=ManagerId.DATABASE, every=timedelta(seconds=30), tick=probe),
        Manager(id=ManagerId.UPLOAD, every=timedelta(minutes=1), tick=expire),
        Manager(id=ManagerId.AGENTS, every=timedelta(minutes=10), tick=forget),
        Manager(id=ManagerId.CLEANUP, every=timedelta(minutes=5), tick=clean),
        Manager(id=ManagerId.AUDIT, every=timedelta(seconds=5), tick=anchor),
    ]


def options(manager: ManagerId, given: Mapping[str, Any]) -> Any:
    """The options of a manager; those that were never set are the usual ones.

    Raises:
        msgspec.ValidationError: one is unknown or out of range.
    """
    return msgspec.convert(given, type=OPTIONS.get(manager, NoOptions))
