"""SystemLogs: reading, exporting and clearing what processes wrote; never what is on the audit trail."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from db import logs as lines
from db.logs import Filter, LogLine
from db.models.records import Severity
from db.rows import Row
from guards.breakers import Dependency
from resolvers import diagnostics, handlers, log_streams, logs, reports, sheets
from resolvers.actions.contract import KEPT, Action, Big, Call, Empty, Payload, View, Work, action, operation
from resolvers.context import Context
from resolvers.diagnostics import Diagnosis
from resolvers.logs import LogFormat

CLEAR_ALL: Final = "CLEAR ALL LOGS"

Source = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\ud800-\udfff]*$", extra=KEPT)]
Moment = Annotated[datetime, Meta(tz=True)]
Shown = Annotated[int, Meta(ge=1, le=1000)]
Day = date


class LogsExportInput(Payload, frozen=True, kw_only=True):
    """Which lines, and how they are written down."""

    level: Severity | None = None
    """Lines of just this level."""

    source: Source | None = None
    since: Moment | None = None
    until: Moment | None = None
    format: LogFormat = LogFormat.JSON
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    """The newest that many."""


class LogsExported(Row, frozen=True, kw_only=True):
    """A file of lines, to be fetched within the hour."""

    filename: str
    records_count: int
    size: Big
    sha256: str
    download_url: str
    expires_at: datetime


@operation("logs.export", View.SYSTEM_LOGS, per_minute=10, depends_on=Dependency.FILES, aliases={"log_level": "level"})
async def logs_export(work: Work, asked: LogsExportInput) -> LogsExported:
    """Write the newest lines that fit into a file, newest first.

    Raises:
        Unavailable: the disk is full.
    """
    wanted = _wanted(asked.level, asked.source, since=asked.since, until=asked.until)
    return _exported(await logs.exported(work.context, wanted, asked.format, most=asked.limit))


class LogsClearInput(Payload, frozen=True, kw_only=True):
    """Which lines to remove: of a source, of a level, or of both."""

    source: Source | None = None
    level: Severity | None = None
    older_than_hours: Annotated[int, Meta(ge=0, le=87_600)] = 0
    dry_run: bool = False
    """Only count them."""

    def __post_init__(self) -> None:
        """Refuse to clear everything by leaving everything out."""
        if self.source is None and self.level is None:
            raise ValueError("source or level is needed; logs.clear_all clears everything")


class LogsCleared(Row, frozen=True, kw_only=True):
    """What was removed."""

    deleted: int
    """0 when they were only counted."""

    matching: int
    """How many lines there were to remove."""

    dry_run: bool


@operation("logs.clear", View.SYSTEM_LOGS, per_minute=10, destructive=True, target="source")
async def logs_clear(work: Work, asked: LogsClearInput) -> LogsCleared:
    """Remove lines of a source or a level from the log of the application; the audit trail is none of it."""
    until = await logs.ago(work.context, timedelta(hours=asked.older_than_hours))
    wanted = _wanted(asked.level, asked.source, until=until)
    if asked.dry_run:
        return LogsCleared(deleted=0, matching=await logs.counted(work.context, wanted), dry_run=True)
    deleted = await logs.cleared(work.context, wanted)
    return LogsCleared(deleted=deleted, matching=deleted, dry_run=False)


class LogsClearAllInput(Payload, frozen=True, kw_only=True):
    """That it is meant."""

    confirm: Annotated[str, Meta(pattern=f"^{CLEAR_ALL}$")]
    """`CLEAR ALL LOGS`"""

    export_first: bool = True
    """Keep them in a file for a week."""


class LogsAllCleared(Row, frozen=True, kw_only=True):
    """What was removed, and where it is kept."""

    deleted: int
    export_filename: str | None
    download_url: str | None
    sha256: str | None


@operation("logs.clear_all", View.SYSTEM_LOGS, per_minute=10, destructive=True, depends_on=Dependency.FILES)
async def logs_clear_all(work: Work, asked: LogsClearAllInput) -> LogsAllCleared:
    """Remove every line of the log of the application, unless they could not be kept first; the audit trail stays.

    Raises:
        Unavailable: the disk is full; nothing was removed.
    """
    wanted = Filter(created_before=await logs.ago(work.context, timedelta(0)))
    file = None
    if asked.export_first:
        name = f"logs-before-clearing-{wanted.created_before:%Y%m%dT%H%M%SZ}"
        file = (await logs.packed(work.context, wanted, name=name)).file
        await work.report(0.5, f"kept as {file.filename}")
    return LogsAllCleared(
        deleted=await logs.cleared(work.context, wanted),
        export_filename=None if file is None else file.filename,
        download_url=None if file is None else file.download_url,
        sha256=None if file is None else file.sha256,
    )


class LogsDownloadFullInput(Payload, frozen=True, kw_only=True):
    """Of which day."""

    date: Day | None = None
    """In UTC; left out, everything there is."""


@operation("logs.download_full", View.SYSTEM_LOGS, per_minute=10, depends_on=Dependency.FILES)
async def logs_download_full(work: Work, asked: LogsDownloadFullInput) -> LogsExported:
    """Pack every line, of one day or of all, oldest first, a JSON object a line, as gzip.

    Raises:
        Unavailable: the disk is full.
    """
    if asked.date is None:
        return _exported(await logs.packed(work.context, Filter(), name="logs-full"))
    begin = datetime.combine(asked.date, time(), UTC)
    day = Filter(created_after=begin, created_before=begin + timedelta(days=1) if asked.date < date.max else None)
    return _exported(await logs.packed(work.context, day, name=f"logs-{asked.date}"))


class LogsRefreshInput(Payload, frozen=True, kw_only=True):
    """Which lines."""

    limit: Shown = 100
    level: Severity | None = None
    source: Source | None = None
    search: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00\ud800-\udfff]*$")] | None = None
    """What the message has in it, whether in capitals or not."""

    since: Moment | None = None


class LevelCount(Row, frozen=True, kw_only=True):
    """How many lines of one level there are."""

    level: Severity
    lines: int
    """Counted no further than 10,000."""

    more: bool
    """Whether there are more than were counted."""


class LogsRefreshed(Row, frozen=True, kw_only=True):
    """The newest lines, and how many of each level there are."""

    logs: list[LogLine]
    counts_by_level: list[LevelCount]
    """Of everything since `since`, whatever else was asked for."""


@action("logs.refresh", View.SYSTEM_LOGS, natural=True)
async def logs_refresh(call: Call[LogsRefreshed], asked: LogsRefreshInput) -> LogsRefreshed:
    """Read the log itself, not its copy in the snapshot."""
    wanted = _wanted(asked.level, asked.source, since=asked.since, search=asked.search)
    found = await lines.stretch(call.tx, wanted, most=asked.limit)
    counts = [await _count(call, level, since=asked.since) for level in Severity]
    return LogsRefreshed(logs=found, counts_by_level=counts)


@action(
    "logs.run_diagnostics",
    View.SYSTEM_LOGS,
    natural=True,
    per_minute=10,
    prepare=lambda context, _: diagnostics.diagnosed(context),
)
async def logs_run_diagnostics(call: Call[Diagnosis], asked: Empty) -> Diagnosis:
    """See whether the stores answer, how full the disk is, how much is written, and where errors gather."""
    diagnosis: Diagnosis = call.prepared
    return diagnosis


class LogsServiceRestarted(Row, frozen=True, kw_only=True):
    """What was done to the handlers of the process that was asked."""

    handlers_flushed: int
    handlers_reopened: int
    """Those that write to a file; 0 where all goes to standard error and the table, as is usual here."""

    rotated_file: str | None
    """What the file of before is called now, the first if there are several; None where there is none."""

    rotated_files: list[str]


@action("logs.restart_service", View.SYSTEM_LOGS, per_minute=10)
async def logs_restart_service(call: Call[LogsServiceRestarted], asked: Empty) -> LogsServiceRestarted:
    """Have the process that is asked write out what of its log is still waiting, and begin its log files anew."""
    call.afterwards(_restarted)
    return LogsServiceRestarted(handlers_flushed=0, handlers_reopened=0, rotated_file=None, rotated_files=[])


async def _restarted(_: LogsServiceRestarted) -> LogsServiceRestarted:
    done = handlers.reopened()
    return LogsServiceRestarted(
        handlers_flushed=done.flushed,
        handlers_reopened=done.reopened,
        rotated_file=next(iter(done.rotated), None),
        rotated_files=done.rotated,
    )


class LogsExportAnalyticsInput(Payload, frozen=True, kw_only=True):
    """Over how long."""

    window: Annotated[str, Meta(pattern=r"^([1-9]\d{0,2}h|[1-9]\d?d)$", extra=KEPT)] = "24h"
    """From `1h` to `30d`."""

    @property
    def span(self) -> timedelta:
        """How long that is."""
        return timedelta(**{"hours" if self.window.endswith("h") else "days": int(self.window[:-1])})

    def __post_init__(self) -> None:
        """Refuse what is longer than lines are usually kept."""
        if self.span > timedelta(days=30):
            raise ValueError("window: `1h` to `30d` is taken")


class WrittenInHour(Row, frozen=True, kw_only=True):
    """How many lines of one level a source wrote within one clock hour."""

    hour: datetime
    level: Severity
    source: str
    lines: int


class LogsAnalytics(Row, frozen=True, kw_only=True):
    """How much was written, as figures and as a file."""

    rows: list[WrittenInHour]
    """At most a thousand, the newest hours first; the file has all."""

    lines: int
    complete: bool
    """Whether all lines of that time were counted; else the newest 200,000 were."""

    filename: str
    download_url: str
    size: Big
    sha256: str


@operation("logs.export_analytics", View.SYSTEM_LOGS, per_minute=10, depends_on=Dependency.FILES)
async def logs_export_analytics(work: Work, asked: LogsExportAnalyticsInput) -> LogsAnalytics:
    """Count lines by hour, level and source, as figures and as CSV.

    Raises:
        Unavailable: the disk is full.
    """
    database, tenant = work.services.database, work.caller.tenant
    async with database.transaction(tenant, timeout=logs.PATIENCE) as tx:
        until = await lines.moment(tx)
        written = await lines.written(tx, await lines.moment(tx, ago=asked.span), until)
    count = sum(hour.lines for hour in written)
    table: list[tuple[sheets.Cell, ...]] = [
        ("hour", "level", "source", "lines"),
        *((each.hour, each.level, each.source, each.lines) for each in written),
    ]
    file = await reports.kept(work.context, f"log-analytics-{asked.window}.csv", "text/csv", sheets.rows(table))
    newest = sorted(written, key=lambda each: each.hour, reverse=True)[:1000]
    return LogsAnalytics(
        rows=[WrittenInHour(hour=each.hour, level=each.level, source=each.source, lines=each.lines) for each in newest],
        lines=count,
        complete=count < lines.MOST_ADDED_UP,
        filename=file.filename,
        download_url=file.download_url,
        size=file.size_bytes,
        sha256=file.sha256,
    )


class LogsStreamRealtimeInput(Payload, frozen=True, kw_only=True):
    """What to follow."""

    level: Severity | None = None
    """The least severe level that is shown."""

    source: Source | None = None
    ttl_s: Annotated[int, Meta(ge=10, le=3600)] = 300
    """Seconds within which it must be begun."""


class LogsStreamOpened(Row, frozen=True, kw_only=True):
    """Leave to follow the log, good once."""

    stream_id: str
    """Told this once; it works for nobody else."""

    channel: str
    """The subscription that takes it."""

    expires_at: datetime


async def _issued(context: Context, asked: LogsStreamRealtimeInput) -> log_streams.Issued:
    return await log_streams.issued(
        context,
        level=asked.level,
        source=asked.source,
        ttl=timedelta(seconds=asked.ttl_s),
    )


# Natural: the answer of a key is kept, and this one must be kept nowhere; a second token does no harm.
@action(
    "logs.stream_realtime",
    View.SYSTEM_LOGS,
    natural=True,
    per_minute=10,
    depends_on=Dependency.REDIS,
    prepare=_issued,
    aliases={"ttl": "ttl_s", "log_level": "level"},
)
async def logs_stream_realtime(call: Call[LogsStreamOpened], asked: LogsStreamRealtimeInput) -> LogsStreamOpened:
    """Give leave to follow the log from now on, over the subscription that is named, once.

    Raises:
        Unavailable: Redis does not answer.
    """
    issued: log_streams.Issued = call.prepared
    return LogsStreamOpened(stream_id=issued.stream_id, channel=issued.channel, expires_at=issued.expires_at)


class LogsFilterByLevelInput(Payload, frozen=True, kw_only=True):
    """Which level."""

    level: Severity
    limit: Shown = 100


class LogsFiltered(Row, frozen=True, kw_only=True):
    """The newest lines of one level."""

    logs: list[LogLine]
    total: int
    """Counted no further than 10,000."""

    more: bool
    """Whether there are more than were counted."""


@action("logs.filter_by_level", View.SYSTEM_LOGS, natural=True, aliases={"log_level": "level"})
async def logs_filter_by_level(call: Call[LogsFiltered], asked: LogsFilterByLevelInput) -> LogsFiltered:
    """The newest lines of just one level."""
    wanted = Filter(levels=(asked.level,))
    found, count = await lines.stretch(call.tx, wanted, most=asked.limit), await lines.counted(call.tx, wanted)
    return LogsFiltered(logs=found, total=count.lines, more=count.more)


def _wanted(
    level: Severity | None,
    source: str | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str | None = None,
) -> Filter:
    return Filter(
        levels=() if level is None else (level,),
        source=source,
        message_contains=search,
        created_after=since,
        created_before=until,
    )


async def _count(call: Call[Any], level: Severity, *, since: datetime | None) -> LevelCount:
    counted = await lines.counted(call.tx, Filter(levels=(level,), created_after=since))
    return LevelCount(level=level, lines=counted.lines, more=counted.more)


def _exported(made: logs.Exported) -> LogsExported:
    return LogsExported(
        filename=made.file.filename,
        records_count=made.lines,
        size=made.file.size_bytes,
        sha256=made.file.sha256,
        download_url=made.file.download_url,
        expires_at=made.file.expires_at,
    )


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    logs_export,
    logs_clear,
    logs_clear_all,
    logs_download_full,
    logs_refresh,
    logs_run_diagnostics,
    logs_restart_service,
    logs_export_analytics,
    logs_stream_realtime,
    logs_filter_by_level,
)
