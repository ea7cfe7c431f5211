"""Tables as files for other programs: as JSON, as lines of JSON, or as CSV, of all tenants.

Only what stands in `TABLES` leaves the house. What tells who somebody is, or what they wrote, is masked before it
leaves the database: names, email and network addresses, hashes, titles and file names. Rows come out as they are read,
a few megabytes in memory at most.
"""

import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from db import apart, backups, layout
from db.backups import Progress
from db.database import Database, Transaction
from db.layout import Table
from db.rows import Row

MASK: Final = "***"

TABLES: Final[Mapping[str, frozenset[str]]] = {
    "agents": frozenset(),
    "artifacts": frozenset({"name", "path"}),
    "clips": frozenset({"title", "path", "thumbnail_path"}),
    "config_versions": frozenset({"settings", "reason"}),
    "job_hours": frozenset(),
    "jobs": frozenset({"title", "source_url", "options"}),
    "logs": frozenset({"data"}),
    "processing_steps": frozenset({"output"}),
    "step_hours": frozenset(),
    "system_events": frozenset({"data"}),
    "uploads": frozenset({"filename", "path"}),
    "users": frozenset({"email", "name", "password_hash", "preferences"}),
    "workers": frozenset({"hostname"}),
}
"""What may be exported, and which columns of it are masked as a whole."""

_WRITTEN: Final = frozenset({"message", "error_message"})
"""Columns with sentences, in which addresses are masked."""

_ADDRESSES: Final = (
    r"[[:alnum:]._%+-]+@[[:alnum:].-]+\.[[:alpha:]]{2,}",
    r"\m[0-9]{1,3}(\.[0-9]{1,3}){3}\M",
    r"[0-9a-fA-F:]*[0-9a-fA-F]::[0-9a-fA-F:]*|::[0-9a-fA-F:]+",
    r"\m([0-9a-fA-F]{1,4}:){4,7}[0-9a-fA-F]{1,4}\M",
)
_FORMULA: Final = r"^ *[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]"
"""What a spreadsheet takes for the beginning of a formula."""

_SINCE: Final = ("created_at", "hour", "started_at", "updated_at")
_BLOCK: Final = 1024 * 1024


class ExportFormat(StrEnum):
    """How rows are written down."""

    JSON = "json"
    """One object, with a list of rows for each table."""

    CSV = "csv"
    """A table with its heading; of several tables, one file each in a zip."""

    NDJSON = "ndjson"
    """A line for each row: its table, and the row."""


class Exported(Row, frozen=True, kw_only=True):
    """What was written."""

    rows: dict[str, int]
    suffix: str
    media_type: str


class _Sheets(Protocol):
    """Where the rows of one table after the other go; everything blocks."""

    def begin(self, table: str) -> None:
        """From now on, rows of this table."""

    def add(self, lines: bytes) -> None:
        """Whole lines as PostgreSQL writes them."""

    def end(self) -> None:
        """That was all."""

    def give_up(self) -> None:
        """Nothing more comes, and what there is will be thrown away."""


async def export(
    database: Database,
    place: Path,
    names: Sequence[str],
    format: ExportFormat,
    *,
    since: datetime | None,
    most: int,
    progress: Progress,
) -> Exported:
    """Write tables into a new file, all as they are at one moment.

    Args:
        since: only rows from then on, of tables whose rows bear a time.
        most: rows of each table; the newest, of tables whose rows bear a time.
    """
    counts: dict[str, int] = {}
    file = await backups.whole(lambda: open(place, "xb"))  # noqa: SIM115 - closed below, after the last thread
    sheets = _sheets(file, format, zipped=len(names) > 1)
    try:
        async with apart.moment(database) as tx:
            tables = {table.name: table for table in await layout.tables(tx)}
            for number, name in enumerate(names):
                await progress(number / len(names), f"writing {name}")
                counts[name] = await _written(tx, tables[name], format, sheets, since=since, most=most)
        await backups.whole(sheets.end)
    except BaseException:
        sheets.give_up()
        raise
    finally:
        file.close()
    zipped = format is ExportFormat.CSV and len(names) > 1
    return Exported(rows=counts, suffix="zip" if zipped else format, media_type=_MEDIA["zip" if zipped else format])


_MEDIA: Final = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "zip": "application/zip",
}


async def _written(
    tx: Transaction, table: Table, format: ExportFormat, sheets: _Sheets, *, since: datetime | None, most: int
) -> int:
    await backups.whole(lambda: sheets.begin(table.name))
    lines = _Lines(lambda whole: backups.whole(lambda: sheets.add(whole)))
    driver = await tx.driver()
    query, values = _query(table, format, since, most)
    if format is ExportFormat.CSV:
        copied = await driver.copy_from_query(query, *values, output=lines.take, format="csv", header=True)
    else:
        copied = await driver.copy_from_query(query, *values, output=lines.take)
    await lines.flush()
    return int(str(copied).split()[-1])


def _query(table: Table, format: ExportFormat, since: datetime | None, most: int) -> tuple[str, list[object]]:
    masked = TABLES[table.name]
    columns = ", ".join(f'{_shown(column, masked, format)} AS "{column}"' for column in table.columns)
    moment = next((column for column in _SINCE if column in table.columns), None)
    values: list[object] = [most]
    where, order = "", layout.listed(table.key)
    if moment is not None:
        order = f'"{moment}" DESC, {order}'
        if since is not None:
            where = f'WHERE "{moment}" >= $2'
            values.append(since)
    chosen = f'SELECT * FROM "{table.name}" {where} ORDER BY {order} LIMIT $1'
    query = f"SELECT {columns} FROM ({chosen}) AS chosen"
    return (query if format is ExportFormat.CSV else f"SELECT row_to_json(r) FROM ({query}) AS r"), values


def _shown(column: str, masked: frozenset[str], format: ExportFormat) -> str:
    if column in masked:
        return f"CASE WHEN \"{column}\" IS NULL THEN NULL ELSE '{MASK}' END"
    shown = f'"{column}"'
    if column in _WRITTEN:
        for address in _ADDRESSES:
            shown = f"regexp_replace({shown}, '{address}', '{MASK}', 'g')"
    if format is ExportFormat.CSV:
        # Nobody's words become a formula in somebody's spreadsheet; numbers are left as they are.
        text = f"({shown})::text"
        plain = rf"{text} ~ '^-?[0-9.]+(e[-+]?[0-9]+)?$'"
        return f"CASE WHEN {text} ~ '{_FORMULA}' AND NOT {plain} THEN '''' || {text} ELSE {text} END"
    return shown


class _Lines:
    """Gathers what COPY gives into whole lines."""

    def __init__(self, hand_on: Callable[[bytes], Awaitable[None]]) -> None:
        self._hand_on = hand_on
        self._held = bytearray()

    async def take(self, data: bytes) -> None:
        """The next bytes."""
        self._held += data
        if len(self._held) >= _BLOCK and (end := self._held.rfind(b"\n") + 1):
            whole = bytes(self._held[:end])
            del self._held[:end]
            await self._hand_on(whole)

    async def flush(self) -> None:
        """Hand the rest on."""
        if self._held:
            await self._hand_on(bytes(self._held))
            self._held.clear()


def _sheets(file: BinaryIO, format: ExportFormat, *, zipped: bool) -> _Sheets:
    match format:
        case ExportFormat.JSON:
            return _Object(file)
        case ExportFormat.NDJSON:
            return _Named(file)
        case ExportFormat.CSV:
            return _Zip(file) if zipped else _Plain(file)


# In text, COPY doubles each backslash. JSON has no other character that it would write in its own way.
def _unescaped(lines: bytes) -> bytes:
    return lines.replace(b"\\\\", b"\\")


class _Object:
    """One object with a list for each table."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._table: str | None = None
        self._empty = True

    def begin(self, table: str) -> None:
        self._file.write(b"{" if self._table is None else b"\n],")
        self._file.write(f'\n"{table}": ['.encode())
        self._table, self._empty = table, True

    def add(self, lines: bytes) -> None:
        self._file.write(b"\n" if self._empty else b",\n")
        self._file.write(_unescaped(lines).rstrip(b"\n").replace(b"\n", b",\n"))
        self._empty = False

    def end(self) -> None:
        self._file.write(b"\n]\n}\n")

    def give_up(self) -> None:
        pass


class _Named:
    """A line for each row, with the name of its table."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head = b""

    def begin(self, table: str) -> None:
        self._head = f'{{"table": "{table}", "row": '.encode()

    def add(self, lines: bytes) -> None:
        for line in io.BytesIO(_unescaped(lines)):
            self._file.write(self._head + line.rstrip(b"\n") + b"}\n")

    def end(self) -> None:
        pass

    def give_up(self) -> None:
        pass


class _Plain:
    """Lines as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self, table: str) -> None:
        pass

    def add(self, lines: bytes) -> None:
        self._file.write(lines)

    def end(self) -> None:
        pass

    def give_up(self) -> None:
        pass


class _Zip:
    """A file for each table."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._entry: BinaryIO | None = None

    def begin(self, table: str) -> None:
        self._close()
        self._entry = self._zip.open(f"{table}.csv", "w", force_zip64=True)  # type: ignore[assignment]  # typed as IO[bytes]

    def add(self, lines: bytes) -> None:
        assert self._entry is not None
        self._entry.write(lines)

    def end(self) -> None:
        self._close()
        self._zip.close()

    def give_up(self) -> None:
        # It would be ended when it is forgotten, on a file that is closed by then.
        self._zip.fp = None

    def _close(self) -> None:
        if self._entry is not None:
            self._entry.close()
