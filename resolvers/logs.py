"""The log of a tenant as files, and cleared; of the log of the application only, never of the audit trail.

Lines are read a few hundred at a time, each time in a transaction of its own, so that memory stays flat and no
connection is held while a file is written. What is written meanwhile is left out.
"""

import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from db import logs
from db.logs import Filter, LogLine
from db.models.records import Severity
from db.rows import Row
from resolvers import reports, sheets
from resolvers.context import Context
from resolvers.reports import Kept

AT_ONCE: Final = 500
"""Lines in memory at once."""

CLEARED_AT_ONCE: Final = 5_000
"""Lines that are removed in one transaction."""

PATIENCE: Final = timedelta(seconds=30)
"""How long a statement may take that looks through many lines."""


class LogFormat(StrEnum):
    """How lines are written down."""

    JSON = "json"
    CSV = "csv"
    TXT = "txt"


MEDIA_TYPES: Final = {LogFormat.JSON: "application/json", LogFormat.CSV: "text/csv", LogFormat.TXT: "text/plain"}


class Exported(Row, frozen=True, kw_only=True):
    """A file of lines."""

    file: Kept
    lines: int


async def exported(context: Context, wanted: Filter, format: LogFormat, *, most: int) -> Exported:
    """The newest lines that a filter selects, newest first, as a file.

    Raises:
        Unavailable: the disk is full.
    """
    count = _Count()
    content = _written(format, count.of(_stretches(context, await _until_now(context, wanted), most=most)))
    file = await reports.kept(context, f"logs-{_stamp()}.{format}", MEDIA_TYPES[format], content)
    return Exported(file=file, lines=count.lines)


async def packed(context: Context, wanted: Filter, *, name: str) -> Exported:
    """Every line that a filter selects, oldest first, a JSON object a line, as a gzip file.

    Raises:
        Unavailable: the disk is full.
    """
    count = _Count()
    lines = count.of(_stretches(context, await _until_now(context, wanted), oldest_first=True))
    file = await reports.kept(context, f"{name}.jsonl.gz", "application/gzip", _packed(_each_as_json(lines)))
    return Exported(file=file, lines=count.lines)


async def counted(context: Context, wanted: Filter) -> int:
    """How many lines a filter selects, exactly; looks through all of them."""
    async with context.services.database.transaction(context.caller.tenant, timeout=PATIENCE) as tx:
        return await logs.how_many(tx, wanted)


async def cleared(context: Context, wanted: Filter) -> int:
    """Remove the lines that a filter selects, step by step; how many those were.

    The filter needs an end in time, or what is written meanwhile would be removed as well.
    """
    assert wanted.created_before is not None
    count = 0
    while True:
        async with context.services.database.transaction(context.caller.tenant, timeout=PATIENCE) as tx:
            gone = await logs.clear(tx, wanted, most=CLEARED_AT_ONCE)
        count += gone
        if gone < CLEARED_AT_ONCE:
            return count


async def ago(context: Context, span: timedelta) -> datetime:
    """The time so long ago, by the clock that lines are dated by."""
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await logs.moment(tx, ago=span)


def at_least(level: Severity | None) -> tuple[Severity, ...]:
    """A level and all that are worse; none for no level at all."""
    return () if level is None else tuple(Severity)[list(Severity).index(level) :]


async def _until_now(context: Context, wanted: Filter) -> Filter:
    """The same up to now, so that reading comes to an end however fast lines are written."""
    now = await ago(context, timedelta(0))
    before = now if wanted.created_before is None else min(wanted.created_before, now)
    return msgspec.structs.replace(wanted, created_before=before)


async def _stretches(
    context: Context, wanted: Filter, *, most: int | None = None, oldest_first: bool = False
) -> AsyncIterator[Sequence[LogLine]]:
    last: LogLine | None = None
    left = most
    while left is None or left > 0:
        size = AT_ONCE if left is None else min(AT_ONCE, left)
        async with context.services.database.transaction(context.caller.tenant, timeout=PATIENCE) as tx:
            lines = await logs.stretch(tx, wanted, beyond=last, most=size, oldest_first=oldest_first)
        if lines:
            yield lines
            last = lines[-1]
        if len(lines) < size:
            return
        left = None if left is None else left - size


class _Count:
    """Counts the lines that pass."""

    def __init__(self) -> None:
        self.lines = 0

    async def of(self, stretches: AsyncIterator[Sequence[LogLine]]) -> AsyncIterator[Sequence[LogLine]]:
        """The same lines, counted."""
        async for lines in stretches:
            self.lines += len(lines)
            yield lines


async def _written(format: LogFormat, stretches: AsyncIterator[Sequence[LogLine]]) -> AsyncIterator[bytes]:
    if format is LogFormat.CSV:
        yield sheets.rows([LogLine.__struct_fields__])
        async for lines in stretches:
            yield sheets.rows(_cells(line) for line in lines)
    elif format is LogFormat.TXT:
        async for lines in stretches:
            yield "".join(map(_plain, lines)).encode("utf-8", "replace")
    else:
        before = b"[\n"
        async for lines in stretches:
            yield before + b",\n".join(map(msgspec.json.encode, lines))
            before = b",\n"
        yield b"[]\n" if before == b"[\n" else b"\n]\n"


async def _each_as_json(stretches: AsyncIterator[Sequence[LogLine]]) -> AsyncIterator[bytes]:
    async for lines in stretches:
        yield b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


async def _packed(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    # 31: a gzip header, without the name and time that would make the same lines another file each time.
    packer = zlib.compressobj(wbits=31)
    async for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


def _cells(line: LogLine) -> Iterable[sheets.Cell]:
    for name in LogLine.__struct_fields__:
        value = getattr(line, name)
        if value is None or isinstance(value, datetime | str):
            yield value
        else:
            yield msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)


def _plain(line: LogLine) -> str:
    # Line ends within a message are written out: a message must not be able to look like lines of its own.
    message = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line.message)
    trace = f" trace={line.trace_id}" if line.trace_id else ""
    return f"{line.created_at.isoformat()} {line.level.upper():8} {line.source} {line.category}: {message}{trace}\n"


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
