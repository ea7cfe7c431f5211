"""Bringing the tables to the revision of the code while the house runs, and starting everything again with them."""

import time
from typing import Annotated, Any, Final

from msgspec import Meta

from db import halts, services
from db.database import DatabaseBusy
from db.halts import Held
from db.migrations import runner
from db.migrations.runner import MigrationBusy, NoRevision
from db.rows import Row
from guards.errors import BadInput, Conflict
from resolvers.actions.contract import KEPT, Action, Payload, View, Work, operation
from resolvers.actions.system_controls.restarts import renew_everything
from resolvers.context import Context
from resolvers.timing import ms_since


class SystemRestartWithMigrationInput(Payload, frozen=True, kw_only=True):
    """Up to where."""

    target: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_]{1,40}$", extra=KEPT)] = "head"
    """A revision ahead of the present one, or `head`."""

    dry_run: bool = False
    """Only say which revisions would be applied."""


class Migrated(Row, frozen=True, kw_only=True):
    """Where the tables are, and what is started again."""

    dry_run: bool
    from_revision: str
    to_revision: str
    applied: list[str]
    """Revisions in their order; in a dry run, those that would be."""

    restarted: list[str]
    """Processes that are started again, in the order of their turns; none where there is no supervisor."""

    duration_ms: float


async def _require_ahead(context: Context, asked: SystemRestartWithMigrationInput) -> None:
    try:
        await runner.pending(context.services.database.url, asked.target)
    except NoRevision as error:
        raise BadInput(f"target: {error}") from error


@operation(
    "system.restart_with_migration",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    destructive=True,
    target="target",
    prepare=_require_ahead,
)
async def system_restart_with_migration(work: Work, asked: SystemRestartWithMigrationInput) -> Migrated:
    """Apply the revisions up to a target while no job is begun, and have every process started again one by one.

    One process migrates at a time; the queues go on as they were also when it fails. Without a supervisor the
    processes stay as they are.

    Raises:
        BadInput: there is no such revision, or the tables are past it.
        Conflict: another process migrates just now, or a long transaction holds a table.
    """
    began, url = time.perf_counter(), work.services.database.url
    before, pending = await runner.current(url), await runner.pending(url, asked.target)
    if asked.dry_run:
        return _migrated(before, pending, began, dry_run=True)
    try:
        if pending:
            async with halts.halted(work.services.database, "the tables are being migrated"):
                await work.report(0.1, f"applying {', '.join(pending)}")
                await runner.upgrade(url, asked.target)
    except (MigrationBusy, DatabaseBusy, Held) as error:
        raise Conflict(str(error)) from error
    async with work.services.database.transaction(work.caller.tenant) as tx:
        supervised = await services.in_charge(tx) is not None
        restarted = await renew_everything(tx, delay_s=1) if supervised else []
    return _migrated(before, pending, began, restarted=restarted)


def _migrated(
    before: str | None, applied: list[str], began: float, *, dry_run: bool = False, restarted: list[str] | None = None
) -> Migrated:
    return Migrated(
        dry_run=dry_run,
        from_revision=before or "none",
        to_revision=applied[-1] if applied else before or "none",
        applied=applied,
        restarted=restarted or [],
        duration_ms=ms_since(began),
    )


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (system_restart_with_migration,)
