"""Logs: one line an event, JSON for machines and colours for people, with the trace id of what caused it.

Lines of libraries take the same way. Fields that hold secrets are blanked by their name where a line is made. From
a level on they are also kept in the `logs` table, by a writer behind a bounded queue: with PostgreSQL away, lines are
dropped there and counted, and nobody who logs ever waits.
"""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import Processor

from agentos.settings import Format, Level
from agentos.tracing import trace_id
from db import configuration, tunables
from db.database import Database
from db.health import DATABASE_FAILED
from db.logs import NewLine, write
from db.models.identity import DEFAULT_TENANT
from db.models.records import Severity
from db.tasks import going_on

SECRET: Final = frozenset(
    {"authorization", "password", "token", "access_token", "refresh_token", "cookie", "secret", "jwt_keys", "signature"}
)
BLANK: Final = "***"
MOST_WAITING: Final = 1000
WRITE_EVERY_S: Final = 1.0
FOLLOW_EVERY_S: Final = 2.0
"""How soon a change of the log's level is obeyed."""

LONGEST_MESSAGE: Final = 2000

_QUIET: Final = (
    "uvicorn",
    "uvicorn.error",
    "asyncio",
    "websockets",
    "sqlalchemy",
    "strawberry",
    "alembic",
    "arq",
    "httpx",
)
"""Libraries whose ordinary words tell an operator nothing.

From `info` on SQLAlchemy would write every statement, and httpx every address in full, with the signature in its query.
"""

_SHAPING: Final[tuple[Processor, ...]] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: Level, format: Format) -> None:
    """Send every line of this process to standard error from now on.

    Args:
        level: the least severe one written.
        format: `auto` is for people on a terminal and JSON anywhere else.
    """
    pretty = format == "pretty" or (format == "auto" and sys.stderr.isatty())
    before: list[Processor] = [*_SHAPING, traced, blanked]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, structlog.stdlib.ExtraAdder(), blanked],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendered(pretty=pretty)],
        )
    )
    root = logging.getLogger()
    # A journal stays: what it has queued is not lost because lines look different from now on.
    root.handlers[:] = [handler, *(each for each in root.handlers if isinstance(each, Journal))]
    for name in _QUIET:
        logging.getLogger(name).handlers.clear()
    set_level(level)


def set_level(level: Level) -> None:
    """Write lines from this level on; of libraries, warnings and worse at most."""
    logging.getLogger().setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))


def traced(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the trace that a line belongs to."""
    if trace := trace_id.get():
        event.setdefault("trace_id", trace)
    return event


def blanked(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank the fields that hold secrets, wherever in a line they are."""
    return {name: _blank(name, value) for name, value in event.items()}


def _blank(name: str, value: Any) -> Any:
    if name.lower() in SECRET:
        return BLANK
    if isinstance(value, Mapping) and not name.startswith("_"):
        return {str(key): _blank(str(key), inner) for key, inner in value.items()}
    return value


def _rendered(*, pretty: bool) -> list[Processor]:
    if pretty:
        return [structlog.dev.ConsoleRenderer(sort_keys=False)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


async def follow(database: Database, level: Level, format: Format) -> None:
    """Obey what the configuration says of the log, until cancelled: of its level always, of its form from the start.

    PostgreSQL away: everything stays as it is.

    Args:
        level: what stands as long as the configuration says nothing.
        format: likewise.
    """
    obeyed: tuple[Level, Format] | None = None
    while going_on():
        try:
            async with database.transaction(DEFAULT_TENANT) as tx:
                version = await configuration.in_force(tx)
        except DATABASE_FAILED:
            await asyncio.sleep(FOLLOW_EVERY_S)
            continue
        wanted: Level = tunables.value(version, tunables.LOG_LEVEL) or level
        form: Format = obeyed[1] if obeyed else tunables.value(version, tunables.LOG_FORMAT) or format
        if obeyed is None and (wanted, form) != (level, format):
            configure(wanted, form)
        elif obeyed is not None and wanted != obeyed[0]:
            set_level(wanted)
        obeyed = wanted, form
        await asyncio.sleep(FOLLOW_EVERY_S)


class Journal(logging.Handler):
    """Keeps lines in the `logs` table: warnings and worse, or from another level on."""

    def __init__(self, *, source: str, least: int = logging.WARNING) -> None:
        super().__init__(least)
        self._hurry = asyncio.Event()
        self.dropped = 0
        """Lines that were not kept, because too many were waiting."""

        self._source = source
        self._waiting: deque[NewLine] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; never waits, never raises."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(self._line(record))

    def flush(self) -> None:
        """Have what is queued written now; from the loop of `run` alone."""
        self._hurry.set()

    async def run(self, database: Database) -> None:
        """Write what is queued, every second until cancelled; what is left then is written once more."""
        logging.getLogger().addHandler(self)
        try:
            while going_on():
                with suppress(TimeoutError):
                    async with asyncio.timeout(WRITE_EVERY_S):
                        await self._hurry.wait()
                self._hurry.clear()
                await self.write(database)
        finally:
            logging.getLogger().removeHandler(self)

    async def write(self, database: Database) -> None:
        """Write what is queued now; kept for the next time when PostgreSQL is away."""
        lines = list(self._waiting)
        if not lines:
            return
        try:
            async with database.transaction(DEFAULT_TENANT) as tx:
                await write(tx, lines)
        except DATABASE_FAILED:
            return
        for _ in lines:
            self._waiting.popleft()

    def _line(self, record: logging.LogRecord) -> NewLine:
        said: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        shown = blanked(None, "", dict(said))
        message = _storable(shown.pop("event", ""))
        data = {_storable(name): _storable(value) for name, value in shown.items() if name not in _META}
        return NewLine(
            level=_severity(record.levelno),
            source=self._source,
            category=record.name,
            message=message,
            trace_id=trace_id.get() or None,
            data=data,
        )


_META: Final = frozenset({"level", "logger", "timestamp", "trace_id", "_record", "_from_structlog", "exc_info"})


def _storable(value: object) -> str:
    """Text that PostgreSQL takes: one line it does not would be tried again for ever, with all that wait behind it."""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST_MESSAGE]


def _severity(level: int) -> Severity:
    steps = (
        (logging.CRITICAL, Severity.CRITICAL),
        (logging.ERROR, Severity.ERROR),
        (logging.WARNING, Severity.WARNING),
    )
    return next((severity for least, severity in steps if level >= least), Severity.INFO)
