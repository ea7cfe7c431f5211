"""The database: how it is, tending it, cleaning it up, and exporting what is in it; all of it for every tenant."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from db import backups, cleanups, exports, layout, sizes, system_events, tallies, timings, upkeep
from db.archives import Includes
from db.cleanups import Ages
from db.exports import ExportFormat
from db.rows import Row
from db.sizes import Counted, Index, Records
from db.timings import Timing
from db.upkeep import InUse, NoTable
from guards.breakers import Dependency
from guards.errors import BadInput, Conflict, NotFound
from resolvers import reports, snapshots
from resolvers.actions.contract import Action, Big, Call, Empty, Payload, View, Work, action, operation
from resolvers.actions.system_controls.backups import TableName, folder_of, path_of, refusing
from resolvers.context import Context
from resolvers.timing import ms_since

MANY_DEAD: Final = 0.5
"""Dead rows for each living one, from which on somebody should look."""

LATELY: Final = 20


class DatabaseHealth(Row, frozen=True, kw_only=True):
    """Whether somebody should look at the database."""

    status: str
    """`healthy`, or `degraded` when there are issues."""

    issues: list[str]


class DatabaseStatus(Row, frozen=True, kw_only=True):
    """The database, over all tenants."""

    size_bytes: Big
    total_records: Big
    estimated: bool
    """Whether some table has too many rows to be counted each time."""

    users_count: Big
    jobs_count: Big
    clips_count: Big
    processing_steps_count: Big
    indexes_count: int
    connections: int
    health: DatabaseHealth


@action("database.status", View.SYSTEM_CONTROLS, natural=True)
async def database_status(call: Call[DatabaseStatus], asked: Empty) -> DatabaseStatus:
    """Show how large the database is, what is in it, and how many are connected to it."""
    async with call.tx.everybody():
        whole = await sizes.extent(call.tx)
        tables = await layout.tables(call.tx)
        counts = {table.name: await sizes.counted(call.tx, table) for table in tables}
        # Of jobs there is an exact count however many there are.
        jobs = Counted(sum((await tallies.counts(call.tx)).values()), False)
        found = await sizes.indexes(call.tx)
    counts["jobs"] = jobs
    rows = sum(each.rows for each in counts.values())
    return DatabaseStatus(
        size_bytes=whole.size_bytes,
        total_records=rows,
        estimated=any(each.estimated for each in counts.values()),
        users_count=counts["users"].rows,
        jobs_count=jobs.rows,
        clips_count=counts["clips"].rows,
        processing_steps_count=counts["processing_steps"].rows,
        indexes_count=len(found),
        connections=whole.connections,
        health=_health(found, whole.dead_rows, rows),
    )


def _health(found: list[Index], dead: int, living: int) -> DatabaseHealth:
    issues = [f"the index {index.name} is not valid: database.optimize_indexes" for index in found if not index.valid]
    if dead > 10_000 and dead > living * MANY_DEAD:
        issues.append(f"{dead} dead rows beside {living} living ones: database.vacuum")
    return DatabaseHealth(status="degraded" if issues else "healthy", issues=issues)


class PerformanceChecked(Row, frozen=True, kw_only=True):
    """How quickly the database answers."""

    query_tests: list[Timing]
    indexes: list[Index]
    average_query_time: float
    """Milliseconds."""

    health_score: int
    """100, less what slow questions, large tables read without an index and broken indexes cost; never below 0."""


@action("database.performance_check", View.SYSTEM_CONTROLS, per_minute=10, natural=True)
async def database_performance_check(call: Call[PerformanceChecked], asked: Empty) -> PerformanceChecked:
    """Ask what the house asks all the time, each question three times, and see whether an index answers it."""
    asked_all = await timings.all_asked(call.tx)
    async with call.tx.everybody():
        found = await sizes.indexes(call.tx)
    return PerformanceChecked(
        query_tests=asked_all,
        indexes=found,
        average_query_time=round(timings.average_ms(asked_all), 3),
        health_score=timings.score(asked_all, found),
    )


class RecentActivity(Row, frozen=True, kw_only=True):
    """Something that happened lately to the caller's tenant."""

    time: datetime
    description: str


class RecordDetails(Row, frozen=True, kw_only=True):
    """What is in the tables, over all tenants."""

    tables: list[Records]
    recent_activity: list[RecentActivity]
    """The newest system events."""


@action("database.record_details", View.SYSTEM_CONTROLS, natural=True)
async def database_record_details(call: Call[RecordDetails], asked: Empty) -> RecordDetails:
    """Count the rows of each table, with the oldest and the newest; large tables are estimated, and said to be."""
    lately = await system_events.recent(call.tx, most=LATELY)
    async with call.tx.everybody():
        tables = await sizes.records(call.tx)
    return RecordDetails(
        tables=tables,
        recent_activity=[
            RecentActivity(time=event.created_at, description=f"{event.kind}: {event.message}") for event in lately
        ],
    )


class DatabaseVacuumInput(Payload, frozen=True, kw_only=True):
    """What to clear."""

    table: TableName | None = None
    """Left out, all of them."""

    full: bool = False
    """Give the room back to the disk; nobody can use the table meanwhile."""


class Vacuumed(Row, frozen=True, kw_only=True):
    """What it brought, as measured."""

    tables: list[str]
    size_before: Big
    size_after: Big
    space_freed: Big
    """May be 0, and below: without `full`, room is kept for rows to come."""

    duration_ms: float


@operation("database.vacuum", View.SYSTEM_CONTROLS, per_minute=5, destructive=True, target="table")
async def database_vacuum(work: Work, asked: DatabaseVacuumInput) -> Vacuumed:
    """Clear away what deleted and replaced rows have left, and look at the tables anew.

    Raises:
        NotFound: there is no such table.
        Conflict: somebody uses a table all the time that was to be rewritten.
    """
    began = time.perf_counter()
    try:
        done = await upkeep.vacuum(work.services.database, asked.table, full=asked.full, progress=work.report)
    except NoTable as error:
        raise NotFound(str(error)) from error
    except InUse as error:
        raise Conflict(str(error)) from error
    return Vacuumed(
        tables=done.tables,
        size_before=done.size_before,
        size_after=done.size_after,
        space_freed=done.size_before - done.size_after,
        duration_ms=ms_since(began),
    )


class DatabaseOptimizeIndexesInput(Payload, frozen=True, kw_only=True):
    """Whose indexes."""

    table: TableName | None = None
    """Left out, those of all tables."""


class IndexesOptimized(Row, frozen=True, kw_only=True):
    """What it brought, as measured."""

    indexes_analyzed: int
    indexes_rebuilt: int
    leftovers_dropped: list[str]
    """What earlier rebuilds had left behind half-built."""

    size_before: Big
    size_after: Big
    performance_improvement: float
    """Percent by which the house's questions are answered quicker than before; may be 0 or below."""

    duration_ms: float


@operation("database.optimize_indexes", View.SYSTEM_CONTROLS, per_minute=5, target="table")
async def database_optimize_indexes(work: Work, asked: DatabaseOptimizeIndexesInput) -> IndexesOptimized:
    """Build indexes anew while they are used, and measure what that brought.

    Raises:
        NotFound: there is no such table.
        Conflict: somebody held a table for too long; what was rebuilt before stays so.
    """
    began = time.perf_counter()
    before = await _average_ms(work)
    try:
        done = await upkeep.reindex(work.services.database, asked.table, progress=work.report)
    except NoTable as error:
        raise NotFound(str(error)) from error
    except InUse as error:
        raise Conflict(str(error)) from error
    after = await _average_ms(work)
    return IndexesOptimized(
        indexes_analyzed=len(done.indexes),
        indexes_rebuilt=len(done.indexes),
        leftovers_dropped=done.dropped,
        size_before=done.size_before,
        size_after=done.size_after,
        performance_improvement=round((before - after) / before * 100, 2),
        duration_ms=ms_since(began),
    )


async def _average_ms(work: Work) -> float:
    async with work.services.database.transaction(work.caller.tenant) as tx:
        return timings.average_ms(await timings.all_asked(tx))


class DatabaseCleanupOldDataInput(Payload, frozen=True, kw_only=True):
    """What is old enough to go."""

    completed_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """Since a job was completed or cancelled."""

    failed_days: Annotated[int, Meta(ge=1, le=3650)] = 7
    """Since a job failed."""

    logs_days: Annotated[int, Meta(ge=1, le=3650)] = 90
    """Since a log line or system event was written."""

    backup_first: bool = True
    dry_run: bool = False
    """Only say how much would go."""


class CleanedUp(Row, frozen=True, kw_only=True):
    """What went, or would go, of all tenants."""

    dry_run: bool
    jobs_removed: int
    clips_removed: int
    steps_removed: int
    artifacts_removed: int
    events_removed: int
    """System events."""

    logs_removed: int
    total_removed: int
    space_freed: Big
    """Bytes of the tables, as measured after clearing up; room that PostgreSQL keeps for rows to come is not in it."""

    files_unreferenced_bytes: Big
    """Of clips and artifacts that no row names any more; the sweeps remove them within the hour."""

    backup_created: bool
    backup_path: str | None


@operation("database.cleanup_old_data", View.SYSTEM_CONTROLS, per_minute=5, destructive=True)
async def database_cleanup_old_data(work: Work, asked: DatabaseCleanupOldDataInput) -> CleanedUp:
    """Remove jobs that are long done, with all that is theirs, and old log lines and system events, of all tenants.

    The audit trail is not among what goes.

    Raises:
        Unavailable: the backup before it did not fit on the disk; nothing was removed.
    """
    database = work.services.database
    ages = Ages(
        completed=timedelta(days=asked.completed_days),
        failed=timedelta(days=asked.failed_days),
        logs=timedelta(days=asked.logs_days),
    )
    expected = await cleanups.impact(database, ages)
    if asked.dry_run:
        return _cleaned(expected, dry_run=True)
    path = await _backed_up(work) if asked.backup_first else None
    begin = 0.4 if asked.backup_first else 0.0

    async def told(share: float, where: str) -> None:
        await work.report(begin + (0.8 - begin) * share, where)

    async with database.system() as tx:
        before = await sizes.of_tables(tx, cleanups.TOUCHED)
    removed = await cleanups.remove(database, ages, expected, progress=told)
    for number, table in enumerate(cleanups.TOUCHED):
        await work.report(0.8 + 0.2 * number / len(cleanups.TOUCHED), f"vacuuming {table}")
        await upkeep.vacuum(database, table, full=False, progress=_quietly)
    async with database.system() as tx:
        freed = before - await sizes.of_tables(tx, cleanups.TOUCHED)
    await snapshots.collected_anew(work.services, work.caller.tenant)
    return _cleaned(removed, dry_run=False, freed=freed, path=path)


async def _backed_up(work: Work) -> str:
    async def told(share: float, where: str) -> None:
        await work.report(share * 0.4, f"backing up: {where}")

    everything = Includes(logs=True, job_data=True, user_data=True)
    name = f"before-cleanup-{backups.new_name()}"
    with refusing():
        made = await folder_of(work.services).create(
            work.services.database, name, everything, compressed=True, progress=told
        )
    return path_of(made)


async def _quietly(share: float, where: str) -> None:
    """Said elsewhere already."""


def _cleaned(removed: cleanups.Removed, *, dry_run: bool, freed: int = 0, path: str | None = None) -> CleanedUp:
    return CleanedUp(
        dry_run=dry_run,
        jobs_removed=removed.jobs,
        clips_removed=removed.clips,
        steps_removed=removed.steps,
        artifacts_removed=removed.artifacts,
        events_removed=removed.events,
        logs_removed=removed.logs,
        total_removed=removed.total,
        space_freed=freed,
        files_unreferenced_bytes=removed.file_bytes,
        backup_created=path is not None,
        backup_path=path,
    )


class DatabaseExportDataInput(Payload, frozen=True, kw_only=True):
    """What to export, and how."""

    tables: Annotated[list[TableName], Meta(min_length=1, max_length=len(exports.TABLES))]
    format: ExportFormat = ExportFormat.JSON
    since: Annotated[datetime, Meta(tz=True)] | None = None
    """Only rows from then on, of tables whose rows bear a time."""

    limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 100_000
    """Rows of each table, the newest first where they bear a time."""


class DataExported(Row, frozen=True, kw_only=True):
    """A file with the rows, to be fetched within the hour."""

    filename: str
    format: ExportFormat
    size: Big
    records_count: Big
    download_url: str
    path: str
    """What it is called in the link; where it lies is nobody's to know."""

    sha256: str
    expires_at: datetime


async def _require_exportable(context: Context, asked: DatabaseExportDataInput) -> None:
    if strange := sorted(set(asked.tables) - exports.TABLES.keys()):
        raise BadInput(f"tables: {strange[0]} cannot be exported; these can: {', '.join(exports.TABLES)}")


@operation(
    "database.export_data",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    depends_on=Dependency.FILES,
    prepare=_require_exportable,
    aliases={"export_format": "format"},
)
async def database_export_data(work: Work, asked: DatabaseExportDataInput) -> DataExported:
    """Write rows of all tenants into a file behind a signed link; whatever tells who somebody is, is masked.

    Raises:
        BadInput: a table cannot be exported.
        Unavailable: the disk is full.
    """
    names = list(dict.fromkeys(asked.tables))
    with refusing(), work.services.files.scratch() as place:
        written = await exports.export(
            work.services.database,
            place,
            names,
            asked.format,
            since=asked.since,
            most=asked.limit,
            progress=work.report,
        )
        name = f"export-{datetime.now(UTC):%Y%m%d-%H%M%S}.{written.suffix}"
        kept = await reports.kept(work.context, name, written.media_type, place)
    return DataExported(
        filename=kept.filename,
        format=asked.format,
        size=kept.size_bytes,
        records_count=sum(written.rows.values()),
        download_url=kept.download_url,
        path=kept.filename,
        sha256=kept.sha256,
        expires_at=kept.expires_at,
    )


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    database_status,
    database_performance_check,
    database_record_details,
    database_vacuum,
    database_optimize_indexes,
    database_cleanup_old_data,
    database_export_data,
)
